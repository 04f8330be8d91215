"""Where a token may travel (pure)."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from enkash_auth.errors import ConfigurationError

Origin = tuple[str, str, int]


def parse_origin(url: str) -> Origin:
    """Return scheme, host and port of a URL (RFC 6454); raise `ValueError` where it is no http(s) URL.

    The host is ASCII: httpx and httpx2 decode different labels of an internationalised name.
    """
    import httpx  # not for who imports this package and asks for nothing

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
        raise ValueError("not an http(s) URL")
    try:
        found = httpx.URL(url)
        host = found.host and found.raw_host.decode("ascii")  # decoding `host` finds punycode that no name has
    except httpx.InvalidURL:
        raise ValueError("not an http(s) URL") from None
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Return whether plain http to this host stays on the machine; `*.localhost` may be any resolver's answer."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str) -> str | None:
    """Return why a token must not travel to this URL, None where it may."""
    try:
        scheme, host, _ = parse_origin(url)
        host.encode("idna")  # what the lookup of a host does, and may fail at
    except ValueError:
        return "is not an https URL"
    if urlsplit(url).username is not None or "?" in url or "#" in url:
        return "must hold no user, query or fragment"
    if scheme != "https" and not is_loopback(host):
        return "must be https (http is for loopback only)"
    return None


def parse_origins(urls: Iterable[str]) -> frozenset[Origin]:
    """Return the origins of a list of URLs; raise `ConfigurationError` that names each bad one by its place."""
    if isinstance(urls, str):
        raise ConfigurationError("origins must be a list of URLs, not one text")
    listed = list(urls)
    if bad := [f"origin {number} {why}" for number, url in enumerate(listed, 1) if (why := check_url(url))]:
        raise ConfigurationError("; ".join(bad))
    return frozenset(map(parse_origin, listed))
