"""A token goes only where it belongs."""

import asyncio
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Clock, Server, credentials, issued, wait_for_sign_ins
from enkash_auth import Credentials, EnkashAuth, TokenProvider
from enkash_auth._fleet.shared import look
from enkash_auth._runtime import Runtime
from enkash_auth.errors import ConfigurationError, RefusedError
from enkash_auth.events import Event
from enkash_auth.stores import MemoryStore
from enkash_auth.testing import Sandbox

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

    def send_sync(auth: EnkashAuth, what: str | httpx.Request, **kwargs: Any) -> httpx.Response:
        with httpx.Client(auth=auth, **options) as client:
            return client.post(what, **kwargs) if isinstance(what, str) else client.send(what)

    def send_async(auth: EnkashAuth, what: str | httpx.Request, **kwargs: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(auth=auth, **options) as client:
                return await (client.post(what, **kwargs) if isinstance(what, str) else client.send(what))

        return asyncio.run(main())

    return send_sync if request.param == "sync" else send_async


FOREIGN = [
    "https://other.example/",
    "http://token.example/",
    "https://token.example:444/",
    "https://token.example.evil/",
]


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


def test_a_request_that_is_sent_again_elsewhere_leaves_the_token_behind(
    send: Send, provider: TokenProvider, api: Api
) -> None:
    request = httpx.Request("POST", "https://token.example/a")
    auth = EnkashAuth(provider)
    for url in ("https://token.example/a", "https://other.example/a", "https://token.example/a"):
        request.url = httpx.URL(url)
        send(auth, request)
    assert [token for _, token in api.seen] == ["Bearer canary-token-1", None, "Bearer canary-token-1"]


def test_a_host_in_letters_of_its_own_gets_the_token(send: Send, server: Server, api: Api) -> None:
    for url in ("https://xn--bcher-kva.example", "https://bücher.example", "https://api.bücher.example"):
        with TokenProvider(credentials(base_url=url), transport=server.transport) as provider:
            send(EnkashAuth(provider), f"{url}/a")
    assert all(token for _, token in api.seen)


def test_a_401_to_a_request_without_the_token_costs_nothing(
    send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "token.example":
            return httpx.Response(307, headers={"Location": "https://api.example/a"})
        return httpx.Response(401)  # httpx takes no token along to another origin, listed or not

    api.answer = answer
    provider.token()
    send(EnkashAuth(provider, origins=["https://token.example", "https://api.example"]), "https://token.example/a")
    assert [token for _, token in api.seen] == ["Bearer canary-token-1", None]
    assert len(server.requests) == 1


@pytest.mark.parametrize("origins", ["https://api.example", ["http://api.example"], ["api.example"]])
def test_wrong_origins_are_refused(provider: TokenProvider, origins: Any) -> None:
    with pytest.raises(ConfigurationError, match="origin"):
        EnkashAuth(provider, origins=origins)


def test_a_token_minted_in_this_call_is_not_replaced(
    send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    api.answer = lambda _: httpx.Response(401)
    send(EnkashAuth(provider), "https://token.example/a")
    assert len(server.requests) == 1


def test_an_api_that_always_says_401_costs_two_grants_and_one_more_a_minute(
    clock: Clock, send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    provider.token()
    api.answer = lambda _: httpx.Response(401)
    for _ in range(10):
        send(EnkashAuth(provider), "https://token.example/a")
    assert len(server.requests) == 3
    clock.passes(60)
    for _ in range(10):
        send(EnkashAuth(provider), "https://token.example/a")
    assert len(server.requests) == 4


def test_a_second_revocation_within_a_minute_is_repaired(
    send: Send, provider: TokenProvider, api: Api, server: Server
) -> None:
    for number in (1, 2, 3):
        provider.token()
        api.answer = lambda r, good=f"Bearer canary-token-{number}": httpx.Response(
            200 if r.headers["Authorization"] == good else 401
        )
        assert send(EnkashAuth(provider), "https://token.example/a").status_code == 200
    assert len(server.requests) == 3


@pytest.mark.parametrize("held", [True, False])
def test_a_request_is_repeated_once_with_the_same_token_too(
    send: Send, provider: TokenProvider, api: Api, server: Server, held: bool
) -> None:
    server.answer = lambda _: issued("same")
    if held:
        provider.token()
    auth = EnkashAuth(provider)
    for request in range(1, 6):  # a server that deletes and inserts the token at each sign-in, or one that refuses it
        said = iter([401, 200 if request % 2 else 401])
        api.answer = lambda _, said=said: httpx.Response(next(said))  # type: ignore[misc]
        assert send(auth, "https://token.example/a").status_code == (200 if request % 2 else 401)
        assert len(api.seen) == 2 * request
    assert len(server.requests) == 3  # no sign-in where the token was answered in this call, and then the brake


def test_the_same_token_is_sent_again_when_its_row_is_back(
    clock: Clock, provider: TokenProvider, api: Api, server: Server
) -> None:
    server.answer = lambda _: issued("same")
    provider.token()
    back = clock.monotonic + 0.02
    api.answer = lambda _: httpx.Response(200 if clock.monotonic > back else 401)
    with httpx.Client(auth=EnkashAuth(provider), transport=httpx.MockTransport(api)) as client:
        assert client.get("https://token.example/a").status_code == 200


def test_a_neighbour_that_signs_in_ten_times_a_second_is_survived() -> None:
    answers: list[int] = []
    with Sandbox(row_gap=0.003) as sandbox, EnkashAuth(TokenProvider(sandbox.credentials())) as auth:
        url, ended = f"{sandbox.base_url}/api/echo", threading.Event()

        def call() -> None:
            with httpx.Client(auth=auth) as client:
                while not ended.is_set():
                    answers.append(client.get(url).status_code)

        def sign_in_again() -> None:
            with TokenProvider(sandbox.credentials()) as neighbour:
                for _ in range(20):
                    neighbour.reset()
                    neighbour.token()
                    ended.wait(0.1)
            ended.set()

        with ThreadPoolExecutor(9) as pool:
            for run in [call] * 8 + [sign_in_again]:
                pool.submit(run)
    assert sandbox.api_unauthorized
    assert set(answers) == {200}


@pytest.fixture
def configured(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET"):
        environment.setenv(f"ENKASH_{name}", "x")
    environment.setenv("ENKASH_BASE_URL", "https://token.example")
    return environment


class Countable(MemoryStore):
    """A store of a user's own whose length is 0: it counts as false."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        raise AssertionError("a store that is given is closed by its giver")


def test_from_env_hands_on_what_a_provider_takes(
    configured: pytest.MonkeyPatch, send: Send, api: Api, server: Server
) -> None:
    heard: list[Event] = []
    store = Countable()
    configured.setenv("ENKASH_TOKEN_STORE", "file:///not/used")
    with EnkashAuth.from_env(transport=server.transport, on_event=heard.append, store=store) as auth:
        send(auth, "https://token.example/a")
    assert api.seen == [("https://token.example/a", "Bearer canary-token-1")]
    wait_for_sign_ins()
    assert [event.kind for event in heard] == ["issued"]
    assert look(store, Credentials.load(), Runtime())[0]


def test_from_env_takes_its_origins_from_the_settings_unless_they_are_given(
    configured: pytest.MonkeyPatch, send: Send, api: Api, server: Server
) -> None:
    configured.setenv("ENKASH_ORIGINS", "https://api.example")
    for given in ({}, {"origins": ["https://other.example"]}, {"origins": []}):
        with EnkashAuth.from_env(transport=server.transport, **given) as auth:
            for host in ("api", "other", "token"):
                send(auth, f"https://{host}.example/a")
    assert [url[8:13] for url, token in api.seen if token] == ["api.e", "other", "token"]


def test_from_env_reads_its_profile_again_after_a_refusal(
    configured: pytest.MonkeyPatch, send: Send, server: Server, tmp_path: Path
) -> None:
    server.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    configured.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('[uat]\nbasic_client_id = "1"\n')
    with EnkashAuth.from_env(profile="uat", transport=server.transport) as auth:
        for number in (2, 3):
            with pytest.raises(RefusedError):
                send(auth, "https://token.example/a")
            (tmp_path / "config.toml").write_text(f'[uat]\nbasic_client_id = "{number}"\n')
    sent = [request.headers["Authorization"].removeprefix("Basic ") for request in server.requests]
    assert [*map(b64decode, sent)] == [b"1:x", b"2:x"]


def test_a_closed_auth_says_so(configured: pytest.MonkeyPatch) -> None:
    with EnkashAuth.from_env() as auth:
        pass
    with pytest.raises(ConfigurationError, match="closed"), httpx.Client(auth=auth) as client:
        client.get("https://token.example")
