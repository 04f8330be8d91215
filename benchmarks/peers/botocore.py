"""botocore: DeferredRefreshableCredentials with our own fetcher.

The settings `advisory_timeout` and `mandatory_timeout` of the docstring are attributes of this class.
"""

from __future__ import annotations

from datetime import UTC, datetime

from botocore.credentials import DeferredRefreshableCredentials

from peers import Account
from peers._grant import Grant

TITLE, PACKAGE, IMPORT, SHARES = "botocore", "botocore", "botocore.credentials", False


class Peer:
    def __init__(self, account: Account, early: float | None) -> None:
        grant = Grant(account)

        def fetch() -> dict[str, str]:
            token, end = grant()
            ends = datetime.fromtimestamp(end, UTC).isoformat()
            return {"access_key": "id", "secret_key": "key", "token": token, "expiry_time": ends}

        self.credentials = DeferredRefreshableCredentials(fetch, "custom")
        if early is not None:
            self.credentials._advisory_refresh_timeout = early
            self.credentials._mandatory_refresh_timeout = early / 4

    @property
    def shown(self) -> list[object]:
        return [self.credentials, self.credentials._frozen_credentials]

    def token(self) -> str:
        return self.credentials.get_frozen_credentials().token


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, early)
