"""A token goes only where it belongs. `test_clients.py` has what each client does, sync and async, over sockets."""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Clock, Heard, Server, issued
from enkash_auth import Credentials, EnkashAuth, TokenProvider
from enkash_auth._fleet.shared import look
from enkash_auth._runtime import Runtime
from enkash_auth.errors import ConfigurationError, RefusedError
from enkash_auth.stores import MemoryStore

URL = "https://token.example/a"  # of the origin that has the token
FIRST = "Bearer canary-token-1"


class Api:
    """Any origin: remembers each request and answers what the test says."""

    def __init__(self, provider: TokenProvider) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200)
        self.auth = EnkashAuth(provider)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((str(request.url), request.headers.get("Authorization")))
        return self.answer(request)

    @property
    def tokens(self) -> list[str | None]:
        return [token for _, token in self.seen]

    def send(self, what: str | httpx.Request = URL, auth: EnkashAuth | None = None) -> int:
        transport = httpx.MockTransport(self)
        with httpx.Client(auth=auth or self.auth, transport=transport, follow_redirects=True) as client:
            return (client.post(what) if isinstance(what, str) else client.send(what)).status_code


@pytest.fixture
def api(provider: TokenProvider) -> Api:
    return Api(provider)


def unauthorized(_: httpx.Request) -> httpx.Response:
    return httpx.Response(401)


def redirecting(url: str) -> Callable[[httpx.Request], httpx.Response]:
    """Return an answer that sends a client on from `URL`, and says 401 anywhere else."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"Location": url}) if str(request.url) == URL else unauthorized(request)

    return answer


FOREIGN = [
    "https://other.example/",
    "http://token.example/",
    "https://token.example:444/",
    "https://token.example.evil/",
]


@pytest.mark.parametrize("url", FOREIGN)
@pytest.mark.parametrize("redirected", [False, True])
def test_a_foreign_origin_gets_no_token_and_a_redirect_takes_none_there(
    api: Api, provider: TokenProvider, url: str, redirected: bool
) -> None:
    api.answer = redirecting(url)
    provider.token()  # earlier than the call: one that was minted in it would not be replaced anyway
    api.send(URL if redirected else url)
    assert api.seen == [(URL, FIRST)] * redirected + [(url, None)]
    assert provider.token().access_token == "canary-token-1"


def test_a_request_that_is_sent_again_elsewhere_leaves_the_token_behind(api: Api) -> None:
    request = httpx.Request("POST", URL)
    for url in (URL, "https://other.example/a", URL):
        request.url = httpx.URL(url)
        api.send(request)
    assert api.tokens == [FIRST, None, FIRST]


def test_the_callers_own_extensions_get_no_token(api: Api) -> None:
    request, own = httpx.Request("POST", URL), {"timeout": httpx.Timeout(5).as_dict()}
    request.extensions = own  # as httpx 0.27 makes a request
    for url in (URL, "https://other.example/a"):
        request.url = httpx.URL(url)
        api.send(request)
    assert api.tokens == [FIRST, None]
    assert list(own) == ["timeout"]


def test_a_401_to_a_request_without_the_token_costs_nothing(api: Api, provider: TokenProvider, server: Server) -> None:
    api.answer = redirecting("https://api.example/a")  # httpx takes no token along to another origin, listed or not
    provider.token()
    api.send(auth=EnkashAuth(provider, origins=["https://token.example", "https://api.example"]))
    assert api.tokens == [FIRST, None]
    assert len(server.requests) == 1


@pytest.mark.parametrize("origins", ["https://api.example", ["http://api.example"], ["api.example"]])
def test_wrong_origins_are_refused(provider: TokenProvider, origins: Any) -> None:
    with pytest.raises(ConfigurationError, match="origin"):
        EnkashAuth(provider, origins=origins)


def test_an_origin_may_be_a_url_of_another_package(api: Api, provider: TokenProvider) -> None:
    urls: list[Any] = [httpx.URL("https://token.example"), httpx.URL("http://api.example")]
    api.send(auth=EnkashAuth(provider, urls[:1]))
    assert api.tokens == [FIRST]
    with pytest.raises(ConfigurationError, match="origin 2 must be https"):
        EnkashAuth(provider, urls)


def test_a_token_minted_in_this_call_is_not_replaced(api: Api, server: Server, clock: Clock) -> None:
    server.answer = lambda _: clock.passes(0.1) or issued("t")
    api.answer = unauthorized
    api.send()
    assert len(server.requests) == 1


def test_an_api_that_always_says_401_costs_two_grants_and_one_more_a_minute(
    clock: Clock, api: Api, provider: TokenProvider, server: Server
) -> None:
    provider.token()
    api.answer = unauthorized
    for minute in (0, 1):
        for _ in range(5):
            api.send()
        assert len(server.requests) == 3 + minute
        clock.passes(60)


def test_a_second_revocation_within_a_minute_is_repaired(api: Api, provider: TokenProvider, server: Server) -> None:
    for number in (1, 2, 3):
        provider.token()
        api.answer = lambda r, good=f"Bearer canary-token-{number}": httpx.Response(
            200 if r.headers["Authorization"] == good else 401
        )
        assert api.send() == 200
    assert len(server.requests) == 3


@pytest.mark.parametrize("held", [True, False])
def test_a_request_is_repeated_once_with_the_same_token_too(
    api: Api, provider: TokenProvider, server: Server, clock: Clock, held: bool
) -> None:
    server.answer = lambda _: clock.passes(0.1) or issued("same")
    if held:
        provider.token()
    for request in range(1, 6):  # a server that deletes and inserts the token at each sign-in, or one that refuses it
        said = iter([401, 200 if request % 2 else 401])
        api.answer = lambda _, said=said: httpx.Response(next(said))
        assert api.send() == (200 if request % 2 else 401)
        assert len(api.seen) == 2 * request
    assert len(server.requests) == 3  # no sign-in where the token was answered in this call, and then the brake


def test_the_same_token_is_sent_again_when_its_row_is_back(
    clock: Clock, api: Api, provider: TokenProvider, server: Server
) -> None:
    server.answer = lambda _: issued("same")
    provider.token()
    back = clock.monotonic + 0.02
    api.answer = lambda _: httpx.Response(200 if clock.monotonic > back else 401)
    assert api.send() == 200


class Countable(MemoryStore):
    """A store of a user's own whose length is 0: it counts as false."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        raise AssertionError("a store that is given is closed by its giver")


