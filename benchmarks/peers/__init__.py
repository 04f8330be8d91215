"""What people would use, one small adapter each, in the best way that its documentation shows.

An adapter is a module with `TITLE`, `PACKAGE` (None where it is written by hand), `IMPORT`, `SHARES` (whether processes
can share its tokens) and `make(account, early=None, store=None)`, which returns a `Peer`. `early`, in seconds, is how
long before the end a token is renewed, for peers that let one say so; without it they do as they like.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

NAMES = [
    "enkash",
    "by_hand_attribute",
    "by_hand_lock",
    "httpx_auth",
    "authlib",
    "requests_oauthlib",
    "msal",
    "azure_core",
    "google_auth",
    "google_auth_background",
    "botocore",
    "anthropic",
]


@dataclass(frozen=True)
class Account:
    """One account on the benchmark's server."""

    base_url: str
    username: str = "canary-user"
    password: str = field(default="canary-password", repr=False)
    client_id: str = "canary-client"
    client_secret: str = field(default="canary-secret", repr=False)

    @property
    def token_url(self) -> str:
        return f"{self.base_url}/oauth/token"

    @property
    def refresh_token(self) -> str:
        """What a peer that only refreshes signs in with; as wrong as the password."""
        return f"refresh-{self.password}"


class Peer(Protocol):
    """What a measure may use; `atoken` and `auth` only where the peer has them."""

    shown: list[object]  # what a program would print, log or pickle

    def token(self) -> Any: ...

    async def atoken(self) -> Any: ...

    auth: httpx.Auth


def load(name: str) -> Any:
    return importlib.import_module(f"peers.{name}")


def text(token: Any) -> str:
    """Return what a peer's `token()` answered as a header's text."""
    return token if isinstance(token, str) else str(token.access_token)
