"""A token goes only where it belongs."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from conftest import Clock, Server, credentials
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.errors import ConfigurationError

Send = Callable[..., httpx.Response]


class Api:
    """Any origin: remembers each request and answers what the test says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((str(request.url), request.headers.get("Authorization")))
        return self.answer(request)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def provider(server: Server) -> Iterator[TokenProvider]:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        yield provider


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, api: Api) -> Send:
    options: dict[str, Any] = {"transport": httpx.MockTransport(api), "follow_redirects": True}

    def send_sync(auth: EnkashAuth, url: str, **kwargs: Any) -> httpx.Response:
        with httpx.Client(auth=auth, **options) as client:
            return client.post(url, **kwargs)

    def send_async(auth: EnkashAuth, url: str, **kwargs: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(auth=auth, **options) as client:
                return await client.post(url, **kwargs)

        return asyncio.run(main())

    return send_sync if request.param == "sync" else send_async


FOREIGN = [
    "https://other.example/",
    "http://token.example/",
    "https://token.example:444/",
    "https://token.example.evil/",
]


def test_the_token_goes_to_the_base_urls_origin(send: Send, provider: TokenProvider, api: Api) -> None:
    send(EnkashAuth(provider), "https://token.example:443/a")
    assert api.seen == [("https://token.example/a", "Bearer canary-token-1")]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_foreign_origin_gets_no_token(send: Send, provider: TokenProvider, api: Api, url: str) -> None:
    api.answer = lambda _: httpx.Response(401)
    send(EnkashAuth(provider), url)
    assert api.seen == [(url, None)]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_redirect_takes_no_token_along(send: Send, provider: TokenProvider, api: Api, url: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == "https://token.example/a":
            return httpx.Response(307, headers={"Location": url})
        return httpx.Response(401)

    api.answer = answer
    provider.token()  # earlier than the call: one that was minted in it would not be replaced anyway
    send(EnkashAuth(provider), "https://token.example/a")
    assert api.seen == [("https://token.example/a", "Bearer canary-token-1"), (url, None)]
    assert provider.token().access_token == "canary-token-1"


def test_listed_origins_replace_the_default(send: Send, provider: TokenProvider, api: Api) -> None:
    auth = EnkashAuth(provider, origins=["https://api.example"])
    send(auth, "https://api.example/a")
    send(auth, "https://token.example/a")
    assert [token for _, token in api.seen] == ["Bearer canary-token-1", None]


@pytest.mark.parametrize("origins", ["https://api.example", ["http://api.example"], ["api.example"]])
def test_wrong_origins_are_refused(provider: TokenProvider, origins: Any) -> None:
    with pytest.raises(ConfigurationError, match="origin"):
        EnkashAuth(provider, origins=origins)


def test_a_401_fetches_once_and_repeats_once(send: Send, provider: TokenProvider, api: Api, server: Server) -> None:
    provider.token()
    api.answer = lambda _: httpx.Response(401)
    assert send(EnkashAuth(provider), "https://token.example/a", content=b"x").status_code == 401
    assert [token for _, token in api.seen] == ["Bearer canary-token-1", "Bearer canary-token-2"]
    assert len(server.requests) == 2


def test_a_token_minted_in_this_call_is_not_replaced(
    send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    api.answer = lambda _: httpx.Response(401)
    send(EnkashAuth(provider), "https://token.example/a")
    assert len(api.seen) == len(server.requests) == 1


def test_an_api_that_always_says_401_costs_two_grants_and_one_more_a_minute(
    send: Send, provider: TokenProvider, api: Api, server: Server, clock: Clock
) -> None:
    clock.move(provider).token()
    api.answer = lambda _: httpx.Response(401)
    for _ in range(10):
        send(EnkashAuth(provider), "https://token.example/a")
    assert len(server.requests) == 3
    clock.passes(60)
    for _ in range(10):
        send(EnkashAuth(provider), "https://token.example/a")
    assert len(server.requests) == 4


def test_a_second_revocation_within_a_minute_is_mended(
    send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    for number in (1, 2, 3):
        provider.token()
        api.answer = lambda r, good=f"Bearer canary-token-{number}": httpx.Response(
            200 if r.headers["Authorization"] == good else 401
        )
        assert send(EnkashAuth(provider), "https://token.example/a").status_code == 200
    assert len(server.requests) == 3


def test_the_same_token_again_is_not_sent_again(send: Send, provider: TokenProvider, api: Api, server: Server) -> None:
    api.answer = lambda _: httpx.Response(401)
    server.answer = lambda _: httpx.Response(200, json={"access_token": "sticky"})
    provider.token()
    send(EnkashAuth(provider), "https://token.example/a")
    assert len(api.seen) == 1


def test_a_stream_is_not_repeated(provider: TokenProvider) -> None:
    class Wire(httpx.BaseTransport):
        calls = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            return httpx.Response(401)

    wire = Wire()  # unlike MockTransport, it does not read the body first
    with httpx.Client(auth=EnkashAuth(provider), transport=wire) as client:
        client.post("https://token.example/a", content=iter([b"x"]))
    assert wire.calls == 1


def test_from_env_makes_its_provider(environment: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET"):
        environment.setenv(f"ENKASH_{name}", "x")
    environment.setenv("ENKASH_BASE_URL", "https://token.example")
    auth = EnkashAuth.from_env()
    assert auth._provider.credentials.base_url == "https://token.example"
    auth._provider.close()
