"""Each thing that happens is reported once, by what it is, and without a secret."""

import asyncio
import logging
import threading
from contextlib import suppress
from unittest.mock import Mock

import httpx
import pytest

from conftest import REFUSAL, Clock, Heard, Logs, Patch, Server, failure, issued, table
from enkash_auth import TokenProvider
from enkash_auth._flight import Flight
from enkash_auth._held import Held
from enkash_auth._policy.sign_in import Result
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Once
from enkash_auth.errors import EnkashAuthError, UnavailableError
from enkash_auth.events import Event, publish


def renew(provider: TokenProvider, clock: Clock) -> None:
    clock.passes(299)
    provider.token()


@pytest.mark.parametrize("sticky", [False, True])
def test_a_first_token_is_issued_and_the_next_renewed_or_the_same(
    server: Server, provider: TokenProvider, clock: Clock, heard: Heard, sticky: bool
) -> None:
    if sticky:
        server.answer = lambda _: issued("same", int(1e9 + 300 - clock.wall))
    provider.token()
    renew(provider, clock)
    assert heard.kinds == ["issued", "reissued_same" if sticky else "renewed"]
    assert [(event.requests, event.grants, event.life) for event in heard] == [
        (1, 1, 300),
        (1, 2, 1 if sticky else 300),
    ]


NO_TOKEN = "the body is not the JSON object of the spec"


@table(
    "answer, kind, requests, detail",
    ("a clear refusal", REFUSAL, "refused", 1, (400, "invalid_grant", None)),
    ("a refusal", httpx.Response(403), "refused", 1, (403, None, None)),
    ("an outage", httpx.Response(503), "unavailable", 2, (None, None, "status 503")),
    ("JSON without a token", httpx.Response(200, json=[]), "refused", 1, (200, None, NO_TOKEN)),
    ("no JSON", httpx.Response(200), "unavailable", 1, (None, None, NO_TOKEN)),
)
def test_a_failure_is_reported_and_that_the_old_token_stays_in_use(
    server: Server, provider: TokenProvider, clock: Clock, heard: Heard,
    answer: httpx.Response, kind: str, requests: int, detail: tuple[object, ...],
) -> None:  # fmt: skip
    provider.token()
    server.answers(answer)
    renew(provider, clock)
    assert heard.kinds == ["issued", kind, "served_stale"]
    event = heard[1]
    assert (event.requests, event.status, event.error, event.reason) == (requests, *detail)
    clock.passes(31)
    failure(provider, EnkashAuthError)
    assert heard.kinds[3:] == ([] if event.row else [kind])


def test_an_invalidated_token_is_reported(provider: TokenProvider, heard: Heard) -> None:
    token = provider.token()
    provider.invalidate(token)
    provider.invalidate(token)
    assert heard.kinds == ["issued"]
    provider.token()  # hooks may take their time: they run on a grant's thread only
    assert heard.kinds == ["issued", "invalidated", "issued"]


def test_what_callers_do_at_once_is_heard_later(provider: TokenProvider, heard: Heard, monkeypatch: Patch) -> None:
    finish = Held.finish

    def finish_and_invalidate(held: Held, flight: Flight, result: Result) -> bool:
        alive = finish(held, flight, result)
        assert held.cache.record
        provider.invalidate(held.cache.record.token)
        return alive

    monkeypatch.setattr(Held, "finish", finish_and_invalidate)
    provider.token()
    assert heard.kinds == ["issued"]


def test_seconds_are_the_grants(server: Server, provider: TokenProvider, clock: Clock, heard: Heard) -> None:
    server.answers(httpx.Response(429, headers={"Retry-After": "60"}), lambda: clock.passes(2.5))
    failure(provider, EnkashAuthError)
    assert heard.kinds == ["unavailable"]
    assert (heard[0].seconds, heard[0].retry_after) == (2.5, 60)


@pytest.mark.parametrize("error", [ValueError("canary"), KeyError("canary"), asyncio.CancelledError("canary")])
def test_a_hook_that_raises_breaks_nothing(server: Server, caplog: Logs, heard: Heard, error: BaseException) -> None:
    def hook(event: Event) -> None:
        heard(event)
        raise error

    with server.provider(on_event=hook) as provider:
        token = provider.token()
        assert heard.kinds == ["issued"]
        provider.invalidate(token)
        assert provider.token().access_token == "canary-token-2"
        assert len(heard.kinds) == 3
    assert type(error).__name__ in caplog.text
    assert "canary" not in caplog.text


def test_a_hook_that_hangs_keeps_nobody_waiting(server: Server) -> None:
    go = threading.Event()
    with server.provider(on_event=lambda _: go.wait(10)) as provider:
        assert provider.token() is provider.token()
        go.set()


@table(
    "answer, level",
    ("a token", issued("canary-token"), logging.INFO),
    ("a refusal", httpx.Response(400, json={"error": "invalid_grant", "error_description": "canary"}), logging.WARNING),
    ("an outage", httpx.Response(502, content=b"canary"), logging.WARNING),
)
def test_logs_have_levels_and_no_secret(
    server: Server, provider: TokenProvider, heard: Heard, caplog: Logs, answer: httpx.Response, level: int
) -> None:
    caplog.set_level(logging.DEBUG, "enkash_auth")
    server.answers(answer)
    with suppress(EnkashAuthError):
        provider.token()
    assert len(heard.kinds) == 1
    (record,) = [record for record in caplog.records if record.name == "enkash_auth"]
    assert record.levelno == level
    assert "host token.example" in record.getMessage()
    assert "canary" not in f"{caplog.text}{heard}"


class Raising(logging.Filter):
    """As one that adds the request's id, and finds no request on this thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == self.name:
            raise LookupError
        return True


@pytest.mark.parametrize("name", ["enkash_auth", "httpx"])
def test_logging_that_raises_keeps_no_event_from_the_hook(
    server: Server, provider: TokenProvider, heard: Heard, caplog: Logs, monkeypatch: Patch, name: str
) -> None:
    threads = list[str]()
    monkeypatch.setattr(threading, "excepthook", lambda args: threads.append(args.exc_type.__name__))
    with caplog.filtering(Raising(name)), caplog.at_level(logging.DEBUG, name):
        provider.invalidate(provider.token())
        provider.token()
        assert heard.kinds == ["issued", "invalidated", "issued"]
    assert {*threads} == {"LookupError"}  # it is not hidden


def test_an_interrupt_of_a_hook_is_passed_on() -> None:
    """Where gevent has patched threads, hooks run on the main one."""
    with pytest.raises(KeyboardInterrupt):
        publish([Event("issued", "h")], Mock(side_effect=KeyboardInterrupt))


def test_a_sign_in_that_close_cuts_is_no_event(server: Server, provider: TokenProvider, heard: Heard) -> None:
    server.answers(httpx.Response(403), provider.close)
    failure(provider, UnavailableError)
    assert heard.kinds == []


def test_closing_waits_for_events_that_are_due(server: Server, heard: Heard) -> None:
    closing = threading.Event()

    class Published(Once):
        def wait(self, seconds: float) -> bool:
            closing.set()
            return super().wait(seconds)

    def hook(event: Event) -> None:
        closing.wait(5)
        heard(event)

    with server.provider(on_event=hook) as provider:
        provider.token()
        ended = engine_of(provider).held.ended
        assert ended
        ended.published = Published()
    assert [event.kind for event in heard] == ["issued"]
    closing.set()
