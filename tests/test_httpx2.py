"""EnkashAuth in clients of httpx2."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from conftest import Server, credentials
from enkash_auth import EnkashAuth, TokenProvider

Send = Callable[..., httpx2.Response]


class Api(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Any origin; unlike MockTransport it does not read a request's body first."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.status = 200

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request.headers.get("Authorization"))
        return httpx2.Response(self.status)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.handle_request(request)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def provider(server: Server) -> Iterator[TokenProvider]:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        yield provider


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, api: Api, provider: TokenProvider) -> Send:
    auth = EnkashAuth(provider)

    def send_sync(url: str, **kwargs: Any) -> httpx2.Response:
        with httpx2.Client(auth=auth, transport=api) as client:
            return client.post(url, **kwargs)

    def send_async(url: str, **kwargs: Any) -> httpx2.Response:
        async def main() -> httpx2.Response:
            async with httpx2.AsyncClient(auth=auth, transport=api) as client:
                return await client.post(url, **kwargs)

        return asyncio.run(main())

    return send_sync if request.param == "sync" else send_async


def test_the_token_is_sent(send: Send, api: Api) -> None:
    assert send("https://token.example/a").status_code == 200
    assert api.seen == ["Bearer canary-token-1"]


def test_a_foreign_origin_gets_no_token(send: Send, api: Api) -> None:
    send("https://other.example/a")
    assert api.seen == [None]


@pytest.mark.parametrize(
    "base", ["bücher.example", "api.bücher.example", "api.xn--bcher-kva.example", "straße.example"]
)
@pytest.mark.parametrize("client", [httpx, httpx2])
def test_a_listed_host_in_letters_of_its_own_gets_the_token(provider: TokenProvider, client: Any, base: str) -> None:
    flow = EnkashAuth(provider, [f"https://{base}"]).sync_auth_flow(client.Request("GET", f"https://{base}/a"))
    assert next(flow).headers["Authorization"] == "Bearer canary-token-1"


def test_a_401_fetches_once_and_repeats_once(send: Send, api: Api, provider: TokenProvider) -> None:
    provider.token()
    api.status = 401
    assert send("https://token.example/a", content=b"x").status_code == 401
    assert api.seen == ["Bearer canary-token-1", "Bearer canary-token-2"]


def test_a_stream_is_not_repeated(send: Send, api: Api, provider: TokenProvider) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"x"

    provider.token()
    api.status = 401
    send("https://token.example/a", content=iter([b"x"]) if send.__name__ == "send_sync" else drip())
    assert len(api.seen) == 1


def test_it_is_an_auth_of_both(provider: TokenProvider) -> None:
    auth = EnkashAuth(provider)
    for kind in (httpx.Auth, httpx2.Auth, EnkashAuth):
        assert isinstance(auth, kind)
    assert not isinstance(auth, httpx2.BasicAuth)


SCRIPT = """
import sys
from enkash_auth import Credentials, EnkashAuth, TokenProvider
auth = EnkashAuth(TokenProvider(Credentials("https://token.example", "u", "p", "i", "s")))
import httpx
httpx.Client(auth=auth)
assert "httpx2" not in sys.modules
import httpx2
httpx2.Client(auth=auth)
"""


def test_it_imports_httpx2_never_and_meets_it_at_any_time() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
