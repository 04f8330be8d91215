"""This project, as its README shows."""

from __future__ import annotations

import ssl
from functools import cache

import httpx

from enkash_auth import Credentials, EnkashAuth, TokenProvider, stores
from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "**enkash-auth**", "enkash-auth", "enkash_auth._auth", True


class Peer:
    def __init__(self, account: Account, store: str | None, verify: bool | ssl.SSLContext = True) -> None:
        pair = account.client_id, account.client_secret
        self.credentials = Credentials(account.base_url, account.username, account.password, *pair)
        kept = stores.from_url(store) if store else None
        self._provider = TokenProvider(self.credentials, store=kept, verify=verify)
        self.token, self.atoken = self._provider.token, self._provider.atoken
        self.auth = EnkashAuth(self._provider)

    @property
    def shown(self) -> list[object]:
        return [self._provider, self.auth, self.credentials, getattr(self._provider, "_token", None)]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, store)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def make_tenant(account: Account) -> Peer:
    """Make one of many: they share what `verify` means, which costs more than all the rest."""
    return Peer(account, None, _tls())
