"""Origins: which URLs may get a token (pure)."""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from enkash_auth.errors import ConfigurationError

Origin = tuple[str, str, int]


def parse_origin(url: str) -> Origin:
    """Return scheme, host and port of a URL (RFC 6454); raise `ValueError` if it is not an http(s) URL."""
    import httpx  # heavy: importing this package must not load it

    parts, host = urlsplit(url), ""
    with suppress(httpx.InvalidURL):
        found = httpx.URL(url)
        # ASCII, for httpx and httpx2 decode different names; but reading `host` fails for punycode of no name
        host = found.host and found.raw_host.decode("ascii")
    if parts.scheme not in ("http", "https") or not parts.hostname or not host or re.search(r"\s", url):
        raise ValueError("not an http(s) URL")
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Return whether http to this host stays on the machine. `*.localhost` does not count: a resolver decides."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str) -> str | None:
    """Return why this URL must not get a token, None if it may."""
    try:
        scheme, host, _ = parse_origin(url)
        host.encode("idna")  # the lookup of a host does the same, and can fail
    except ValueError:
        return "must be an https URL"
    if urlsplit(url).username is not None or "?" in url or "#" in url:
        return "must not contain a user, query or fragment"
    if scheme != "https" and not is_loopback(host):
        return "must be https (http is for loopback only)"
    return None


def parse_origins(urls: Iterable[str]) -> frozenset[Origin]:
    """Return the origins of URLs; raise `ConfigurationError`, which names each bad URL by its number."""
    if isinstance(urls, str):
        raise ConfigurationError("origins must be a list of URLs, not one string")
    listed = [str(url) for url in urls]  # pydantic, httpx and yarl have types of their own for a URL
    if bad := [f"origin {number} {why}" for number, url in enumerate(listed, 1) if (why := check_url(url))]:
        raise ConfigurationError("; ".join(bad))
    return frozenset(map(parse_origin, listed))
