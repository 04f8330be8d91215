"""Authlib: OAuth2Client and AsyncOAuth2Client with `token_endpoint` and `grant_type="client_credentials"`.

The page "OAuth for Pythonic HTTP clients", section "Auto Update Token", shows this; `leeway` is its setting. The
program gets the first token: here once, under a lock.
"""

from __future__ import annotations

import asyncio
import threading

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client

from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "Authlib", "authlib", "authlib.integrations.httpx_client", False


class Peer:
    def __init__(self, account: Account, early: float | None) -> None:
        secret = account.client_secret if "wrong" not in account.password else account.password
        more = {} if early is None else {"leeway": early}
        more |= {"token_endpoint": account.token_url, "grant_type": "client_credentials", "trust_env": False}
        self._sync = OAuth2Client(account.client_id, secret, **more)
        self._async = AsyncOAuth2Client(account.client_id, secret, **more)
        self._url, self._lock, self._async_lock = account.token_url, threading.Lock(), asyncio.Lock()
        self.shown = [self._sync, self._async]

    def token(self) -> str:
        # the steps of its request() before it signs
        if not self._sync.token:
            with self._lock:
                if not self._sync.token:
                    self._sync.fetch_token(self._url, grant_type="client_credentials")
                    self.shown.append(self._sync.token)
        self._sync.ensure_active_token(self._sync.token)
        return self._sync.token["access_token"]

    async def atoken(self) -> str:
        if not self._async.token:
            async with self._async_lock:
                if not self._async.token:
                    await self._async.fetch_token(self._url, grant_type="client_credentials")
        await self._async.ensure_active_token(self._async.token)
        return self._async.token["access_token"]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, early)
