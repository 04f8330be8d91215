"""Where a token may travel (pure)."""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import ConfigurationError

Origin = tuple[str, str, int]


def parse_origin(url: str) -> Origin:
    """Return scheme, host and port of a URL (RFC 6454); raise `ValueError` where it is no http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in parts.hostname:
        raise ValueError("not an http(s) URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Return whether plain http to this host stays on the machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_url(url: str) -> str | None:
    """Return why a token must not travel to this URL, None where it may."""
    import httpx  # not for who imports this package and asks for nothing

    try:
        scheme, host, _ = parse_origin(url)
        parts = urlsplit(url)
        _ = httpx.URL(url).host, host.encode("idna")  # what the lookup of a host does, and may fail at
    except (ValueError, httpx.InvalidURL):
        return "is not an https URL"
    if parts.username is not None or parts.query or parts.fragment:
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
