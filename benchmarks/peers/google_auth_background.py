"""google-auth with `with_non_blocking_refresh()`: a thread renews a stale token."""

from __future__ import annotations

from peers import Account
from peers.google_auth import IMPORT, PACKAGE, SHARES, Peer

TITLE = "google-auth, background refresh"
__all__ = ["IMPORT", "PACKAGE", "SHARES", "TITLE", "make"]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    peer = Peer(account)
    peer.credentials.with_non_blocking_refresh()
    return peer
