"""google-auth: google.oauth2.credentials.Credentials with a refresh token and its own `token_uri`, blocking.

Its reference shows both. It renews 225 s before expiry; this cannot be changed.
"""

from __future__ import annotations

import requests
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials

from peers import Account

TITLE, PACKAGE, IMPORT, SHARES = "google-auth", "google-auth", "google.oauth2.credentials", False


class Peer:
    def __init__(self, account: Account) -> None:
        self.credentials = Credentials(
            None,
            refresh_token=account.refresh_token,
            token_uri=account.token_url,
            client_id=account.client_id,
            client_secret=account.client_secret,
        )
        session = requests.Session()
        session.trust_env = False
        self._request, self._refresh_token = Request(session), account.refresh_token
        self.shown = [self.credentials]

    def token(self) -> str:
        headers: dict[str, str] = {}
        self.credentials.before_request(self._request, "GET", "https://api.example", headers)
        return headers["authorization"][7:]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account)