def test_from_env_hands_on_what_a_provider_takes(configured: pytest.MonkeyPatch, api: Api, server: Server) -> None:
    heard = Heard()
    store = Countable()
    configured.setenv("ENKASH_TOKEN_STORE", "file:///not/used")
    with EnkashAuth.from_env(transport=server.transport, on_event=heard, store=store) as auth:
        api.send(auth=auth)
    assert api.seen == [(URL, FIRST)]
    assert heard.kinds == ["issued"]
    assert look(store, Credentials.load(), Runtime())[0]


def test_from_env_takes_its_origins_from_the_settings_unless_they_are_given(
    configured: pytest.MonkeyPatch, api: Api, server: Server
) -> None:
    configured.setenv("ENKASH_ORIGINS", "https://api.example")
    for given in ({}, {"origins": ["https://other.example"]}, {"origins": []}):
        with EnkashAuth.from_env(transport=server.transport, **given) as auth:
            for host in ("api", "other", "token"):
                api.send(f"https://{host}.example/a", auth)
    assert [url[8:13] for url, token in api.seen if token] == ["api.e", "other", "token"]


def test_from_env_reads_its_profile_again_after_a_refusal(
    configured: pytest.MonkeyPatch, api: Api, server: Server, tmp_path: Path
) -> None:
    server.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    configured.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('[uat]\nbasic_client_id = "1"\n')
    with EnkashAuth.from_env(profile="uat", transport=server.transport) as auth:
        for number in (2, 3):
            with pytest.raises(RefusedError):
                api.send(auth=auth)
            (tmp_path / "config.toml").write_text(f'[uat]\nbasic_client_id = "{number}"\n')
    sent = [request.headers["Authorization"].removeprefix("Basic ") for request in server.requests]
    assert [*map(b64decode, sent)] == [b"1:x", b"2:x"]


def test_a_closed_auth_says_so(configured: pytest.MonkeyPatch) -> None:
    with EnkashAuth.from_env() as auth:
        pass
    with pytest.raises(ConfigurationError, match="closed"), httpx.Client(auth=auth) as client:
        client.get("https://token.example")
