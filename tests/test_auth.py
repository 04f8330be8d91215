"""A token goes only where it belongs. `test_clients.py` has what each client does, sync and async, over sockets."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Clock, Heard, Server, assert_clean, issued
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
        self.auth, self.seen = EnkashAuth(provider), list[tuple[str, str | None]]()
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((str(request.url), request.headers.get("Authorization")))
        return self.answer(request)

    def send(self, what: str | httpx.Request = URL, auth: EnkashAuth | None = None) -> int:
        transport = httpx.MockTransport(self)
        with httpx.Client(auth=auth or self.auth, transport=transport, follow_redirects=True) as client:
            return (client.post(what) if isinstance(what, str) else client.send(what)).status_code

    async def asend(self) -> int:
        async with httpx.AsyncClient(auth=self.auth, transport=httpx.MockTransport(self)) as client:
            return (await client.post(URL)).status_code


@pytest.fixture
def api(provider: TokenProvider) -> Api:
    return Api(provider)


FOREIGN = [
    "https://other.example/",
    "http://token.example/",
    "https://token.example:444/",
    "https://token.example.evil/",
]
LISTED = "https://api.example/"  # even there httpx takes no token along


@pytest.mark.parametrize(
    ("url", "redirected", "listed"),
    [(url, redirected, []) for url in FOREIGN for redirected in (0, 1)] + [(LISTED, 1, [URL, LISTED])],
)
def test_a_foreign_origin_gets_no_token_a_redirect_takes_none_there_and_a_401_costs_nothing(
    api: Api, provider: TokenProvider, server: Server, url: str, redirected: int, listed: list[str]
) -> None:
    api.answer = lambda request: httpx.Response(307 if str(request.url) == URL else 401, headers={"Location": url})
    provider.token()  # earlier than the call: one that was minted in it would not be replaced anyway
    api.send(URL if redirected else url, EnkashAuth(provider, listed))
    assert api.seen == [(URL, FIRST)] * redirected + [(url, None)]
    assert provider.token().access_token == "canary-token-1"
    assert len(server.requests) == 1


def test_a_request_that_is_sent_again_elsewhere_has_no_token_nor_have_the_callers_extensions(api: Api) -> None:
    request, own = httpx.Request("POST", URL), {"timeout": httpx.Timeout(5).as_dict()}
    request.extensions = own  # as httpx 0.27 makes a request
    for url in (URL, FOREIGN[0], URL):
        request.url = httpx.URL(url)
        api.send(request)
    assert api.seen == [(URL, FIRST), (FOREIGN[0], None), (URL, FIRST)]
    assert list(own) == ["timeout"]


def test_a_request_that_is_sent_twice_at_once_is_repeated_twice(api: Api, provider: TokenProvider) -> None:
    provider.token()
    request = httpx.Request("POST", URL)
    flows = [api.auth.sync_auth_flow(request) for _ in range(2)]  # of two threads
    assert [next(flow).headers["Authorization"] for flow in flows] == [FIRST] * 2
    for flow in flows:
        assert flow.send(httpx.Response(401, request=request)).headers["Authorization"] == "Bearer canary-token-2"


class Body(httpx.ByteStream):
    """The body of an answer; knows whether its connection is free. It may be cut short."""

    free = False

    def __init__(self, content: bytes, *, cut: bool = False) -> None:
        super().__init__(content)
        self._cut = cut

    def __iter__(self) -> Iterator[bytes]:
        if self._cut:
            raise httpx.ReadError("cut")
        return super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.free = True

    async def aclose(self) -> None:
        self.free = True


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_the_connection_of_a_401_is_free_before_the_sign_in_that_may_share_its_transport(
    api: Api, provider: TokenProvider, server: Server, on_a_loop: bool
) -> None:
    body, free = Body(b"x"), list[bool]()
    provider.token()
    server.answer = lambda _: free.append(body.free) or issued("new")
    api.answer = lambda request: httpx.Response(401 if request.headers["Authorization"] == FIRST else 200, stream=body)
    assert (asyncio.run(api.asend()) if on_a_loop else api.send()) == 200
    assert free == [True]


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_a_401_that_is_cut_short_shows_no_token(api: Api, provider: TokenProvider, on_a_loop: bool) -> None:
    provider.token()
    cut, phrase = Body(b"", cut=True), {"reason_phrase": b"Invalid canary-token-1"}
    api.answer = lambda _: httpx.Response(401, stream=cut, extensions=phrase)
    with pytest.raises(httpx.ReadError) as caught:
        asyncio.run(api.asend()) if on_a_loop else api.send()
    assert_clean(caught.value)


@pytest.mark.parametrize(
    ("origins", "why"),
    [
        ("https://api.example", "a list of URLs"),
        (["http://api.example"], "origin 1 must be https"),
        (["api.example"], "origin 1 must be an https URL"),
        ([httpx.URL(URL), httpx.URL("http://api.example")], "^origin 2 must be https"),  # another package's URLs
    ],
)
def test_wrong_origins_are_refused(provider: TokenProvider, origins: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        EnkashAuth(provider, origins=origins)


@pytest.mark.parametrize(
    ("held", "sign_ins"),
    [(True, [2, 3, 3, 3, 3, 4]), (False, [1, 2, 3, 3, 3, 4])],  # after each call; none replaces what was issued in it
)
def test_an_api_that_says_401_costs_two_sign_ins_and_one_more_a_minute_and_each_request_is_repeated_once(
    api: Api, provider: TokenProvider, server: Server, clock: Clock, held: bool, sign_ins: list[int]
) -> None:
    server.answer = lambda _: clock.passes(0.1) or issued("same")
    if held:
        provider.token()
    counted = []
    for call in range(1, 7):  # of a server that deletes and inserts the token at each sign-in, or one that refuses it
        clock.passes(60 if call == 6 else 0)
        said = iter([401, 200 if call % 2 else 401])
        api.answer = lambda _, said=said: httpx.Response(next(said))
        assert api.send() == (200 if call % 2 else 401)
        assert len(api.seen) == 2 * call
        counted.append(len(server.requests))
    assert counted == sign_ins


class Countable(MemoryStore):
    """A store of a user's own whose length is 0: it counts as false."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        raise AssertionError("a store that is given is closed by its giver")


