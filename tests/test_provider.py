"""One flight, many waiters; a refusal is final."""

import asyncio
import gc
import os
import re
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import certifi
import httpx
import pytest

from conftest import (
    CANARIES,
    REFUSAL,
    Clock,
    Heard,
    Logs,
    Patch,
    Server,
    credentials,
    failure,
    issued,
    table,
    wait_for_sign_ins,
)
from enkash_auth import Credentials, Token, TokenProvider
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Malformed
from enkash_auth._policy.sign_in import Pending
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime
from enkash_auth.errors import ConfigurationError, EnkashAuthError, ProtocolError, RefusedError, UnavailableError
from enkash_auth.stores import MemoryStore

FAR = Moment(float(2**31), float(2**31))
NEVER = float("inf")
FAILED = Malformed("no token", "host")
FORBIDDEN, DOWN = httpx.Response(403), httpx.Response(503)
Ask = Callable[..., Token]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, provider: TokenProvider) -> Ask:
    """The same call from a thread and from a loop of its own."""
    if request.param == "sync":
        return lambda provider=provider: provider.token()
    return lambda provider=provider: asyncio.run(provider.atoken())


def start(provider: TokenProvider) -> Flight:
    """Start a sign-in as a caller does, and do not wait for it; or join the one under way."""
    flight = engine_of(provider).join_or_start()
    assert isinstance(flight, Flight)
    return flight


