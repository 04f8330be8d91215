"""What people write first: a token, a clock, no lock."""

from __future__ import annotations

import time
from collections.abc import Generator

import httpx

from peers import Account
from peers._grant import Grant

TITLE, PACKAGE, IMPORT, SHARES = "by hand: attribute and clock", None, "httpx", False
CROWD = 200  # tasks at most: each sends its own request, and a thousand take a minute


class Holder(httpx.Auth):
    def __init__(self, account: Account, early: float) -> None:
        self._grant, self._early = Grant(account), early
        self._token, self._until = "", float("-inf")
        self.auth, self.shown = self, [self]

    def token(self) -> str:
        if time.monotonic() < self._until:
            return self._token
        return self._keep(*self._grant())

    async def atoken(self) -> str:
        if time.monotonic() < self._until:
            return self._token
        return self._keep(*await self._grant.asynchronous())

    def _keep(self, token: str, end: float) -> str:
        self._token, self._until = token, time.monotonic() + (end - time.time()) - self._early
        return token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        yield request


def make(account: Account, early: float | None = None, store: str | None = None) -> Holder:
    return Holder(account, 0.0 if early is None else early)