def test_from_env_hands_on_what_a_provider_takes(configured: pytest.MonkeyPatch, api: Api, server: Server) -> None:
    heard, store = Heard(), Countable()
    configured.setenv("ENKASH_TOKEN_STORE", "file:///not/used")
    with EnkashAuth.from_env(transport=server.transport, on_event=heard, store=store) as auth:
        api.send(auth=auth)
    assert (api.seen, heard.kinds) == ([(URL, FIRST)], ["issued"])
    assert look(store, Credentials.load(), Runtime())[0]


@pytest.mark.parametrize(
    ("given", "signed"),
    [({}, "api"), ({"origins": ["https://other.example"]}, "other"), ({"origins": []}, "token")],
)
def test_from_env_takes_its_origins_from_the_settings_unless_they_are_given(
    configured: pytest.MonkeyPatch, api: Api, server: Server, given: Any, signed: str
) -> None:
    configured.setenv("ENKASH_ORIGINS", "https://api.example")
    with EnkashAuth.from_env(transport=server.transport, **given) as auth:
        for host in ("api", "other", "token"):
            api.send(f"https://{host}.example/a", auth)
    assert [url for url, token in api.seen if token] == [f"https://{signed}.example/a"]


def test_from_env_reads_its_profile_again_after_a_refusal(
    configured: pytest.MonkeyPatch, api: Api, server: Server, tmp_path: Path
) -> None:
    server.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    profile = tmp_path / "config.toml"
    configured.setenv("ENKASH_CONFIG", str(profile))
    profile.write_text('[uat]\nbasic_client_id = "1"\n')
    with EnkashAuth.from_env(profile="uat", transport=server.transport) as auth:
        for number in (2, 3):
            with pytest.raises(RefusedError):
                api.send(auth=auth)
            profile.write_text(f'[uat]\nbasic_client_id = "{number}"\n')
    sent = [request.headers["Authorization"].removeprefix("Basic ") for request in server.requests]
    assert [*map(b64decode, sent)] == [b"1:x", b"2:x"]


def test_a_closed_auth_says_so(api: Api) -> None:
    with api.auth:
        pass
    with pytest.raises(ConfigurationError, match="closed"):
        api.send()