class TestCallers:
    """What a caller gets, from a thread or from a loop."""

    def test_late_callers_wait_once_more(self, server: Server, provider: TokenProvider, clock: Clock) -> None:
        """After a second sign-in without an answer the back-off is for late callers, too."""
        go, first = server.hold(DOWN), start(provider)
        clock.passes(10)
        second = engine_of(provider).after_wait(first, clock.monotonic + 15)
        assert isinstance(second, Flight) and second is not first
        clock.passes(10)
        with pytest.raises(UnavailableError, match="within 10 s"):
            engine_of(provider).after_wait(second, clock.monotonic + 5)
        go.set()

    @pytest.mark.parametrize("held", [False, True])
    def test_who_stood_still_has_a_token_or_waits_more(self, provider: TokenProvider, clock: Clock, held: bool) -> None:
        token = provider.token() if held else None
        forgotten = Flight(clock.runtime, Pending(0, clock.runtime.now()))
        clock.passes(1)
        got = engine_of(provider).after_wait(forgotten, clock.monotonic)
        assert got is token if held else isinstance(got, Flight) and got.extra
        wait_for_sign_ins()

    def test_a_cancelled_task_cancels_nobody_else(self, server: Server, provider: TokenProvider) -> None:
        go = server.hold(issued("t"))

        async def main() -> Token:
            first, second = (asyncio.create_task(provider.atoken()) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            await asyncio.sleep(0)  # what the cancelled task woke would run now
            assert first.cancelled() and not second.done()
            go.set()
            return await second

        assert asyncio.run(main()).access_token == "t"

    @table(
        "answer, requests, kind, limit",
        ("trouble, after a second request", DOWN, 2, UnavailableError, (None, 0)),
        ("Retry-After", httpx.Response(429, headers={"Retry-After": "60"}), 1, UnavailableError, (None, 0)),
        ("perhaps a firewall's page", FORBIDDEN, 1, RefusedError, (None, 0)),
        ("a page instead of a token", httpx.Response(200), 1, ProtocolError, (None, 0)),
        ("what may be a refusal", httpx.Response(422, json={}), 1, RefusedError, ("maybe", 1)),
        ("a 200 without a token", httpx.Response(200, json={}), 1, ProtocolError, ("maybe", 1)),
        ("a refusal, until a reset", REFUSAL, 1, RefusedError, ("clear", 1)),
    )
    def test_a_failure_keeps_callers_from_asking(
        self, server: Server, provider: TokenProvider, clock: Clock, ask: Ask,
        answer: httpx.Response, requests: int, kind: type[EnkashAuthError], limit: tuple[object, ...],
    ) -> None:  # fmt: skip
        server.answers(answer)
        for _ in range(3):
            with pytest.raises(kind, match="token.example") as caught:
                ask()
            error = caught.value
        assert (len(server.requests), error.row, error.passwords) == (requests, *limit)
        assert error.retry_after == 60 or error.row != "maybe"
        clock.passes(61)
        if answer is REFUSAL:
            failure(provider)
            provider.reset()
        server.answers(issued("t"))
        assert ask().access_token == "t"

    @pytest.mark.parametrize("answered", [issued("old"), REFUSAL, FORBIDDEN], ids=["token", "refusal", "trouble"])
    def test_a_flight_before_reset_writes_nothing(self, server: Server, provider: TokenProvider, answered: Any) -> None:
        server.answers(answered, provider.reset)
        with suppress(RefusedError):
            assert provider.token().access_token == "old"
        server.answers(issued("new"))
        assert provider.token().access_token == "new"

    @pytest.mark.parametrize("shared", [False, True])
    @table(
        "lives, requests, waits",
        ("tokens for one call only: never two requests within a second", [0] * 6, [1, 2, 4, 6], [0, 1, 2, 2]),
        ("trouble with the second of these", [0, None, 0], [1, 3], [0, 1.1]),
        ("trouble with the first request", [None, 300], [2, 2], [0.1, 0]),
    )
    def test_requests_and_waits_are_the_same_with_a_store_that_has_no_other_user(
        self, server: Server, clock: Clock, shared: bool,
        lives: list[int | None], requests: list[int], waits: list[float],
    ) -> None:  # fmt: skip
        server.answer = lambda _: DOWN if (life := left.pop(0)) is None else issued("t", life)
        left, counted, waited = [*lives], [], []
        with server.provider(store=MemoryStore(clock=lambda: clock.monotonic) if shared else None) as provider:
            for _ in requests:
                asked = clock.monotonic
                provider.token()
                counted.append(len(server.requests))
                waited.append(clock.monotonic - asked)
        assert (counted, waited) == (requests, pytest.approx(waits))


def test_certificates_that_cannot_be_read_are_named(monkeypatch: Patch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", __file__)  # no certificates
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        TokenProvider(credentials())


def test_providers_that_live_at_the_same_time_read_the_certificates_once(monkeypatch: Patch) -> None:
    made: list[object] = []
    create = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **given: made.append(given) or create(**given))
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(__file__).parent))  # no other test's
    with TokenProvider(credentials()), TokenProvider(credentials(), timeout=5):
        assert made == [{}]
        monkeypatch.delenv("SSL_CERT_DIR")
        monkeypatch.setenv("SSL_CERT_FILE", certifi.where())  # other certificates are others
        with TokenProvider(credentials()), TokenProvider(credentials(), verify=False):
            assert made == [{}, {}, {"verify": False}]


async def hear(_: object) -> None: ...


class AsyncHook:
    async def hear(self, _: object) -> None: ...
    async def __call__(self, _: object) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": wrong} for wrong in (0, NEVER, float("nan"), 3601, "3", None)]
    + [{"store": "x"}, {"on_store_error": "x"}, {"transport": httpx.AsyncHTTPTransport()}]
    + [{"on_event": wrong} for wrong in ("x", hear, AsyncHook().hear, AsyncHook())],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TokenProvider(credentials(), **wrong)


def test_where_a_sticky_tokens_last_second_does_not_fit_nothing_is_sent(server: Server, clock: Clock, ask: Ask) -> None:
    end, provider = clock.wall + 10.5, server.provider(timeout=0.1)
    server.answer = lambda _: issued("sticky", int(end - clock.wall)) if clock.wall < end else issued("fresh")
    ask(provider)
    clock.passes(9)
    for _ in range(3):
        ask(provider)  # no look fits into the time either
        wait_for_sign_ins()
    sent = len(server.requests)
    clock.passes(1.2)
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            ask(provider)
        assert 0 < (caught.value.retry_after or 0) <= 1.5
    assert len(server.requests) == sent
    clock.passes(1.5)
    assert ask(provider).access_token == "fresh"


