"""This package, used as in its README."""

from __future__ import annotations

from enkash_auth import Credentials, EnkashAuth, TokenProvider, stores
from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "**enkash-auth**", "enkash-auth", "enkash_auth._auth", True
LIGHT = "enkash_auth"


class Peer:
    def __init__(self, account: Account, store: str | None) -> None:
        pair = account.client_id, account.client_secret
        self.credentials = Credentials(account.base_url, account.username, account.password, *pair)
        kept = stores.from_url(store) if store else None
        self._provider = TokenProvider(self.credentials, store=kept)
        self.token, self.atoken = self._provider.token, self._provider.atoken
        self.auth = EnkashAuth(self._provider)

    @property
    def shown(self) -> list[object]:
        return [self._provider, self.auth, self.credentials, getattr(self._provider, "_token", None)]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, store)
