"""One small adapter per peer, which uses the package in the best way that its documentation shows.

An adapter is a module with `TITLE`, `PACKAGE` (None if written by hand), `IMPORT`, `SHARES` (whether processes can
share its tokens) and `make(account, early=None, store=None)`, which returns a `Peer`. `early` is the number of seconds
before expiry when a token is renewed, if the peer has such a setting; None keeps its default.
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
        """The credential of peers that only refresh; wrong if the password is wrong."""
        return f"refresh-{self.password}"


class Peer(Protocol):
    """The interface for measures. `atoken` and `auth` are optional."""

    shown: list[object]  # what a program would print, log or pickle

    def token(self) -> Any: ...

    async def atoken(self) -> Any: ...

    auth: httpx.Auth


def load(name: str) -> Any:
    return importlib.import_module(f"peers.{name}")


def text(token: Any) -> str:
    """Return the result of a peer's `token()` as text."""
    return token if isinstance(token, str) else str(token.access_token)