class TestInterrupts:
    """Whatever happens in a step of the provider; `test_interrupts.py` has every moment."""

    def test_who_asks_on_a_flights_own_thread_is_answered(self, server: Server, ask: Ask) -> None:
        def asks() -> None:
            with pytest.raises(UnavailableError, match="re-entrantly"):
                ask()

        server.answers(issued("t"), asks)
        assert ask().access_token == "t"

    @pytest.mark.parametrize("step", ["token", "reset", "close"])
    def test_a_caller_from_within_is_answered_and_a_reset_or_close_done(
        self, provider: TokenProvider, clock: Clock, step: str
    ) -> None:
        said: list[str] = []

        def interrupted() -> None:  # as by a signal handler, or a finalizer that the garbage collector runs
            clock.on_look = lambda: None
            said.append(str(failure(provider, UnavailableError) if step == "token" else getattr(provider, step)()))

        clock.on_look = interrupted
        engine_of(provider).join_or_start()
        wait_for_sign_ins()
        assert said == ["None"] or "re-entrantly" in said[0]
        with suppress(ConfigurationError) if step == "close" else nullcontext():
            assert provider.token().access_token == "canary-token-1"

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_transport_that_ends_its_thread_keeps_nobody_waiting(self, server: Server, ask: Ask) -> None:
        server.answers(DOWN, sys.exit)
        with pytest.raises(UnavailableError, match="cut short"):
            ask()
        wait_for_sign_ins()

    def test_where_no_daemon_thread_may_start_others_sign_in(self, provider: TokenProvider, monkeypatch: Patch) -> None:
        make = threading.Thread.__init__

        def forbid(_: threading.Thread, daemon: bool | None = None) -> None:
            if daemon:
                raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

        def init(self: threading.Thread, *args: Any, daemon: bool | None = None, **options: Any) -> None:
            forbid(self, daemon)
            make(self, *args, **options)

        monkeypatch.setattr(threading.Thread, "__init__", init)
        monkeypatch.setattr(threading.Thread, "daemon", property(lambda _: False, forbid))
        assert provider.token().access_token == "canary-token-1"

    @pytest.mark.parametrize("why", ["can't create new thread at ...", "thread is not supported for isolated ..."])
    def test_where_no_thread_can_start_callers_are_told_so_at_once(
        self, server: Server, provider: TokenProvider, monkeypatch: Patch, ask: Ask, why: str
    ) -> None:
        monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError(why)))
        with pytest.raises(UnavailableError, match="no thread could be started"):
            ask()
        assert server.requests == []
        ended = engine_of(provider).held.ended
        assert ended and ended.published.wait(0)  # no event is due: closing waits for none

    def test_a_signal_handlers_error_while_a_thread_starts_does_not_sign_in_twice(
        self, server: Server, provider: TokenProvider, monkeypatch: Patch
    ) -> None:
        begin = threading.Thread.start

        def interrupted(self: threading.Thread) -> None:
            begin(self)
            if threading.current_thread() is threading.main_thread():  # handlers run there
                raise RuntimeError("a signal handler's own")

        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(RuntimeError, match="a signal handler's own"):
            provider.token()
        monkeypatch.undo()
        assert provider.token().access_token == "canary-token-1"
        assert len(server.requests) == 1

    def test_a_child_starts_clean(self, provider: TokenProvider, clock: Clock) -> None:
        provider.token()
        clock.passes(300)
        holds, go = threading.Event(), threading.Event()
        clock.on_look = lambda: go.wait(5) if holds.set() is None and threading.current_thread() is other else None
        other = threading.Thread(target=provider.token)  # holds the lock; the child does not have this thread
        other.start()
        holds.wait(5)
        engine_of(provider).inherit()  # what os.fork() calls in the child
        assert provider.token().access_token == "canary-token-2"
        go.set()
        other.join()


