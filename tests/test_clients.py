"""One set of rules for the auths of all HTTP clients, over sockets."""

import asyncio
import io
import pickle
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import requests.adapters
from yarl import URL

from api_server import Asked, serving
from conftest import REFUSAL, Clock, Server, assert_clean, credentials, failure, issued, loaded_anew
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.adapters.aiohttp import EnkashMiddleware
from enkash_auth.adapters.requests import EnkashRequestsAuth
from enkash_auth.errors import RefusedError

Answer = Callable[[str, str | None], tuple[int, str]]


def says(status: int, location: str = "") -> Answer:
    return lambda path, token: (status, location)


class Api:
    """At two origins: remembers path, `Authorization` and body of each request; answers what the test says."""

    url = elsewhere = ""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, bytes]] = []
        self.answer = says(200)

    def __call__(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        token = asked.headers["Authorization"]
        self.seen.append((asked.path, token, body))
        status, location = self.answer(asked.path, token)
        headers = {"Location": location} if location else {}
        if status == 401:  # as Spring does up to 2.5.1
            headers["WWW-Authenticate"] = f'Bearer error_description="Invalid access token: {token}"'
            asked.responses = {**asked.responses, 401: (f"Invalid {token}", "")}  # the reason phrase
        return status, headers, b"{}"

    @property
    def tokens(self) -> list[str]:
        return [(token or "none").removeprefix("Bearer canary-") for _, token, _ in self.seen]


def moved(status: int, location: str) -> Answer:
    """Answer /a with a redirect, and the rest with 401."""
    return lambda path, token: (status, location) if path == "/a" else (401, "")


def disk() -> io.BufferedReader:
    """A file from disk, as clients see its class; none has to close it."""
    return io.BufferedReader(io.BytesIO(b"x"))  # type: ignore[arg-type]  # all that it needs


async def drip() -> AsyncIterator[bytes]:
    yield b"x"


def form(file: Any) -> aiohttp.FormData:
    form = aiohttp.FormData({"a": "b"})
    form.add_field("file", file, filename="x")
    return form


# what a body of a kind is to each client
SYNC: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict, "bytes": lambda: {"content": b"x"}, "json": lambda: {"json": {}}, "form": lambda: {"data": {"a": ""}},
    "stream": lambda: {"content": iter([b"x"])}, "multipart": lambda: {"data": {"a": "b"}, "files": {"file": b"x"}},
    "memory": lambda: {"files": {"file": io.BytesIO(b"x")}},
    "disk": lambda: {"data": {"a": "b"}, "files": {"file": disk()}},
    "named": lambda: {"files": {"file": ("name", b"x", "text/plain")}},
}  # fmt: skip
ASYNC = {**SYNC, "stream": lambda: {"content": drip()}}
REQUESTS = {**SYNC, "bytes": lambda: {"data": b"x"}, "stream": lambda: {"data": iter([b"x"])}}
AIOHTTP = {
    **SYNC, "bytes": lambda: {"data": b"x"}, "stream": lambda: {"data": drip()},
    "multipart": lambda: {"data": form(b"x")}, "memory": lambda: {"data": form(io.BytesIO(b"x"))},
    "disk": lambda: {"data": form(disk())}, "named": lambda: {"data": form("x")},
}  # fmt: skip


QUICK = {"follow_redirects": True, "trust_env": False, "verify": False}  # reads no certificates, which no test needs


def by_httpx(module: Any, auth: Any, url: str, options: Any) -> Any:
    with module.Client(auth=auth, **QUICK) as client:
        return client.post(url, **options).status_code


async def by_httpx_async(module: Any, auth: Any, url: str, options: Any) -> Any:
    async with module.AsyncClient(auth=auth, **QUICK) as client:
        return (await client.post(url, **options)).status_code


def by_requests(auth: Any, url: str, options: Any) -> Any:
    with requests.Session() as session:
        session.auth, session.trust_env = auth, False
        return session.post(url, timeout=10, **options).status_code


async def by_aiohttp(auth: Any, url: str, options: Any) -> Any:
    async with aiohttp.ClientSession(middlewares=[auth]) as session, session.post(url, **options) as answer:
        await answer.read()
        return answer.status


