"""What people write second: a dict of tokens, a lock with a second look inside it, another lock for tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator

import httpx

from peers import Account
from peers._grant import Grant

TITLE, PACKAGE, IMPORT, SHARES = "by hand: dict with a lock", None, "httpx", False


class Holder(httpx.Auth):
    def __init__(self, account: Account, early: float) -> None:
        self._grant, self._early, self._key = Grant(account), early, account.username
        self._cache: dict[str, tuple[str, float]] = {}
        self._lock, self._async_lock = threading.Lock(), asyncio.Lock()
        self.auth, self.shown = self, [self, self._cache]

    def _held(self) -> str | None:
        token, until = self._cache.get(self._key, ("", 0.0))
        return token if time.time() < until else None

    def token(self) -> str:
        if token := self._held():
            return token
        with self._lock:
            return self._held() or self._keep(*self._grant())

    async def atoken(self) -> str:
        if token := self._held():
            return token
        async with self._async_lock:
            return self._held() or self._keep(*await self._grant.asynchronous())

    def _keep(self, token: str, end: float) -> str:
        self._cache[self._key] = token, end - self._early
        return token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        yield request


def make(account: Account, early: float | None = None, store: str | None = None) -> Holder:
    return Holder(account, 0.0 if early is None else early)
