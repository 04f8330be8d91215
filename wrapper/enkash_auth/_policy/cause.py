"""Why a connection failed, in words that hold no secret (pure)."""

from __future__ import annotations

import os
import socket
import ssl


def cause_of(error: BaseException) -> str:
    """Return what the system said, from the chain of an exception: no text of a library or a server; else its class."""
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
    return type(error).__name__