# each client's auth, its bodies, and how it posts
CLIENTS: dict[str, tuple[Any, dict[str, Any], Callable[..., Any]]] = {
    "httpx": (EnkashAuth, SYNC, partial(by_httpx, httpx)),
    "httpx-async": (EnkashAuth, ASYNC, partial(by_httpx_async, httpx)),
    "httpx2": (EnkashAuth, SYNC, partial(by_httpx, httpx2)),
    "httpx2-async": (EnkashAuth, ASYNC, partial(by_httpx_async, httpx2)),
    "requests": (EnkashRequestsAuth, REQUESTS, by_requests),
    "aiohttp": (EnkashMiddleware, AIOHTTP, by_aiohttp),
}


class Client:
    """Posts to /a of the API with one of the clients and its auth; returns the status."""

    def __init__(self, name: str, provider: TokenProvider, server: Server, api: Api) -> None:
        self.name, self.provider, self.server, self.api = name, provider, server, api

    def post(self, url: str = "", *, body: str = "none", origins: Any = (), headers: Any = None) -> Any:
        auth, bodies, send = CLIENTS[self.name]
        options = {"headers": headers, **bodies[body]()}
        status = send(auth(self.provider, origins), f"{url or self.api.url}/a", options)
        return asyncio.run(status) if asyncio.iscoroutine(status) else status

    @property
    def sign_ins(self) -> int:
        return len(self.server.requests)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with serving(api) as api.url, serving(api) as api.elsewhere:
        yield api


@pytest.fixture
def provider(server: Server, api: Api, clock: Clock) -> Iterator[TokenProvider]:
    """Its base URL is the API's origin; its first token was issued before the call of the test."""
    server.answer = lambda _: issued(f"canary-{len(server.requests)}")
    with TokenProvider(credentials(base_url=api.url), transport=server.transport) as provider:
        provider.token()
        clock.passes(1)
        yield provider


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, provider: TokenProvider, server: Server, api: Api) -> Client:
    return Client(request.param, provider, server, api)


# where a request goes, what is listed, the request's own `Authorization`; what it carries when the API always says 401
ORIGINS: dict[str, tuple[str, list[str], str | None, list[str]]] = {
    "the base URL's": ("here", [], None, ["1", "2"]),
    "another": ("there", [], None, ["none"]),
    "the base URL's, which is not listed": ("here", ["there"], None, ["none"]),
    "another, which is listed": ("there", ["there"], None, ["1", "2"]),
    "another, with a header of its own": ("there", [], "Basic b3Ro", ["Basic b3Ro"]),
}


@pytest.mark.parametrize(("to", "listed", "own", "carried"), ORIGINS.values(), ids=ORIGINS)
def test_an_origin_gets_the_token_and_may_reject_it_if_it_is_listed_or_else_the_base_urls(
    client: Client, api: Api, to: str, listed: list[str], own: str | None, carried: list[str]
) -> None:
    urls = {"here": api.url, "there": api.elsewhere}
    api.answer = says(401)
    headers = {"Authorization": own} if own else None
    assert client.post(urls[to], origins=[urls[one] for one in listed], headers=headers) == 401
    assert (api.tokens, client.sign_ins) == (carried, len(carried))


@pytest.mark.once
@pytest.mark.parametrize("body", SYNC)
def test_a_401_fetches_once_and_repeats_once_what_can_be_repeated(client: Client, api: Api, body: str) -> None:
    api.answer = says(401)
    assert client.post(body=body) == 401
    repeated = body != "stream" and (body != "disk" or client.name == "requests")  # which has read the file
    assert api.tokens == (["1", "2"] if repeated else ["1"])
    assert api.seen[0][2] == api.seen[-1][2]
    assert client.provider.token().access_token == "canary-2"  # given up all the same
    assert client.sign_ins == 2


def test_the_same_token_is_sent_once_more_when_its_row_is_back(client: Client, api: Api, clock: Clock) -> None:
    asked: list[float] = []  # by both clocks: an event loop sleeps in true time

    def answer(path: str, token: str | None) -> tuple[int, str]:
        asked.append(clock.monotonic + time.monotonic())
        return 200 if asked[-1] > asked[0] + 0.04 else 401, ""

    client.server.answer, api.answer = lambda _: issued("canary-1"), answer
    assert client.post() == 200
    assert api.tokens == ["1", "1"]


def test_a_refusal_after_a_401_reaches_the_caller_and_shows_no_secret(client: Client, api: Api) -> None:
    client.server.answer = lambda _: REFUSAL
    api.answer = says(401)
    with pytest.raises(RefusedError) as caught:
        client.post(body="bytes")
    assert_clean(caught.value)


@pytest.mark.parametrize("status", [303, 307])
def test_a_redirect_takes_no_token_along(client: Client, api: Api, status: int) -> None:
    api.answer = moved(status, f"{api.elsewhere}/b")
    assert client.post() == 401
    assert (api.tokens, client.sign_ins) == (["1", "none"], 1)


