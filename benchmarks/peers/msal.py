"""msal: one ConfidentialClientApplication for the process, `acquire_token_for_client` for each use, as its docs demand.

It accepts https authorities only; its documented `http_client` redirects the requests to the loopback server. It renews
five minutes before expiry; this cannot be changed. Processes share tokens by the docs' recipe for
SerializableTokenCache.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlsplit

import msal
import requests

from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "msal", "msal", "msal", True
_AUTHORITY = "https://authority.example/tenant"


class _Loopback:
    """The http_client of msal's docs: get, post and close."""

    def __init__(self, base_url: str) -> None:
        self._session, self._base_url = requests.Session(), base_url
        self._session.trust_env = False

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **kwargs: Any) -> Any:
        url = url.replace(_AUTHORITY, self._base_url)
        return self._session.post(url, params=params, data=data, headers=headers, **kwargs)

    def get(self, url: str, params: Any = None, headers: Any = None, **kwargs: Any) -> Any:
        found = {"issuer": _AUTHORITY, "token_endpoint": f"{_AUTHORITY}/oauth/token"}
        found["authorization_endpoint"] = f"{_AUTHORITY}/authorize"
        answer = requests.Response()
        answer.status_code, answer._content = 200, json.dumps(found).encode()
        return answer

    def close(self) -> None:
        self._session.close()


class Peer:
    def __init__(self, account: Account, store: str | None) -> None:
        secret = account.client_secret if "wrong" not in account.password else account.password
        cache = self._shared(os.path.join(urlsplit(store).path, "msal.json")) if store else None
        self._app = msal.ConfidentialClientApplication(
            account.client_id,
            client_credential=secret,
            oidc_authority=_AUTHORITY,
            http_client=_Loopback(account.base_url),
            token_cache=cache,
        )
        self.shown = [self._app, self._app.token_cache]

    def _shared(self, path: str) -> Any:
        cache = msal.SerializableTokenCache()
        if os.path.exists(path):
            with open(path) as file:
                cache.deserialize(file.read())

        def save() -> None:
            if cache.has_state_changed:
                with open(path, "w") as file:
                    file.write(cache.serialize())

        self.save = save  # the recipe runs it at exit
        return cache

    def token(self) -> str:
        answer = self._app.acquire_token_for_client(["scope"])
        if "access_token" not in answer:
            raise RuntimeError(answer.get("error"))
        return answer["access_token"]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, store)
