"""The token request, for peers that cache tokens but leave the request to the program."""

from __future__ import annotations

import os
import ssl
import time
from functools import cache

import httpx

from peers import Account


@cache
def _client() -> httpx.Client:
    return httpx.Client(trust_env=False)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


os.register_at_fork(after_in_child=_client.cache_clear)  # a child must not use its parent's connections


class Grant:
    """Signs in; raises `RuntimeError` if the server refuses."""

    def __init__(self, account: Account) -> None:
        self._url = account.token_url
        self._form = {"grant_type": "password", "username": account.username, "password": account.password}
        self._form["clientId"] = account.client_id
        self._basic = (account.client_id, account.client_secret)
        self._client = _client()  # one for all: creating a client costs more than a request
        self._async: httpx.AsyncClient | None = None

    def __call__(self) -> tuple[str, float]:
        """Return the access token and its expiry, in seconds since the epoch."""
        started = time.time()
        return self._read(self._client.post(self._url, data=self._form, auth=self._basic), started)

    async def asynchronous(self) -> tuple[str, float]:
        """Do the same on an event loop, always the same one."""
        started = time.time()
        if self._async is None:
            self._async = httpx.AsyncClient(trust_env=False, verify=_tls())
        return self._read(await self._async.post(self._url, data=self._form, auth=self._basic), started)

    @staticmethod
    def _read(answer: httpx.Response, started: float) -> tuple[str, float]:
        if answer.status_code != 200:
            raise RuntimeError(f"the token endpoint answered {answer.status_code}")
        found = answer.json()
        return found["access_token"], started + found["expires_in"]
