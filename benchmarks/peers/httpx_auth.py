"""httpx-auth: OAuth2ResourceOwnerPasswordCredentials, with `client` and `early_expiry` from its README's table.

Processes share tokens through the README's JsonTokenFileCache.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import httpx
from httpx_auth import JsonTokenFileCache, OAuth2, OAuth2ResourceOwnerPasswordCredentials

from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "httpx-auth", "httpx-auth", "httpx_auth", True


class Peer:
    def __init__(self, account: Account, early: float | None, store: str | None) -> None:
        if store:
            OAuth2.token_cache = JsonTokenFileCache(os.path.join(urlsplit(store).path, "tokens.json"))
        # early_expiry=0 has no effect (the code says 0 or 30.0), so a tiny number replaces 0
        more = {} if early is None else {"early_expiry": early or 1e-9}
        self.auth = OAuth2ResourceOwnerPasswordCredentials(
            account.token_url,
            account.username,
            account.password,
            client_auth=httpx.BasicAuth(account.client_id, account.client_secret),
            client=httpx.Client(trust_env=False),
            clientId=account.client_id,
            **more,
        )
        self.shown = [self.auth, OAuth2.token_cache]

    def token(self) -> str:
        # the steps of its auth_flow before it sets the header
        return OAuth2.token_cache.get_token(
            self.auth.state,
            early_expiry=self.auth.early_expiry,
            on_missing_token=self.auth.request_new_token,
            on_expired_token=self.auth.refresh_token,
        )


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, early, store)
