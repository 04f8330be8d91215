"""Each thing that happens is reported once, by what it is, and without a secret."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from conftest import Clock, Server, credentials, issued
from enkash_auth import TokenProvider
from enkash_auth.errors import EnkashAuthError, RefusedError
from enkash_auth.events import Event

REFUSAL = httpx.Response(400, json={"error": "invalid_grant", "error_description": "canary-token"})


class Heard:
    """A hook that remembers, and can be waited for: it is called when the callers have been answered."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    def kinds(self, count: int) -> list[str]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.events) >= count, 10)
        return [event.kind for event in self.events]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def provider(server: Server, clock: Clock, heard: Heard) -> Iterator[TokenProvider]:
    with TokenProvider(credentials(), transport=server.transport, on_event=heard) as provider:
        yield provider


def renew(provider: TokenProvider, clock: Clock) -> None:
    clock.passes(299)
    provider.token()


def test_a_first_token_is_issued_and_the_next_renewed(provider: TokenProvider, clock: Clock, heard: Heard) -> None:
    provider.token()
    renew(provider, clock)
    assert heard.kinds(2) == ["issued", "renewed"]
    assert [(event.requests, event.grants, event.life) for event in heard.events] == [(1, 1, 300), (1, 2, 300)]


def test_the_same_token_again_is_reported_as_such(
    server: Server, provider: TokenProvider, clock: Clock, heard: Heard
) -> None:
    server.answer = lambda _: issued("same", int(1e9 + 300 - clock.wall))
    provider.token()
    renew(provider, clock)
    assert heard.kinds(2) == ["issued", "reissued_same"]


@pytest.mark.parametrize(
    ("answer", "kind", "requests", "detail"),
    [
        (REFUSAL, "refused", 1, (400, "invalid_grant", None)),
        (httpx.Response(403), "refused", 1, (403, None, None)),
        (httpx.Response(503), "unavailable", 2, (None, None, "status 503")),
        (httpx.Response(200), "unavailable", 1, (None, None, "the body is not the JSON object of the spec")),
    ],
)
def test_a_failure_is_reported_and_that_the_old_token_stays_in_use(
    server: Server,
    provider: TokenProvider,
    clock: Clock,
    heard: Heard,
    answer: httpx.Response,
    kind: str,
    requests: int,
    detail: tuple[object, ...],
) -> None:
    provider.token()
    server.answer = lambda _: answer
    renew(provider, clock)
    assert heard.kinds(3) == ["issued", kind, "served_stale"]
    clock.passes(31)
    if answer is not REFUSAL:
        with pytest.raises(EnkashAuthError):
            provider.token()
        assert heard.kinds(4)[3] == kind
    event = heard.events[1]
    assert (event.status, event.error, event.reason) == detail
    assert event.requests == requests


def test_an_invalidated_token_is_reported(provider: TokenProvider, heard: Heard) -> None:
    token = provider.token()
    heard.kinds(1)
    provider.invalidate(token)
    provider.invalidate(token)
    provider.token()  # hooks may take their time: they run on a grant's thread only
    assert heard.kinds(3) == ["issued", "invalidated", "issued"]


def test_seconds_are_the_grants(server: Server, provider: TokenProvider, clock: Clock, heard: Heard) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        clock.passes(2.5)
        return httpx.Response(429, headers={"Retry-After": "60"})

    server.answer = answer
    with pytest.raises(EnkashAuthError):
        provider.token()
    heard.kinds(1)
    assert heard.events[0].seconds == 2.5
    assert heard.events[0].retry_after == 60


@pytest.mark.parametrize("error", [ValueError("canary"), KeyError("canary")])
def test_a_hook_that_raises_breaks_nothing(
    server: Server, caplog: pytest.LogCaptureFixture, heard: Heard, error: Exception
) -> None:
    def hook(event: Event) -> None:
        try:
            raise error
        finally:
            heard(event)

    with TokenProvider(credentials(), transport=server.transport, on_event=hook) as provider:
        assert provider.token() is provider.token()
        heard.kinds(1)
        provider.invalidate(provider.token())
        assert provider.token().access_token == "canary-token-2"
        heard.kinds(3)
    assert type(error).__name__ in caplog.text
    assert "canary" not in caplog.text


def test_a_hook_that_hangs_keeps_nobody_waiting(server: Server) -> None:
    go = threading.Event()
    with TokenProvider(credentials(), transport=server.transport, on_event=lambda _: go.wait(10)) as provider:
        assert provider.token().access_token == "canary-token-1"
        assert provider.token().access_token == "canary-token-1"
        go.set()


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (lambda _: issued("canary-token"), logging.INFO),
        (lambda _: REFUSAL, logging.WARNING),
        (lambda _: httpx.Response(502, content=b"canary"), logging.WARNING),
    ],
)
def test_logs_have_levels_and_no_secret(
    server: Server,
    clock: Clock,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[httpx.Request], httpx.Response],
    level: int,
) -> None:
    caplog.set_level(logging.DEBUG, "enkash_auth")
    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport, on_event=heard) as provider:
        with suppress(EnkashAuthError):
            provider.token()
        heard.kinds(1)
    (record,) = [record for record in caplog.records if record.name == "enkash_auth"]
    assert record.levelno == level
    assert "host token.example" in record.getMessage()
    assert "canary" not in f"{caplog.text}{heard.events}"


def test_a_sign_in_that_close_cuts_is_no_event(server: Server, heard: Heard) -> None:
    with TokenProvider(credentials(), transport=server.transport, on_event=heard) as provider:

        def answer(_: httpx.Request) -> httpx.Response:
            provider.close()
            return httpx.Response(403)

        server.answer = answer
        with pytest.raises(RefusedError):
            provider.token()
    while any(thread.name == "enkash-auth-grant" for thread in threading.enumerate()):
        threading.Event().wait(0.001)
    assert heard.events == []