@pytest.mark.parametrize("status", [303, 307])
def test_a_request_that_a_redirect_answered_is_not_made_twice(client: Client, api: Api, status: int) -> None:
    api.answer = moved(status, "/result")
    assert client.post() == 401
    assert [path for path, _, _ in api.seen].count("/a") == 1
    assert client.provider.token().access_token == "canary-2"


def test_a_repeated_request_may_be_redirected_with_the_new_token(client: Client, api: Api) -> None:
    api.answer = lambda path, token: (401, "") if str(token)[-1] == "1" else (307, "/b") if path == "/a" else (200, "")
    assert client.post() == 200
    assert api.tokens == ["1", "2", "2"]


def test_a_location_that_is_no_url_changes_nothing_where_nobody_is_redirected(client: Client, api: Api) -> None:
    api.answer = says(201, "http://[::1")
    assert client.post() == 201


def test_a_base_url_that_changes_takes_the_token_along(client: Client, api: Api, clock: Clock) -> None:
    settings = [credentials(base_url=base) for base in (api.url, "https://old.example")]
    client.server.answer = lambda _: REFUSAL
    with TokenProvider(settings.pop, transport=client.server.transport) as client.provider:
        assert "old.example" in str(failure(client.provider))
        client.server.answer = lambda _: issued("canary-new")
        clock.passes(5)
        for _ in range(2):  # the first is foreign still, and so gets none
            client.post()
            client.provider.token()
    assert api.tokens == ["none", "new"]


def test_a_base_url_that_changes_meanwhile_ends_the_call(client: Client, api: Api) -> None:
    settings = [credentials(base_url=base) for base in ("https://new.example", api.url)]
    with TokenProvider(settings.pop, transport=client.server.transport) as client.provider:
        api.answer = lambda path, token: (401, "") if client.provider.reset() is None else (200, "")
        assert client.post() == 401
        assert client.provider.credentials.base_url == "https://new.example"
    assert api.tokens == ["2"]


@pytest.mark.parametrize(
    "host", ["bücher.example", "api.bücher.example", "api.xn--bcher-kva.example", "straße.example"]
)
@pytest.mark.parametrize("path", [None, "/a"])
def test_a_host_in_letters_of_its_own_gets_the_token_listed_or_not(server: Server, host: str, path: str | None) -> None:
    url = f"https://{host}/a"

    async def wire(request: aiohttp.ClientRequest, _: object) -> aiohttp.ClientResponse:
        raise LookupError(request.headers["Authorization"])

    async def aiohttp_sends(auth: EnkashMiddleware) -> None:
        async with aiohttp.ClientSession(middlewares=[auth, wire]) as session:
            await session.get(url)

    with TokenProvider(credentials(base_url=f"https://{host}"), transport=server.transport) as provider:
        listed = [url] if path else []
        flows = [EnkashAuth(provider, listed).sync_auth_flow(kind.Request("GET", url)) for kind in (httpx, httpx2)]
        prepared = requests.Request("GET", url, auth=EnkashRequestsAuth(provider, listed)).prepare()
        sent = {one.headers["Authorization"] for one in (*map(next, flows), prepared)}
        assert sent == {"Bearer canary-token-1"}
        with pytest.raises(LookupError, match="^Bearer canary-token-1$"):
            asyncio.run(aiohttp_sends(EnkashMiddleware(provider, listed)))


def test_a_prepared_request_that_is_sent_again_gives_up_what_was_rejected(
    provider: TokenProvider, server: Server, api: Api, clock: Clock
) -> None:
    server.answer = lambda _: clock.passes(1) or issued(f"canary-{len(server.requests)}")
    provider.invalidate(provider.token())
    request = requests.Request("GET", f"{api.url}/a", auth=EnkashRequestsAuth(provider)).prepare()
    api.answer = lambda path, token: (401 if len(api.seen) == 2 else 200, "")
    with requests.Session() as session:
        for answered in ([200], [401, 200]):
            answer = session.send(request)
            assert [one.status_code for one in (*answer.history, answer)] == answered
            clock.passes(1)
    assert api.tokens == ["2", "2", "3"]