def test_a_server_that_drips_headers_keeps_no_thread() -> None:
    def drip() -> None:
        connection, _ = listening.accept()
        with suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                connection.sendall(b"x")
                threading.Event().wait(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with TokenProvider(credentials(base_url=url), timeout=0.5) as provider:
            for _ in range(2):
                with pytest.raises(UnavailableError, match="no answer within"):
                    provider.token()
            dripping.join(5)  # its connection is cut
            assert not dripping.is_alive()
            wait_for_sign_ins()


class TestFlight:
    """One outcome, for which threads and tasks wait alike."""

    @pytest.fixture
    def flight(self) -> Flight:
        return Flight(Runtime(), Pending(0, FAR))

    @staticmethod
    async def waited(flight: Flight, deadline: float) -> None:
        await flight.waiter(deadline)

    def test_a_waiter_that_comes_after_the_outcome_does_not_wait(self, flight: Flight) -> None:
        flight.finish(FAILED)
        asyncio.run(self.waited(flight, NEVER))
        flight.wait(NEVER)

    def test_a_loop_that_was_closed_is_passed_over_and_not_kept(self, flight: Flight) -> None:
        """One of uvloop's holds 250 kB; a service may call `asyncio.run` for each of its requests."""

        async def leave() -> weakref.ref[asyncio.AbstractEventLoop]:
            flight.waiter(NEVER)
            return weakref.ref(asyncio.get_running_loop())

        loops = [asyncio.run(leave()) for _ in range(3)]
        gc.collect()
        assert [loop() is None for loop in loops] == [True, True, False]
        flight.finish(FAILED)
        gc.collect()
        assert loops[2]() is None

    @pytest.mark.parametrize("deadline", [0.0, NEVER])
    def test_nobody_waits_past_a_deadline_or_the_flights_end(self, deadline: float) -> None:
        flight = Flight(Runtime(), Pending(0, Moment(0.0, 0.0) if deadline else FAR))
        flight.wait(deadline)
        asyncio.run(self.waited(flight, deadline))
        assert flight.outcome is None

    def test_a_task_that_comes_when_its_loops_timer_has_rung_is_woken_by_the_outcome(self) -> None:
        async def come() -> None:
            now = [1000.0]
            flight = Flight(Runtime(lambda: now[0]), Pending(0, Moment(1000.0, 0.0)))
            await flight.waiter(NEVER)
            now[0] = 0.0  # the timer rang too soon
            later = flight.waiter(NEVER)
            flight.finish(FAILED)
            await asyncio.wait_for(later, 5)

        asyncio.run(come())

    def test_one_turn_of_a_loop_wakes_a_part_of_a_crowd(self, flight: Flight) -> None:
        async def come() -> list[int]:
            waiters = [flight.waiter(NEVER) for _ in range(1_500)]
            flight.finish(FAILED)
            woken = []
            while not waiters[-1].done():
                await asyncio.sleep(0)
                woken.append(sum(waiter.done() for waiter in waiters))
            return woken

        assert asyncio.run(come()) == [500, 1_000, 1_500]


def test_without_a_loop_the_error_says_what_to_do(provider: TokenProvider) -> None:
    with pytest.raises(ConfigurationError, match="worker thread"):
        provider.atoken().send(None)


class TestSource:
    """A source is read again while the server refuses its credentials."""

    @pytest.fixture
    def refused(self, environment: Patch, server: Server) -> TokenProvider:
        server.answer = lambda r: issued("t") if b"password=new" in r.content else REFUSAL
        environment.setenv("ENKASH_PASSWORD", "canary-pass")
        provider = server.provider(lambda: credentials(password=os.environ["ENKASH_PASSWORD"]))
        failure(provider)
        return provider

    def test_a_rotated_password_needs_no_restart(self, refused: TokenProvider, environment: Patch) -> None:
        environment.setenv("ENKASH_PASSWORD", "new")
        assert refused.token().access_token == "t"

    @pytest.mark.parametrize("password", ["canary-pass", ""], ids=["the same", "half-way through a rotation"])
    def test_a_source_without_other_credentials_changes_nothing(
        self, refused: TokenProvider, server: Server, environment: Patch, password: str
    ) -> None:
        environment.setenv("ENKASH_PASSWORD", password)
        account = engine_of(refused).held.account
        for _ in range(2):
            failure(refused)
        assert engine_of(refused).held.account is account
        assert len(server.requests) == 1

    def test_one_that_is_false_is_read_again_too(self, server: Server) -> None:
        """As a source that is an empty cache of its own."""

        class Source:
            reads = 0

            def __len__(self) -> int:
                return 0

            def __call__(self) -> Credentials:
                self.reads += 1
                return credentials()

        source = Source()
        with TokenProvider(source, transport=server.transport) as provider:
            provider.reset()
        assert source.reads == 2

    def test_what_a_subclass_adds_makes_no_other_credentials(self, provider: TokenProvider) -> None:
        """Else a sign-in after a reset would read the source for ever."""

        class Leased(Credentials):
            def __eq__(self, other: object) -> bool:
                return self is other

            __hash__ = Credentials.__hash__

        account = engine_of(provider).held.account
        for password, same in {"canary-pass": True, "new": False}.items():
            read = Leased("https://token.example", **{**CANARIES, "password": password})
            assert (account.reread(lambda read=read: read) is None) is same

    @pytest.mark.parametrize("error", [KeyError("canary"), ConfigurationError("canary"), SystemExit("canary")])
    def test_that_it_fails_is_one_event_in_a_row_and_shows_no_text(
        self, server: Server, clock: Clock, heard: Heard, caplog: Logs, error: BaseException
    ) -> None:
        good, kind = credentials(), type(error).__name__
        server.answers(REFUSAL)
        source = Mock(side_effect=[good, error, error, good, error])
        with server.provider(source, on_event=heard) as provider:
            for _ in range(5):
                assert "canary" not in str(failure(provider))
                wait_for_sign_ins()
                clock.passes(5)
        assert heard.kinds == ["refused", "source_failed", "source_failed"]
        assert heard[1].reason and re.fullmatch(rf"the source Mock failed \({kind}\)", heard[1].reason)
        assert caplog.text.count(f"({kind})") == 2 and "canary" not in caplog.text

    def test_a_sign_in_that_it_outlasts_had_no_time_left(self, server: Server, clock: Clock, heard: Heard) -> None:
        def source() -> Credentials:
            clock.passes(10.2 if server.requests else 0)
            return credentials()

        server.answers(REFUSAL)
        with server.provider(source, on_event=heard) as provider:
            failure(provider)
            clock.passes(5)
            failure(provider, UnavailableError)
            assert heard.kinds == ["refused", "unavailable"]
            assert heard[1].reason == "no time was left"

    def test_another_spelling_of_the_same_credentials_is_no_change(self, provider: TokenProvider) -> None:
        """Else a source that never compares equal is read without end once a person has reset."""
        account = engine_of(provider).held.account
        assert account.changed(lambda: credentials(basic_client_id="canary-id")) is None
        assert account.changed(lambda: credentials(basic_client_id="other"))

    def test_an_interrupt_in_it_is_none_of_its_failures(self, provider: TokenProvider) -> None:
        with pytest.raises(KeyboardInterrupt):
            engine_of(provider).held.account.reread(Mock(side_effect=KeyboardInterrupt))

    def test_another_accounts_token_is_never_served(self, server: Server, clock: Clock) -> None:
        name = ["canary-user"]
        with server.provider(lambda: credentials(username=name[0])) as provider:
            provider.token()
            server.answer = lambda r: DOWN if b"username=other" in r.content else REFUSAL
            name[0] = "other"
            clock.passes(290)
            for _ in range(2):  # a renewal that is refused, and one that reads the source
                assert provider.token().access_token == "canary-token-1"
                wait_for_sign_ins()
            failure(provider, UnavailableError)

    def test_a_sign_in_begun_before_a_reset_changes_no_account(self, server: Server) -> None:
        read, go = threading.Event(), threading.Event()

        def source() -> Credentials:
            if threading.current_thread().name != "enkash-auth-grant":
                return credentials()
            read.set()
            go.wait(5)
            return credentials(username="other")

        server.answers(REFUSAL)
        with server.provider(source) as provider:
            failure(provider)
            start(provider)
            read.wait(5)
            provider.reset()
            go.set()
            wait_for_sign_ins()
            assert provider.credentials.username == "canary-user"
