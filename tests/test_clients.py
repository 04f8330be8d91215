"""One set of rules for the auths of all HTTP clients, over sockets."""

import asyncio
import io
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import requests.adapters
from yarl import URL

from api_server import Asked, serving
from conftest import REFUSAL, Clock, Server, credentials, issued
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.adapters.aiohttp import EnkashMiddleware
from enkash_auth.adapters.requests import EnkashRequestsAuth
from enkash_auth.errors import RefusedError
from test_secrets import assert_clean


class Api:
    """An origin: remembers path, `Authorization` and body of each request; answers what the test says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, bytes]] = []
        self.answer: Callable[[str, str | None], tuple[int, str]] = lambda path, token: (200, "")

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


FILES: list[io.BufferedReader] = []


def disk() -> io.BufferedReader:
    FILES.append(Path(__file__).open("rb"))  # noqa: SIM115  # closed after the test
    return FILES[-1]


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    yield
    while FILES:
        FILES.pop().close()


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


class Client:
    """Posts with one of the clients and its auth, to a path of the API or to a URL; returns the status."""

    def __init__(self, name: str, provider: TokenProvider, url: str) -> None:
        self.name, self.provider, self.url = name, provider, url
        self.module = httpx2 if name.startswith("httpx2") else httpx

    def post(self, url: str = "/a", body: str = "none", origins: Any = (), headers: Any = None) -> int:
        url = self.url + url if url.startswith("/") else url
        return int(getattr(self, self.name.replace("-", "_"))(url, body, origins, headers or {}))

    def httpx(self, url: str, body: str, origins: Any, headers: Any) -> int:
        auth: Any = EnkashAuth(self.provider, origins)
        with self.module.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
            return client.post(url, headers=headers, **SYNC[body]()).status_code

    def httpx_async(self, url: str, body: str, origins: Any, headers: Any) -> int:
        async def main() -> int:
            auth: Any = EnkashAuth(self.provider, origins)
            async with self.module.AsyncClient(auth=auth, follow_redirects=True, trust_env=False) as client:
                return (await client.post(url, headers=headers, **ASYNC[body]())).status_code

        return asyncio.run(main())

    httpx2, httpx2_async = httpx, httpx_async

    def requests(self, url: str, body: str, origins: Any, headers: Any) -> int:
        with requests.Session() as session:
            session.trust_env, session.auth = False, EnkashRequestsAuth(self.provider, origins)
            return session.post(url, headers=headers, timeout=10, **REQUESTS[body]()).status_code

    def aiohttp(self, url: str, body: str, origins: Any, headers: Any) -> int:
        async def main() -> int:
            async with aiohttp.ClientSession(middlewares=[EnkashMiddleware(self.provider, origins)]) as session:
                answer = await session.post(url, headers=headers, **AIOHTTP[body]())
                await answer.read()
                return answer.status

        return asyncio.run(main())


@pytest.fixture(params=["httpx", "httpx-async", "httpx2", "httpx2-async", "requests", "aiohttp"])
def client(request: pytest.FixtureRequest, provider: TokenProvider, url: str) -> Client:
    return Client(request.param, provider, url)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with serving(api) as url:
        yield url


@pytest.fixture
def elsewhere(api: Api) -> Iterator[str]:
    """The same API at another origin."""
    with serving(api) as url:
        yield url


@pytest.fixture
def provider(server: Server, url: str, clock: Clock) -> Iterator[TokenProvider]:
    """Its base URL is the API's origin; its first token was issued before the call of the test."""
    server.answer = lambda _: issued(f"canary-{len(server.requests)}")
    with TokenProvider(credentials(base_url=url), transport=server.transport) as provider:
        provider.token()
        clock.passes(1)
        yield provider


def says(status: int, location: str = "") -> Callable[[str, str | None], tuple[int, str]]:
    return lambda path, token: (status, location)


def test_the_token_goes_to_the_base_urls_origin(client: Client, api: Api) -> None:
    assert client.post() == 200
    assert api.tokens == ["1"]


def test_a_foreign_origin_gets_no_token_and_its_401_costs_nothing(
    client: Client, server: Server, api: Api, elsewhere: str
) -> None:
    api.answer = says(401)
    assert client.post(f"{elsewhere}/a") == 401
    client.post(origins=["https://api.example"])
    assert api.tokens == ["none", "none"]
    assert len(server.requests) == 1


def test_listed_origins_replace_the_default(client: Client, api: Api, elsewhere: str) -> None:
    for base in (elsewhere, client.url):
        client.post(f"{base}/a", origins=[elsewhere])
    assert api.tokens == ["1", "none"]


