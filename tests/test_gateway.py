"""Every answer a server may give ends in the right class."""

import gc
import gzip
import re
import socket
import sys
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.cookiejar import Cookie
from itertools import repeat
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from conftest import Clock, Server, assert_clean, credentials, failure, grant
from enkash_auth import TokenProvider
from enkash_auth._policy.classification import Kind, classify
from enkash_auth._policy.outcome import Issued, Malformed, Outcome, Refused, Unavailable
from enkash_auth._provider import engine_of
from enkash_auth._runtime import NoThreadError, Runtime
from enkash_auth._signin.answers import read_retry_after
from enkash_auth._signin.call import Reply
from enkash_auth.errors import ConfigurationError, ProtocolError, RefusedError, UnavailableError
from enkash_auth.testing import Sandbox
from valkey_server import free_port

HTML = b"<html>canary-token</html>"
SPRING = b'{"timestamp":1,"status":401,"error":"Unauthorized","message":"canary-token","path":"/oauth/token"}'
TOKEN, REFUSAL = b'{"access_token":"t"}', b'{"error":"invalid_grant","error_description":"canary-token"}'
LIVES = [(86399, 86399), ("300", 300), (60.0, 60), (None, 300), (0, 0), (10**30, 10 * 365 * 86400)]


def gateway_of(provider: TokenProvider) -> Any:
    return engine_of(provider).held.account.gateway


@pytest.fixture
def reply(server: Server, provider: TokenProvider) -> Callable[..., Reply]:
    """Makes the reply to a token request that is answered by a body as the wire has it."""

    def reply(status: int, body: Any, encoding: str = "", seconds: float = 5.0) -> Reply:
        stream = httpx.ByteStream(body) if isinstance(body, bytes) else body
        headers = {"Content-Encoding": encoding} if encoding else {}
        server.answer = lambda _: httpx.Response(status, headers=headers, stream=stream)
        return grant(provider, seconds)

    return reply


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        *(({"access_token": "t", "expires_in": said}, seconds) for said, seconds in LIVES),
        ({"access_token": "t"}, 300),
        ({"access_token": "t", "expiresIn": 120}, 120),
        ({"accessToken": "t", "expires_in": 120}, 120),
        ({"accessToken": "t", "expiresIn": 120, "tokenType": "bearer"}, 120),
    ],
)
def test_a_token_is_valid_as_long_as_the_answer_says(
    server: Server, provider: TokenProvider, clock: Clock, body: dict[str, object], seconds: float
) -> None:
    server.answer = lambda _: httpx.Response(200, json=body)
    assert provider.token().expires_at.timestamp() - clock.wall == pytest.approx(seconds, abs=1)


# bodies of a 200 that hold no token, or no life
NO_TOKEN = [
    HTML, b"", b"[]", b"null", b"7", b"[" * 50_000, b"{}", b'{"access_token": 7}', b'{"access_token": ""}',
    b'{"access_token": "canary-token\\r\\nX: y"}', b'{"access_token": "t", "expires_in": -1}',
    b'{"access_token": "t", "expires_in": true}', b'{"access_token": "t", "expires_in": "soon"}',
    b'{"access_token": "t", "expires_in": 1.5}',
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((200, body, ProtocolError) for body in NO_TOKEN),
        *((status, REFUSAL, RefusedError) for status in (400, 401, 403, 429, 500, 503)),
        *((401, body, RefusedError) for body in (SPRING, b"[]")),
        *((status, HTML, RefusedError) for status in (302, 401, 403)),
        (204, b"", RefusedError),
        (400, b'{"error":"canary-token"}', RefusedError),
        (200, b"x" * 70_000, UnavailableError),
        (429, b"", UnavailableError),
        (500, b'{"error":"server_error"}', UnavailableError),
        *((status, HTML, UnavailableError) for status in (502, 520)),
    ],
)
def test_an_answer_has_its_class(server: Server, provider: TokenProvider, status: int, body: bytes, kind: Any) -> None:
    headers = {"Location": "https://elsewhere.example"}
    server.answer = lambda _: httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)
    error = failure(provider, kind)
    assert type(error) is kind
    assert "canary" not in str(error)
    assert len(server.requests) == (2 if kind is UnavailableError else 1)
    if isinstance(error, RefusedError):
        assert (error.status, error.error) == (status, "invalid_grant" if body is REFUSAL else None)


