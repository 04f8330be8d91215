"""azure-core: BearerTokenCredentialPolicy and its async variant with our own credential.

The reference of `SupportsTokenInfo` shows such a credential; `AccessTokenInfo.refresh_on` is its setting.
"""

from __future__ import annotations

from typing import Any

from azure.core.credentials import AccessTokenInfo
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest

from peers import Account
from peers._grant import Grant

TITLE, PACKAGE, IMPORT, SHARES = "azure-core", "azure-core", "azure.core.pipeline.policies", False


class Credential:
    def __init__(self, account: Account, early: float | None) -> None:
        self._grant, self._early = Grant(account), early

    def _info(self, token: str, end: float) -> AccessTokenInfo:
        return AccessTokenInfo(token, int(end), refresh_on=None if self._early is None else int(end - self._early))

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        return self._info(*self._grant())


class AsyncCredential(Credential):
    async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        return self._info(*await self._grant.asynchronous())


def _request() -> Any:
    return PipelineRequest(HttpRequest("GET", "https://api.example"), PipelineContext(None))


class Peer:
    def __init__(self, account: Account, early: float | None) -> None:
        self._sync = BearerTokenCredentialPolicy(Credential(account, early), "scope")
        self._async = AsyncBearerTokenCredentialPolicy(AsyncCredential(account, early), "scope")
        self._request = _request()  # one request for all calls: the policy does not build it
        self.shown = [self._sync]

    def token(self) -> str:
        self._sync.on_request(self._request)
        return self._request.http_request.headers["Authorization"][7:]

    async def atoken(self) -> str:
        await self._async.on_request(self._request)
        return self._request.http_request.headers["Authorization"][7:]


def make(account: Account, early: float | None = None, store: str | None = None) -> Peer:
    return Peer(account, early)
