"""requests-oauthlib: OAuth2Session with LegacyApplicationClient, `auto_refresh_url` and `token_updater`.

The page "OAuth 2 Workflow", sections "Legacy Application Flow" and "Refreshing tokens" (third, recommended way). It has
no setting for early renewal. The program gets the first token: here once, under a lock.
"""

from __future__ import annotations

import os
import threading

from oauthlib.oauth2 import LegacyApplicationClient, TokenExpiredError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "requests-oauthlib", "requests-oauthlib", "requests_oauthlib", False
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the loopback server has no TLS


class Peer:
    def __init__(self, account: Account) -> None:
        self._account, self._basic = account, HTTPBasicAuth(account.client_id, account.client_secret)
        self._client = LegacyApplicationClient(account.client_id)
        self._session = OAuth2Session(client=self._client, auto_refresh_url=account.token_url, token_updater=id)
        self._session.trust_env = False
        self._lock = threading.Lock()
        self.shown = [self._session, self._client]

    def token(self) -> str:
        if not self._session.token:
            with self._lock:
                if not self._session.token:
                    self._session.fetch_token(
                        self._account.token_url,
                        username=self._account.username,
                        password=self._account.password,
                        auth=self._basic,
                    )
                    self.shown.append(self._session.token)
        # the steps of its request() before it sends
        try:
            return self._client.add_token("https://api.example", http_method="GET")[1]["Authorization"][7:]
        except TokenExpiredError:
            self._session.refresh_token(self._account.token_url, auth=self._basic)
            return self._session.token["access_token"]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account)
