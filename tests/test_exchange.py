"""Every answer a server may give ends in the right class."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from conftest import Clock, Server, credentials, issued
from enkash_auth import TokenProvider
from enkash_auth._exchange import read_retry_after
from enkash_auth.errors import EnkashAuthError, ProtocolError, RefusedError, UnavailableError

HTML = b"<html>canary-token</html>"
SPRING = b'{"timestamp":1,"status":401,"error":"Unauthorized","message":"canary-token","path":"/oauth/token"}'


def life(server: Server) -> float:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        return (provider.token().expires_at - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"access_token": "t", "expires_in": 86399}, 86399),
        ({"accessToken": "t", "expiresIn": 120, "tokenType": "bearer"}, 120),
        ({"access_token": "t", "expires_in": "300"}, 300),
        ({"access_token": "t", "expires_in": 60.0}, 60),
        ({"access_token": "t"}, 300),
        ({"access_token": "t", "expires_in": None}, 300),
        ({"access_token": "t", "expires_in": 0}, 0),
        ({"access_token": "t", "expires_in": 10**30}, 10 * 365 * 86400),
    ],
)
def test_a_token_lives_as_long_as_the_answer_says(server: Server, body: dict[str, object], seconds: float) -> None:
    server.answer = lambda _: httpx.Response(200, json=body)
    assert life(server) == pytest.approx(seconds, abs=5)


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
    server: Server, clock: Clock, status: int, body: bytes, expected: type[EnkashAuthError]
) -> None:
    server.answer = lambda _: httpx.Response(
        status, stream=httpx.ByteStream(body), headers={"Location": "https://elsewhere.example"}
    )
    with TokenProvider(credentials(), transport=server.transport) as provider, pytest.raises(expected) as caught:
        clock.move(provider).token()
    assert type(caught.value) is expected
    assert "canary" not in str(caught.value)
    assert len(server.requests) == (2 if expected is UnavailableError else 1)
    if isinstance(caught.value, RefusedError):
        assert caught.value.status == status
        assert caught.value.error == ("invalid_grant" if b"invalid_grant" in body else None)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x"), RuntimeError("x")]
)
def test_trouble_on_the_network_is_unavailable(server: Server, clock: Clock, error: Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    server.answer = answer
    with (
        TokenProvider(credentials(), transport=server.transport) as provider,
        pytest.raises(UnavailableError, match="Error|no answer within 10 s"),
    ):
        assert provider._account.exchange.grant(1.0)  # ends in an outcome, whatever httpx raises
        clock.move(provider).token()


def test_retry_after_is_handed_on(server: Server) -> None:
    server.answer = lambda _: httpx.Response(429, headers={"Retry-After": "7"})
    with (
        TokenProvider(credentials(), transport=server.transport) as provider,
        pytest.raises(UnavailableError) as caught,
    ):
        provider.token()
    assert caught.value.retry_after == 7


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
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW.timestamp()) == seconds


def test_a_body_that_drips_ends_at_the_deadline(server: Server) -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield b" "

    server.answer = lambda _: httpx.Response(200, stream=Drip())
    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert "too long" in provider._account.exchange.grant(0.001).reason  # type: ignore[union-attr]


def test_the_request_is_the_specs(server: Server) -> None:
    server.answer = lambda _: issued("t")
    with TokenProvider(credentials(basic_client_id="other"), transport=server.transport) as provider:
        provider.token()
    (request,) = server.requests
    assert request.headers["User-Agent"].startswith("enkash-auth/")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Authorization"] == httpx.BasicAuth("other", "canary-s3")._auth_header
    sent = dict(pair.split("=") for pair in request.content.decode().split("&"))
    assert sent == {
        "username": "canary-user", "password": "canary-pass", "clientId": "canary-id", "grant_type": "password"
    }  # fmt: skip
