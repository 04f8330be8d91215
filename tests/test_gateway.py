"""Every answer a server may give ends in the right class."""

import gc
import gzip
import re
import socket
import threading
import traceback
import zlib
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.cookiejar import Cookie
from typing import Any

import httpx
import pytest

from conftest import Clock, Server, credentials, failure, grant, issued
from enkash_auth import TokenProvider
from enkash_auth._policy.classification import Kind, classify
from enkash_auth._policy.outcome import Issued, Malformed, Outcome, Unavailable
from enkash_auth._provider import engine_of
from enkash_auth._runtime import NoThreadError, Runtime
from enkash_auth._signin.answers import read_retry_after
from enkash_auth._signin.call import Call, Form, StoppedError
from enkash_auth.errors import ConfigurationError, EnkashAuthError, ProtocolError, RefusedError, UnavailableError
from enkash_auth.testing import Sandbox

HTML = b"<html>canary-token</html>"
SPRING = b'{"timestamp":1,"status":401,"error":"Unauthorized","message":"canary-token","path":"/oauth/token"}'


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"access_token": "t", "expires_in": 86399}, 86399),
        ({"accessToken": "t", "expiresIn": 120, "tokenType": "bearer"}, 120),
        ({"access_token": "t", "expires_in": "300"}, 300),
        ({"access_token": "t", "expires_in": 60.0}, 60),
        ({"access_token": "t", "expiresIn": 120}, 120),
        ({"accessToken": "t", "expires_in": 120}, 120),
        ({"access_token": "t"}, 300),
        ({"access_token": "t", "expires_in": None}, 300),
        ({"access_token": "t", "expires_in": 0}, 0),
        ({"access_token": "t", "expires_in": 10**30}, 10 * 365 * 86400),
    ],
)
def test_a_token_is_valid_as_long_as_the_answer_says(
    server: Server, provider: TokenProvider, clock: Clock, body: dict[str, object], seconds: float
) -> None:
    server.answer = lambda _: httpx.Response(200, json=body)
    assert provider.token().expires_at.timestamp() - clock.wall == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, HTML, ProtocolError),
        (200, b"", ProtocolError),
        (200, b"[]", ProtocolError),
        (200, b"null", ProtocolError),
        (200, b"7", ProtocolError),
        (200, b"[" * 50_000, ProtocolError),
        (200, b"{}", ProtocolError),
        (200, b'{"access_token": 7}', ProtocolError),
        (200, b'{"access_token": ""}', ProtocolError),
        (200, b'{"access_token": "canary-token\\r\\nX: y"}', ProtocolError),
        (200, b'{"access_token": "t", "expires_in": -1}', ProtocolError),
        (200, b'{"access_token": "t", "expires_in": true}', ProtocolError),
        (200, b'{"access_token": "t", "expires_in": "soon"}', ProtocolError),
        (200, b'{"access_token": "t", "expires_in": 1.5}', ProtocolError),
        (200, b"x" * 70_000, UnavailableError),
        (204, b"", RefusedError),
        (302, HTML, RefusedError),
        (400, b'{"error":"invalid_grant","error_description":"canary-token"}', RefusedError),
        (400, b'{"error":"canary-token"}', RefusedError),
        (401, SPRING, RefusedError),
        (401, HTML, RefusedError),
        (401, b"[]", RefusedError),
        (403, HTML, RefusedError),
        (429, b"", UnavailableError),
        (500, b'{"error":"server_error"}', UnavailableError),
        (502, HTML, UnavailableError),
        (520, HTML, UnavailableError),
    ],
)
def test_an_answer_ends_in_its_class(
    server: Server, provider: TokenProvider, status: int, body: bytes, expected: type[EnkashAuthError]
) -> None:
    headers = {"Location": "https://elsewhere.example"}
    server.answer = lambda _: httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)
    with pytest.raises(expected) as caught:
        provider.token()
    assert type(caught.value) is expected
    assert "canary" not in str(caught.value)
    assert len(server.requests) == (2 if expected is UnavailableError else 1)
    if isinstance(caught.value, RefusedError):
        assert caught.value.status == status
        assert caught.value.error == ("invalid_grant" if b"invalid_grant" in body else None)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x"), RuntimeError("x")]
)
def test_trouble_on_the_network_is_unavailable(server: Server, provider: TokenProvider, error: Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    server.answer = answer
    assert grant(provider, 1.0).outcome  # ends in an outcome, whatever httpx raises
    with pytest.raises(UnavailableError, match="Error|no answer within|closed without an answer"):
        provider.token()


def test_retry_after_is_handed_on(server: Server, provider: TokenProvider) -> None:
    server.answer = lambda _: httpx.Response(429, headers={"Retry-After": "7"})
    assert failure(provider, UnavailableError).retry_after == 7


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0),
        ((NOW + timedelta(seconds=9)).strftime("%a, %d %b %Y %H:%M:%S -0000"), 9),
        ("soon", None),
        ("-1", None),
        ("9" * 400, 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        (f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW.timestamp()) == seconds


def test_a_packed_refusal_is_read(server: Server, provider: TokenProvider) -> None:
    body = httpx.ByteStream(gzip.compress(b'{"error":"invalid_grant"}'))
    server.answer = lambda _: httpx.Response(400, headers={"Content-Encoding": "gzip"}, stream=body)
    assert classify(grant(provider).answer) is Kind.CLEAR


class Broken(httpx.SyncByteStream):
    """A body that is cut off."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"error":'
        raise httpx.ReadError("reset")


@pytest.mark.parametrize(("status", "kind"), [(400, Kind.MAYBE), (401, Kind.UNKNOWN), (200, Kind.UNKNOWN)])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, Broken()),
        ({}, httpx.ByteStream(b"x" * 70_000)),
        ({"Content-Encoding": "gzip"}, httpx.ByteStream(b"no gzip")),
    ],
)
def test_an_answer_whose_body_cannot_be_read_counts_by_its_status(
    server: Server, provider: TokenProvider, status: int, kind: Kind, headers: dict[str, str], body: Any
) -> None:
    server.answer = lambda _: httpx.Response(status, headers=headers, stream=body)
    assert classify(grant(provider).answer) is kind


BOMB = gzip.compress(b'{"access_token":"t","x":"' + 10_000_000 * b"x" + b'"}')


@pytest.mark.parametrize(
    ("encoding", "body", "outcome"),
    [
        ("gzip", gzip.compress(b'{"access_token":"t"}'), Issued),
        ("Deflate", zlib.compress(b'{"access_token":"t"}'), Issued),
        ("gzip", BOMB, Unavailable),
        ("gzip", gzip.compress(b'{"access_token":"t"}') + b"x" * 70_000, Unavailable),
        ("gzip, gzip", gzip.compress(BOMB), Malformed),
        ("gzip", b"no gzip", Malformed),
        ("br", b"whatever", Malformed),
    ],
    ids=["gzip", "deflate", "bomb", "endless after its end", "bomb in gzip", "no gzip", "unknown"],
)
def test_a_packed_answer_is_unpacked_to_64_kib_at_most(
    server: Server, provider: TokenProvider, encoding: str, body: bytes, outcome: type[Outcome]
) -> None:
    headers = {"Content-Encoding": encoding}
    server.answer = lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))
    assert isinstance(grant(provider, 5.0).outcome, outcome)


def test_a_server_that_sets_cookies_gets_none_back_and_fills_no_memory(server: Server, provider: TokenProvider) -> None:
    server.answer = lambda _: httpx.Response(200, json={"access_token": "t"}, headers={"Set-Cookie": "session=1"})
    provider.token()
    provider.reset()
    provider.token()
    assert not [one for one in gc.get_objects() if isinstance(one, Cookie) and one.name == "session"]
    assert [request.headers.get("Cookie") for request in server.requests] == [None, None]


@pytest.fixture
def proxy(environment: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy that the environment names for everything, loopback included."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "all_proxy"):
            environment.delenv(name, raising=False)
        listening.settimeout(0)
        yield listening


def test_no_proxy_sees_a_sign_in_over_plain_http(proxy: socket.socket) -> None:
    with Sandbox() as sandbox, TokenProvider(sandbox.credentials()) as provider:
        assert provider.token()
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://user:canary@proxy"),
        ("HTTPS_PROXY", "http://user:canary@proxy:port"),
        ("NO_PROXY", "canary,fd00::/8"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    environment.delenv(name.lower(), raising=False)
    with pytest.raises(ConfigurationError, match=name) as caught:
        TokenProvider(credentials())
    assert caught.value.__context__ is None
    caught.value.__traceback__ = caught.value.__traceback__ and caught.value.__traceback__.tb_next  # this test's own
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "canary" not in "".join(shown.format())


def test_a_password_is_not_sent_once_connecting_has_taken_all_the_time(server: Server, provider: TokenProvider) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        request.extensions["trace"](
            "http11.send_request_headers.started", {"request": request}
        )  # as httpcore does, when connected
        raise AssertionError

    server.answer = answer
    outcome = grant(provider, 0.0).outcome
    assert isinstance(outcome, Unavailable)
    assert outcome.late


def test_a_body_that_drips_ends_at_the_deadline(server: Server, provider: TokenProvider) -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                yield b" "

    server.answer = lambda _: httpx.Response(200, stream=Drip())
    assert "too long" in grant(provider, 0.001).outcome.reason


def test_the_request_is_what_the_spec_says(server: Server) -> None:
    server.answer = lambda _: issued("t")
    with TokenProvider(credentials(basic_client_id="other"), transport=server.transport) as provider:
        provider.token()
    (request,) = server.requests
    assert request.headers["User-Agent"].startswith("enkash-auth/")
    assert request.headers["Connection"] == "close"
    assert request.extensions["timeout"]["connect"] < 10 / 2  # leaves time for a host's second address
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Authorization"] == f"Basic {b64encode(b'other:canary-s3').decode()}"
    sent = dict(pair.split("=") for pair in request.content.decode().split("&"))
    assert sent == {
        "username": "canary-user", "password": "canary-pass", "clientId": "canary-id", "grant_type": "password"
    }  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_a_clear_refusal_is_one_under_any_status(server: Server, provider: TokenProvider, status: int) -> None:
    server.answer = lambda _: httpx.Response(status, json={"error": "invalid_grant"})
    for _ in range(2):
        with pytest.raises(RefusedError, match="wrong password or locked account"):
            provider.token()
    assert len(server.requests) == 1


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
    assert isinstance(reply.outcome, Unavailable)
    assert re.fullmatch(r"no answer within 0\.0[45]\d* s", reply.outcome.reason)  # a part of its time was over already
    assert reply.outcome == Unavailable(reply.outcome.reason, "token.example", late=True)
    assert classify(reply.answer) is Kind.UNKNOWN


def test_where_no_thread_can_start_no_password_leaves(server: Server) -> None:
    def call_within(seconds: float, call: object) -> None:
        raise NoThreadError("no thread could be started")

    runtime = Runtime(call_within=call_within)
    with TokenProvider(credentials(), transport=server.transport) as provider:
        reply = engine_of(provider).held.account.gateway.grant(runtime.now().after(5), runtime)
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


def test_no_body_leaves_after_the_deadline() -> None:
    now = Runtime().now()
    call = Call("host", now.after(-1), Runtime(), now, allowed=0.0, leaves=0.0, target="host:443", departed=True)
    with pytest.raises(StoppedError):
        list(Form(b"password", call))
    assert not call.departed


def test_a_header_is_held_back_until_its_time(clock: Clock) -> None:
    with Sandbox() as sandbox, TokenProvider(sandbox.credentials()) as provider:
        gateway, runtime = engine_of(provider).held.account.gateway, clock.runtime
        leaves = runtime.monotonic() + 0.4
        reply = gateway.grant(runtime.now().after(5), runtime, leaves)
    assert isinstance(reply.outcome, Issued)
    assert clock.pauses == [pytest.approx(0.4)]
    assert reply.sent.monotonic == pytest.approx(leaves)