def test_a_foreign_request_keeps_an_authorization_of_its_own(client: Client, api: Api) -> None:
    client.post(origins=["https://api.example"], headers={"Authorization": "Basic b3Ro"})
    assert api.tokens == ["Basic b3Ro"]


@pytest.mark.once
@pytest.mark.parametrize("body", SYNC)
def test_a_401_fetches_once_and_repeats_once_what_can_be_repeated(
    client: Client, server: Server, api: Api, body: str
) -> None:
    api.answer = says(401)
    assert client.post("/a", body) == 401
    sent = [(token, text) for _, token, text in api.seen]
    repeated = body != "stream" and (body != "disk" or client.name == "requests")  # which has read the file
    assert api.tokens == (["1", "2"] if repeated else ["1"])
    assert sent[0][1] == sent[-1][1]
    assert client.provider.token().access_token == "canary-2"  # given up all the same
    assert len(server.requests) == 2


def test_a_request_is_repeated_once_with_the_same_token_too(client: Client, server: Server, api: Api) -> None:
    server.answer = lambda _: issued("canary-1")
    api.answer = lambda path, token: (401 if len(api.seen) == 1 else 200, "")
    assert client.post() == 200
    assert api.tokens == ["1", "1"]


def test_a_refusal_after_a_401_reaches_the_caller_and_shows_no_secret(client: Client, server: Server, api: Api) -> None:
    server.answer = lambda _: REFUSAL
    api.answer = says(401)
    with pytest.raises(RefusedError) as caught:
        client.post("/a", "bytes")
    assert_clean(caught.value)


