"""anthropic: TokenCache with our own provider, sync and async, as in its docstring.

`advisory_refresh_seconds` and `mandatory_refresh_seconds` are its settings.
"""

from __future__ import annotations

from anthropic.lib.credentials import AccessToken, TokenCache

from peers import Account
from peers._grant import Grant

TITLE, PACKAGE, IMPORT, SHARES = "anthropic's token cache", "anthropic", "anthropic.lib.credentials", False


class Peer:
    def __init__(self, account: Account, early: float | None) -> None:
        grant = Grant(account)

        def provide(*, force_refresh: bool = False) -> AccessToken:
            token, end = grant()
            return AccessToken(token, int(end))

        async def aprovide(*, force_refresh: bool = False) -> AccessToken:
            token, end = await grant.asynchronous()
            return AccessToken(token, int(end))

        more = {}
        if early is not None:
            more = {"advisory_refresh_seconds": early, "mandatory_refresh_seconds": early / 4}
        self._sync, self._async = TokenCache(provide, **more), TokenCache(aprovide, **more)
        self.token, self.atoken = self._sync.get_token, self._async.async_get_token
        self.shown = [self._sync, self._async]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, early)