def test_a_prepared_request_that_is_signed_anew_is_repeated_once_before_other_hooks_see_the_answer(
    provider: TokenProvider, server: Server, api: Api
) -> None:
    server.answer = lambda _: issued("canary-1")  # a sticky server
    auth, heard = EnkashRequestsAuth(provider), list[int]()
    hooks = {"response": lambda answer, **_: heard.append(len(api.seen))}
    request = requests.Request("GET", f"{api.url}/a", auth=auth, hooks=hooks).prepare()
    copy = request.copy()
    for _ in range(3):
        request.prepare_auth(auth)
    api.answer = says(401)
    with requests.Session() as session:
        for one in (request, copy):
            session.send(one)
    assert api.tokens == ["1"] * 4
    assert heard == [2, 4]


def test_requests_leaves_the_token_behind_where_it_signs_again_elsewhere(provider: TokenProvider, api: Api) -> None:
    auth = EnkashRequestsAuth(provider)
    request = requests.Request("GET", f"{api.url}/a", auth=auth).prepare()
    with requests.Session() as session:
        for base in (api.url, api.elsewhere, api.url):
            request.prepare_url(f"{base}/a", None)
            request.prepare_auth(auth)
            session.send(request)
    assert api.tokens == ["1", "none", "1"]


@pytest.mark.parametrize("others", [[], [["https://other.example"]]])  # whose auth takes none of another's away
def test_a_request_of_aiohttp_that_another_middleware_sends_again_elsewhere_leaves_the_token_behind(
    provider: TokenProvider, api: Api, others: list[list[str]]
) -> None:
    async def all_hosts(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await (await send(request)).read()
        request.url = URL(f"{api.elsewhere}/a")
        return await send(request)

    async def main() -> None:
        auths = [EnkashMiddleware(provider, origins) for origins in ([], *others)]
        async with aiohttp.ClientSession(middlewares=[all_hosts, *auths]) as session:
            await (await session.get(f"{api.url}/a")).read()

    asyncio.run(main())
    assert api.tokens == ["1", "none"]


def test_aiohttp_shows_a_401_that_comes_in_place_of_100_continue(provider: TokenProvider) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def main() -> int:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"
        async with server, aiohttp.ClientSession(middlewares=[EnkashMiddleware(provider, [url])]) as session:
            return (await session.post(url, data=b"x", expect100=True)).status

    assert asyncio.run(main()) == 401
    assert provider.token().access_token == "canary-2"


def test_an_answer_of_requests_and_its_error_can_be_pickled(provider: TokenProvider, api: Api) -> None:
    api.answer = says(500)
    with pytest.raises(requests.HTTPError) as caught:
        requests.get(f"{api.url}/a", auth=EnkashRequestsAuth(provider), timeout=10).raise_for_status()
    error = pickle.loads(pickle.dumps(caught.value))  # as a pool of processes does
    assert error.response.status_code == 500
    with requests.Session() as session:
        session.send(error.request)
    assert len(api.seen) == 2


class Wire(requests.adapters.HTTPAdapter):
    """Answers with a status, and a redirect to https; notes whether each request is signed."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status, self.signed = status, list[bool]()

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.signed.append("Authorization" in request.headers)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url, answer.raw = self.status, request, request.url, io.BytesIO()
        answer.headers["Location"] = "https://localhost/b"
        return answer


def test_an_adapter_that_names_itself_in_no_answer_shows_the_401(provider: TokenProvider, api: Api) -> None:
    wire = Wire(401)  # as adapters for WSGI applications do
    with requests.Session() as session:
        session.auth = EnkashRequestsAuth(provider)
        session.mount("http://", wire)
        assert session.get(f"{api.url}/a").status_code == 401
    assert wire.signed == [True]
    assert provider.token().access_token == "canary-2"


def test_requests_takes_no_token_from_http_to_https_of_one_host(server: Server) -> None:
    plain, secure = Wire(302), Wire(200)
    account = credentials(base_url="http://localhost")
    with TokenProvider(account, transport=server.transport) as provider, requests.Session() as session:
        session.auth, session.trust_env = EnkashRequestsAuth(provider), False
        session.mount("http://", plain)
        session.mount("https://", secure)
        session.get("http://localhost/a", stream=True)
    assert (plain.signed, secure.signed) == ([True], [False])


def test_a_url_that_no_token_can_go_to_gets_none(provider: TokenProvider) -> None:
    request = requests.Request("GET", "mock://token.example", auth=EnkashRequestsAuth(provider)).prepare()
    assert "Authorization" not in request.headers


def test_it_imports_httpx2_never_and_meets_it_at_any_time(
    provider: TokenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setitem(sys.modules, "httpx2", None)
        auth = loaded_anew("enkash_auth._auth").EnkashAuth(provider)
        httpx.Client(auth=auth).close()
    httpx2.Client(auth=auth).close()