@pytest.mark.parametrize("status", [303, 307])
def test_a_redirect_takes_no_token_along(client: Client, server: Server, api: Api, status: int) -> None:
    foreign = Api()
    foreign.answer = says(401)
    with serving(foreign) as other:
        api.answer = says(status, f"{other}/b")
        assert client.post() == 401
    assert (api.tokens, foreign.tokens) == (["1"], ["none"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [303, 307])
def test_a_request_that_was_dealt_with_before_a_redirect_is_not_made_twice(
    client: Client, api: Api, status: int
) -> None:
    api.answer = lambda path, token: (status, "/result") if path == "/pay" else (401, "")
    assert client.post("/pay") == 401
    assert [path for path, _, _ in api.seen].count("/pay") == 1
    assert client.provider.token().access_token == "canary-2"


def test_a_repeated_request_may_be_redirected_with_the_new_token(client: Client, api: Api) -> None:
    api.answer = lambda path, token: (401, "") if str(token)[-1] == "1" else (307, "/b") if path == "/a" else (200, "")
    assert client.post() == 200
    assert api.tokens == ["1", "2", "2"]


def test_a_base_url_that_changes_takes_the_token_along(client: Client, server: Server, api: Api, clock: Clock) -> None:
    server.answer = lambda request: httpx.Response(401) if request.url.host == "old.example" else issued("canary-new")
    settings = [credentials(base_url=base) for base in (client.url, "https://old.example")]
    with TokenProvider(settings.pop, transport=server.transport) as client.provider:
        with pytest.raises(Exception, match="old.example"):
            client.provider.token()
        clock.passes(5)
        for _ in range(2):  # the first is foreign still, and so gets none
            client.post()
            client.provider.token()
    assert api.tokens == ["none", "new"]


def test_a_base_url_that_changes_meanwhile_ends_the_call(client: Client, server: Server, api: Api) -> None:
    settings = [credentials(base_url=base) for base in ("https://new.example", client.url)]
    with TokenProvider(settings.pop, transport=server.transport) as provider:
        client.provider = provider
        api.answer = lambda path, token: (401, "") if provider.reset() is None else (200, "")
        assert client.post() == 401
        assert provider.credentials.base_url == "https://new.example"
    assert api.tokens == ["2"]


def test_a_prepared_request_that_is_sent_again_gives_up_what_was_rejected(
    provider: TokenProvider, server: Server, api: Api, url: str, clock: Clock
) -> None:
    server.answer = lambda _: clock.passes(1) or issued(f"canary-{len(server.requests)}")
    provider.invalidate(provider.token())
    request = requests.Request("GET", f"{url}/a", auth=EnkashRequestsAuth(provider)).prepare()
    with requests.Session() as session:
        for status in (200, 401):
            api.answer = lambda path, token, status=status: (status if str(token)[-1] == "2" else 200, "")
            answer = session.send(request)
            assert answer.status_code == 200
            assert [one.status_code for one in answer.history] == [401] * (status == 401)
            clock.passes(1)
    assert api.tokens == ["2", "2", "3"]


def test_a_prepared_request_of_requests_that_is_signed_again_elsewhere_leaves_the_token_behind(
    provider: TokenProvider, api: Api, url: str, elsewhere: str
) -> None:
    auth = EnkashRequestsAuth(provider)
    request = requests.Request("GET", f"{url}/a", auth=auth).prepare()
    with requests.Session() as session:
        for base in (url, elsewhere, url):
            request.prepare_url(f"{base}/a", None)
            request.prepare_auth(auth)
            session.send(request)
    assert api.tokens == ["1", "none", "1"]


def test_a_request_of_aiohttp_that_another_middleware_sends_again_elsewhere_leaves_the_token_behind(
    provider: TokenProvider, api: Api, url: str, elsewhere: str
) -> None:
    async def all_hosts(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await (await send(request)).read()
        request.url = URL(f"{elsewhere}/a")
        return await send(request)

    async def main(*auths: EnkashMiddleware) -> None:
        async with aiohttp.ClientSession(middlewares=[all_hosts, *auths]) as session:
            await (await session.get(f"{url}/a")).read()

    asyncio.run(main(EnkashMiddleware(provider)))
    assert api.tokens == ["1", "none"]
    asyncio.run(main(EnkashMiddleware(provider), EnkashMiddleware(provider, ["https://other.example"])))
    assert api.tokens == ["1", "none"] * 2  # an auth for other origins takes none of another's away


def test_an_answer_of_requests_and_its_error_can_be_pickled(provider: TokenProvider, api: Api, url: str) -> None:
    api.answer = says(500)
    answer = requests.get(f"{url}/a", auth=EnkashRequestsAuth(provider), timeout=10)
    with pytest.raises(requests.HTTPError) as caught:
        answer.raise_for_status()
    error = pickle.loads(pickle.dumps(caught.value))  # as a pool of processes does
    assert error.response.status_code == 500
    with requests.Session() as session:
        session.send(error.request)
    assert len(api.seen) == 2


async def by_aiohttp(auth: EnkashMiddleware, url: str) -> Any:
    async def wire(request: aiohttp.ClientRequest, _: object) -> aiohttp.ClientResponse:
        raise LookupError(request.headers["Authorization"])

    async with aiohttp.ClientSession(middlewares=[auth, wire]) as session:
        with pytest.raises(LookupError) as caught:
            await session.get(url)
    return caught.value


@pytest.mark.parametrize(
    "host", ["bücher.example", "api.bücher.example", "api.xn--bcher-kva.example", "straße.example"]
)
def test_a_listed_host_in_letters_of_its_own_gets_the_token(server: Server, host: str) -> None:
    url = f"https://{host}/a"
    with TokenProvider(credentials(base_url=f"https://{host}"), transport=server.transport) as provider:
        for listed in ([], [url]):
            flows = [EnkashAuth(provider, listed).sync_auth_flow(kind.Request("GET", url)) for kind in (httpx, httpx2)]
            request = requests.Request("GET", url, auth=EnkashRequestsAuth(provider, listed)).prepare()
            assert {next(flow).headers["Authorization"] for flow in flows} == {"Bearer canary-token-1"}
            assert request.headers["Authorization"] == "Bearer canary-token-1"
            assert str(asyncio.run(by_aiohttp(EnkashMiddleware(provider, listed), url))) == "Bearer canary-token-1"


def test_a_location_that_is_no_url_changes_nothing_where_nobody_is_redirected(client: Client, api: Api) -> None:
    api.answer = says(201, "http://[::1")
    assert client.post() == 201


class Wire(requests.adapters.BaseAdapter):
    """Redirects from http to https of the same host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str | None, bool]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.seen.append((request.url, "Authorization" in request.headers))
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, str(request.url), request
        answer.raw, answer.connection = io.BytesIO(), self
        if len(self.seen) == 1:
            answer.status_code, answer.headers["Location"] = 302, "https://localhost/b"
        return answer

    def close(self) -> None:
        pass


def test_requests_takes_no_token_from_http_to_https_of_one_host(server: Server) -> None:
    wire = Wire()
    with (
        TokenProvider(credentials(base_url="http://localhost"), transport=server.transport) as provider,
        requests.Session() as session,
    ):
        session.auth, session.trust_env = EnkashRequestsAuth(provider), False
        for prefix in ("http://", "https://"):
            session.mount(prefix, wire)
        session.get("http://localhost/a", stream=True)
    assert wire.seen == [("http://localhost/a", True), ("https://localhost/b", False)]


def test_a_url_that_no_token_can_go_to_gets_none(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        request = requests.Request("GET", "mock://token.example", auth=EnkashRequestsAuth(provider)).prepare()
    assert "Authorization" not in request.headers


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
