"""Why a connection failed, in words that hold no secret (pure)."""

import os
import socket
import ssl

_WORDS = {  # for what httpx and redis-py raise without a cause
    "RemoteProtocolError": "closed without an answer, or no HTTP",
    "ProxyError": "the proxy refused; it may want a user and password",
    "AuthenticationError": "wrong user or password",
    "NoPermissionError": "its ACL forbids a command that docs/fleet.md lists",
    "OutOfMemoryError": "its memory is full",
    "ReadOnlyError": "it is a read-only replica",
}


def address(host: object, port: object) -> str:
    """Return a host and its port as a URL has them, the colons of IPv6 between brackets."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def cause_of(error: BaseException) -> str:
    """Return what the system said, from an exception's chain, else its class: no text of a library or a server."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"certificate verify failed ({link.verify_message.rstrip('.')})"
        if isinstance(link, ssl.SSLError):
            return f"TLS failed ({(getattr(link, 'reason', None) or 'no reason').replace('_', ' ').lower()})"
        if isinstance(link, socket.gaierror):
            return "unknown host"
        if isinstance(link, TimeoutError):
            return "timeout"
        if isinstance(link, OSError) and isinstance(link.errno, int):
            return os.strerror(link.errno).lower()
        link = link.__cause__ or link.__context__
    name = "NoPermissionError" if str(error).startswith("ACL failure") else type(error).__name__  # in a script
    return _WORDS.get(name, name)