def test_what_nobody_expects_of_httpx_is_unavailable(server: Server, provider: TokenProvider) -> None:
    server.answer = Mock(side_effect=RuntimeError("x"))
    assert grant(provider).outcome == Unavailable("the request failed (RuntimeError)", "token.example")


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("", None), ("soon", None), ("-1", None), ("120", 120), ("9" * 400, 3600)),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0),
        ((NOW + timedelta(seconds=9)).strftime("%a, %d %b %Y %H:%M:%S -0000"), 9),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        (f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert read_retry_after(value, "", NOW.timestamp()) == seconds


@pytest.mark.parametrize("wrong", [-7200, 7200])
def test_a_retry_after_counts_from_the_servers_own_clock(server: Server, wrong: float) -> None:
    """A clock here that is two hours behind made 30 s an hour, for which there was no token."""
    now = datetime.fromtimestamp(time.time() + wrong, UTC)
    server.answers(
        httpx.Response(
            503,
            headers={
                "Date": format_datetime(now, usegmt=True),
                "Retry-After": format_datetime(now + timedelta(seconds=30), usegmt=True),
            },
        )
    )
    assert failure(server.provider(), UnavailableError).retry_after == pytest.approx(30, abs=1)


def test_the_longest_of_two_retry_after_counts(server: Server, provider: TokenProvider) -> None:
    """A server says it, and the proxy before it."""
    said = [("Retry-After", value) for value in ("30", "soon", "120")]
    server.answers(httpx.Response(503, headers=said))
    assert failure(provider, UnavailableError).retry_after == pytest.approx(120, abs=1)


def test_a_refusal_in_latin_1_is_read(server: Server, provider: TokenProvider) -> None:
    body = '{"error": "invalid_grant", "error_description": "Schl\u00fcssel falsch"}'.encode("latin-1")
    server.answers(httpx.Response(400, content=body))
    assert failure(provider, RefusedError).row == "clear"


@pytest.mark.parametrize(
    ("status", "encoding", "body", "kind"),
    [
        (200, "gzip", gzip.compress(TOKEN), Kind.SUCCESS),
        (200, "Deflate", zlib.compress(TOKEN), Kind.SUCCESS),
        (400, "gzip", gzip.compress(REFUSAL), Kind.CLEAR),
    ],
)
def test_a_packed_answer_is_read(reply: Any, status: int, encoding: str, body: bytes, kind: Kind) -> None:
    assert classify(reply(status, body, encoding).answer) is kind


class Endless(httpx.SyncByteStream):
    """A body that is cut off, or drips for ever."""

    def __init__(self, *, cut: bool) -> None:
        self._cut = cut

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"error":'
        if self._cut:
            raise httpx.ReadError("reset")
        yield from repeat(b" ")


BOMB = gzip.compress(b'{"access_token":"t","x":"' + 10_000_000 * b"x" + b'"}')
UNREADABLE: dict[str, tuple[str, Any, type[Outcome]]] = {  # encoding, body, and what a 200 is then
    "cut off": ("", Endless(cut=True), Unavailable),
    "large": ("", b"x" * 70_000, Unavailable),
    "a bomb": ("gzip", BOMB, Unavailable),
    "large after the packed body's end": ("gzip", gzip.compress(TOKEN) + b"x" * 70_000, Unavailable),
    "a bomb in gzip": ("gzip, gzip", gzip.compress(BOMB), Malformed),
    "no gzip": ("gzip", b"no gzip", Malformed),
    "an unknown packing": ("br", b"whatever", Malformed),
}


@pytest.mark.parametrize(("encoding", "body", "of_200"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(("status", "kind"), [(400, Kind.MAYBE), (401, Kind.UNKNOWN), (200, Kind.UNKNOWN)])
def test_an_answer_whose_body_cannot_be_read_counts_by_its_status(
    reply: Any, status: int, kind: Kind, encoding: str, body: Any, of_200: type[Outcome]
) -> None:
    got = reply(status, body, encoding)
    assert (classify(got.answer), type(got.outcome)) == (kind, of_200 if status == 200 else Refused)


def test_a_body_that_drips_ends_at_the_deadline(reply: Any) -> None:
    assert "too long" in reply(200, Endless(cut=False), seconds=0.001).outcome.reason


def test_a_server_that_sets_cookies_gets_none_back_and_fills_no_memory(server: Server, provider: TokenProvider) -> None:
    server.answer = lambda _: httpx.Response(200, json={"access_token": "t"}, headers={"Set-Cookie": "session=1"})
    for _ in range(2):
        provider.token()
        provider.reset()
    assert not [one for one in gc.get_objects() if isinstance(one, Cookie) and one.name == "session"]
    assert [request.headers.get("Cookie") for request in server.requests] == [None, None]


def test_no_proxy_sees_a_sign_in_over_plain_http(environment: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        environment.delenv(name.lower(), raising=False)
        environment.setenv(name, "" if name == "NO_PROXY" else f"http://127.0.0.1:{free_port()}")  # none is there
    with Sandbox() as sandbox, TokenProvider(sandbox.credentials()) as provider:
        assert provider.token()


@pytest.mark.parametrize(
    "setting",
    ["HTTPS_PROXY=ftp://user:canary@proxy", "HTTPS_PROXY=http://user:canary@proxy:port", "NO_PROXY=canary,fd00::/8"],
)
def test_a_proxy_that_cannot_be_used_is_named(environment: pytest.MonkeyPatch, setting: str) -> None:
    name, _, value = setting.partition("=")
    environment.setenv(name, value)
    environment.delenv(name.lower(), raising=False)
    with pytest.raises(ConfigurationError, match=name) as caught:
        TokenProvider(credentials())
    assert caught.value.__context__ is None
    assert_clean(caught.value)


def test_what_a_socks_proxy_needs_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(sys.modules, "socksio", None)
    environment.setenv("HTTPS_PROXY", "socks5://user:canary@proxy")
    environment.delenv("https_proxy", raising=False)
    with pytest.raises(ConfigurationError, match=r"httpx\[socks\]") as caught:
        TokenProvider(credentials())
    assert_clean(caught.value)


def test_the_request_is_what_the_spec_says(server: Server) -> None:
    with TokenProvider(credentials(basic_client_id="other"), transport=server.transport) as provider:
        provider.token()
    (request,) = server.requests
    assert request.headers["User-Agent"].startswith("enkash-auth/")
    assert request.extensions["timeout"]["connect"] < 10 / 2  # leaves time for a host's second address
    assert [request.headers[name] for name in ("Connection", "Content-Type", "Authorization")] == [
        "close", "application/x-www-form-urlencoded", f"Basic {b64encode(b'other:canary-s3').decode()}"
    ]  # fmt: skip
    assert dict(pair.split("=") for pair in request.content.decode().split("&")) == {
        "username": "canary-user", "password": "canary-pass", "clientId": "canary-id", "grant_type": "password"
    }  # fmt: skip


@pytest.mark.parametrize(("timeout", "seconds"), [(10, 9.8), (1, 0.95)])
def test_a_request_ends_before_its_callers_wait_so_that_silence_is_written_down_first(
    server: Server, clock: Clock, timeout: float, seconds: float
) -> None:
    with server.provider(timeout=timeout) as provider:
        provider.token()
    assert server.requests[0].extensions["timeout"]["read"] == pytest.approx(seconds)


def test_a_password_is_not_sent_once_connecting_has_taken_all_the_time(server: Server, provider: TokenProvider) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        request.extensions["trace"]("http11.send_request_headers.started", {"request": request})  # as httpcore does
        raise AssertionError

    server.answer = answer
    outcome = grant(provider, 0.0).outcome
    assert isinstance(outcome, Unavailable) and outcome.late


def test_a_host_that_is_looked_up_for_too_long_gets_no_password_and_costs_no_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, look_up = threading.Event(), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: found.wait(5) and look_up(*given, **named))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        listening.settimeout(5)
        with TokenProvider(credentials(base_url=f"http://{place}")) as provider:
            reply = grant(provider, 0.05)
            found.set()
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(1) == b""
    assert reply.outcome == Unavailable(f"cannot connect to {place}: timeout", "127.0.0.1", late=True)
    assert classify(reply.answer) is Kind.REMOVED


def test_a_request_that_does_not_end_is_ended_at_the_deadline(server: Server, provider: TokenProvider) -> None:
    go = server.hold(httpx.Response(500))
    reply = grant(provider, 0.05)
    go.set()
    reason: Any = reply.outcome.reason
    assert re.fullmatch(r"no answer within 0\.0[45]\d* s", reason)  # a part of its time was over already
    assert reply.outcome == Unavailable(reason, "token.example", late=True)
    assert classify(reply.answer) is Kind.UNKNOWN


def test_where_no_thread_can_start_no_password_leaves(provider: TokenProvider) -> None:
    runtime = Runtime(call_within=Mock(side_effect=NoThreadError("no thread could be started")))
    reply = gateway_of(provider).grant(runtime.now().after(5), runtime)
    assert reply.outcome == Unavailable("no thread could be started", "token.example")
    assert classify(reply.answer) is Kind.REMOVED


def test_a_transport_that_is_false_counts_as_given() -> None:
    """As one that is an empty list of its requests."""

    class Requests(httpx.BaseTransport):
        closed = False

        def __len__(self) -> int:
            return 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ReadTimeout("which may have sent the password, without reading the body here")

        def close(self) -> None:
            self.closed = True

    transport = Requests()
    with TokenProvider(credentials(), transport=transport) as provider:
        assert classify(grant(provider).answer) is Kind.UNKNOWN
    assert not transport.closed


def test_a_header_is_held_back_until_its_time(clock: Clock) -> None:
    runtime, leaves = clock.runtime, clock.monotonic + 0.4
    with Sandbox() as sandbox, TokenProvider(sandbox.credentials()) as provider:
        reply = gateway_of(provider).grant(runtime.now().after(5), runtime, leaves)
    assert isinstance(reply.outcome, Issued)
    assert (clock.pauses, reply.sent.monotonic) == ([pytest.approx(0.4)], pytest.approx(leaves))
