"""One flight, many waiters; a refusal is final."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from conftest import Clock, Server, credentials, issued, wait_for_sign_ins
from enkash_auth import Credentials, Token, TokenProvider
from enkash_auth._flight import Flight
from enkash_auth._policy.cache import Pending
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Malformed
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime, use_runtime
from enkash_auth.errors import ConfigurationError, EnkashAuthError, ProtocolError, RefusedError, UnavailableError

REFUSAL = httpx.Response(400, json={"error": "invalid_grant"})
FAR = Moment(float(2**31), float(2**31))
Ask = Callable[[TokenProvider], Token]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[[TokenProvider], Token]:
    """The same call from a thread and from a loop of its own."""
    if request.param == "sync":
        return lambda provider: provider.token()
    return lambda provider: asyncio.run(provider.atoken())  # type: ignore[arg-type]


@pytest.fixture
def provider(server: Server, clock: Clock) -> Iterator[TokenProvider]:
    """A provider whose time is moved by hand."""
    with TokenProvider(credentials(), transport=server.transport) as provider:
        yield provider


def test_a_held_token_is_served_again(server: Server, provider: TokenProvider, ask: Ask) -> None:
    assert ask(provider) is ask(provider)
    assert len(server.requests) == 1


@pytest.mark.parametrize("clocks", [["monotonic"], ["wall"]])
def test_a_token_ends_on_either_clock(provider: TokenProvider, clock: Clock, ask: Ask, clocks: list[str]) -> None:
    first = ask(provider)
    clock.monotonic += 20  # the next look at both clocks is due
    assert ask(provider) is first
    for name in clocks:
        setattr(clock, name, getattr(clock, name) + 300)
    clock.monotonic += 20
    assert ask(provider) is not first


def test_a_token_is_renewed_behind_its_callers(server: Server, provider: TokenProvider, clock: Clock, ask: Ask) -> None:
    first = ask(provider)
    clock.passes(299)
    assert ask(provider) is first
    wait_for_sign_ins()
    assert ask(provider).access_token == "canary-token-2"
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.Response(403), httpx.Response(400), httpx.Response(200)])
def test_a_failed_renewal_serves_on_to_the_true_end(
    server: Server, provider: TokenProvider, clock: Clock, ask: Ask, answer: httpx.Response
) -> None:
    first = ask(provider)
    server.answer = lambda _: answer
    clock.passes(299)
    for _ in range(3):
        assert ask(provider) is first
        wait_for_sign_ins()
    clock.passes(1)
    with pytest.raises(EnkashAuthError):
        ask(provider)


def test_a_renewal_in_the_air_is_flight_when_the_token_ends(
    server: Server, provider: TokenProvider, clock: Clock
) -> None:
    provider.token()
    go = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        go.wait(5)
        return issued("next")

    server.answer = answer
    clock.passes(299)
    provider.token()
    clock.passes(1)
    flight = engine_of(provider).join_or_start()
    assert isinstance(flight, Flight)
    assert engine_of(provider).join_or_start() is flight
    go.set()
    assert provider.token().access_token == "next"
    assert len(server.requests) == 2


def test_a_waiter_that_overslept_gets_no_dead_token(server: Server, provider: TokenProvider, clock: Clock) -> None:
    flight = engine_of(provider).join_or_start()
    assert isinstance(flight, Flight)
    wait_for_sign_ins()
    clock.wall += 300  # the machine sleeps
    assert isinstance(engine_of(provider).after_wait(flight, clock.monotonic + 1), Flight)
    wait_for_sign_ins()
    assert provider.token().access_token == "canary-token-2"


def test_a_waiter_that_overslept_its_deadline_hears_so(provider: TokenProvider, clock: Clock) -> None:
    flight = engine_of(provider).join_or_start()
    assert isinstance(flight, Flight)
    wait_for_sign_ins()
    clock.passes(300)
    with pytest.raises(UnavailableError):
        engine_of(provider).after_wait(flight, clock.monotonic)


def test_a_refused_renewal_is_not_tried_again(server: Server, provider: TokenProvider, clock: Clock, ask: Ask) -> None:
    first = ask(provider)
    server.answer = lambda _: REFUSAL
    for _ in range(5):
        clock.passes(59)
        assert ask(provider) is first
        wait_for_sign_ins()
    assert len(server.requests) == 2


def test_a_sticky_server_is_asked_three_times_early_and_then_at_the_end(
    server: Server, provider: TokenProvider, clock: Clock, ask: Ask
) -> None:
    end = clock.wall + 300.7
    server.answer = lambda _: issued("sticky", int(end - clock.wall)) if clock.wall < end else issued("fresh")
    ask(provider)
    for _ in range(15):
        clock.passes(20)
        assert clock.wall >= end - 1 or ask(provider).access_token == "sticky"
        wait_for_sign_ins()
    early = len(server.requests) - 1
    assert early <= 3
    assert ask(provider).access_token == "fresh"
    assert clock.wall >= end
    assert len(server.requests) == early + 2


def test_200_threads_cost_one_request(server: Server) -> None:
    together = threading.Barrier(200)
    everybody = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        everybody.wait(5)
        return issued("t")

    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport) as provider, ThreadPoolExecutor(200) as pool:

        def one() -> Token:
            if together.wait() == 0:
                everybody.set()
            return provider.token()

        assert len({id(f.result()) for f in [pool.submit(one) for _ in range(200)]}) == 1
    assert len(server.requests) == 1


def test_10_000_tasks_and_a_thread_cost_one_request(server: Server) -> None:
    flight = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        flight.wait(5)
        return issued("t")

    server.answer = answer

    async def main(provider: TokenProvider) -> set[str]:
        tasks = [asyncio.create_task(provider.atoken()) for _ in range(10_000)]
        await asyncio.sleep(0)
        flight.set()
        return {token.access_token for token in await asyncio.gather(*tasks)}

    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert asyncio.run(main(provider)) == {"t"}
    assert len(server.requests) == 1


def test_a_cancelled_task_cancels_nobody_else(server: Server) -> None:
    go = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        go.wait(5)
        return issued("t")

    server.answer = answer

    async def main(provider: TokenProvider) -> Token:
        first, second = (asyncio.create_task(provider.atoken()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(0)  # what the cancelled task woke would run now
        assert first.cancelled() and not second.done()
        go.set()
        return await second

    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert asyncio.run(main(provider)).access_token == "t"


def test_a_refusal_is_final(server: Server, ask: Ask) -> None:
    server.answer = lambda _: REFUSAL
    with TokenProvider(credentials(), transport=server.transport) as provider:
        for _ in range(3):
            with pytest.raises(RefusedError, match="token.example"):
                ask(provider)
    assert len(server.requests) == 1


def test_reset_opens_a_refusal(server: Server) -> None:
    server.answer = lambda _: REFUSAL
    with TokenProvider(credentials(), transport=server.transport) as provider:
        with pytest.raises(RefusedError):
            provider.token()
        provider.reset()
        server.answer = lambda _: issued("t")
        assert provider.token().access_token == "t"


TROUBLE = {
    "network": httpx.ConnectError("canary"),
    "500": httpx.Response(500, json={"error": "server_error"}),
    "429": httpx.Response(429),
    "soon": httpx.Response(429, headers={"Retry-After": "1"}),
}


def answering(*answers: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        if not left:
            return issued("t")
        now = left.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    return answer


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_is_tried_a_second_time(
    server: Server, provider: TokenProvider, clock: Clock, ask: Ask, trouble: httpx.Response | Exception
) -> None:
    server.answer = answering(trouble)
    assert ask(provider).access_token == "t"
    assert clock.pauses[0] == 0
    assert clock.pauses[1] in (0.1, 1)


@pytest.mark.parametrize(
    ("answer", "requests", "error"),
    [
        (httpx.Response(503), 2, UnavailableError),
        (httpx.Response(429, headers={"Retry-After": "60"}), 1, UnavailableError),
        (httpx.Response(403), 1, RefusedError),
        (httpx.Response(404), 1, RefusedError),
        (httpx.Response(302), 1, RefusedError),
        (httpx.Response(200), 1, ProtocolError),
    ],
)
def test_a_gate_keeps_callers_from_asking(
    server: Server, provider: TokenProvider, clock: Clock, ask: Ask, answer: Any, requests: int, error: type[Exception]
) -> None:
    server.answer = lambda _: answer
    for _ in range(3):
        with pytest.raises(error):
            ask(provider)
    assert len(server.requests) == requests
    clock.passes(61)
    server.answer = lambda _: issued("t")
    assert ask(provider).access_token == "t"


def test_the_gate_says_when_it_opens(server: Server, provider: TokenProvider, clock: Clock, ask: Ask) -> None:
    server.answer = lambda _: httpx.Response(429, headers={"Retry-After": "60"})
    for retry_after in (60, 35):
        with pytest.raises(UnavailableError) as caught:
            ask(provider)
        assert caught.value.retry_after == retry_after
        clock.passes(25)


def test_waiters_raise_errors_of_their_own(server: Server) -> None:
    server.answer = lambda _: REFUSAL
    errors = []
    with TokenProvider(credentials(), transport=server.transport) as provider:
        for _ in range(2):
            with pytest.raises(RefusedError) as caught:
                provider.token()
            errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_invalidate_forgets_only_the_held_token(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        first = provider.token()
        provider.invalidate(first)
        second = provider.token()
        provider.invalidate(first)
        assert provider.token() is second


def test_giving_up_a_dead_token_costs_nothing(provider: TokenProvider, clock: Clock) -> None:
    for _ in range(3):
        token = provider.token()
        clock.passes(300)
        provider.invalidate(token)
    living = provider.token()
    provider.invalidate(living)
    assert provider.token() != living


@pytest.mark.parametrize("answered", [issued("old"), REFUSAL, httpx.Response(403)], ids=["token", "refusal", "trouble"])
def test_a_flight_begun_before_reset_writes_nothing(server: Server, answered: httpx.Response) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:

        def answer(_: httpx.Request) -> httpx.Response:
            provider.reset()
            return answered

        server.answer = answer
        with suppress(RefusedError):
            assert provider.token().access_token == "old"
        server.answer = lambda _: issued("new")
        assert provider.token().access_token == "new"


def test_a_sign_in_begun_before_a_reset_changes_no_account(server: Server) -> None:
    server.answer = lambda _: REFUSAL
    read, go = threading.Event(), threading.Event()

    def source() -> Credentials:
        if threading.current_thread().name == "enkash-auth-grant":
            read.set()
            go.wait(5)
            return credentials(username="other")
        return credentials()

    with TokenProvider(source, transport=server.transport) as provider:
        with pytest.raises(RefusedError):
            provider.token()
        engine_of(provider).join_or_start()
        read.wait(5)
        provider.reset()
        go.set()
        wait_for_sign_ins()
        assert provider.credentials.username == "canary-user"


def test_a_source_that_names_refused_credentials_changes_nothing(server: Server) -> None:
    server.answer = lambda _: REFUSAL
    with TokenProvider(credentials, transport=server.transport) as provider:
        account = engine_of(provider).held.account
        for _ in range(2):
            with pytest.raises(RefusedError):
                provider.token()
        assert engine_of(provider).held.account is account
    assert len(server.requests) == 1


def test_an_overdue_flight_is_abandoned(server: Server, ask: Ask) -> None:
    asked, go = threading.Event(), threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        if len(server.requests) == 1:
            asked.set()
            go.wait(5)
            return issued("late")
        return issued("new")

    server.answer = answer
    now = [1000.0]
    with use_runtime(Runtime(lambda: now[0], draw=lambda: 0.0)):
        provider = TokenProvider(credentials(), transport=server.transport)
    with provider:
        flight = engine_of(provider).join_or_start()
        asked.wait(5)
        now[0] += 10.0
        with pytest.raises(UnavailableError):
            ask(provider)  # at once: the back-off has begun
        now[0] += 0.5
        assert ask(provider).access_token == "new"
        go.set()
        wait_for_sign_ins()
        assert isinstance(flight, Flight) and flight.outcome
        assert ask(provider).access_token == "new"


def test_a_token_for_this_call_only_is_not_held(
    server: Server, provider: TokenProvider, clock: Clock, ask: Ask
) -> None:
    server.answer = lambda _: issued("t", 0)
    assert ask(provider).access_token == ask(provider).access_token == "t"
    assert len(server.requests) == 2
    assert sum(clock.pauses) == 1  # never two within a second


def test_certificates_that_cannot_be_read_are_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", __file__)  # no certificates
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        TokenProvider(credentials())


def test_providers_that_live_at_the_same_time_read_the_certificates_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_closed_provider_says_so(server: Server, ask: Ask) -> None:
    provider = TokenProvider(credentials(), transport=server.transport)
    provider.close()
    with pytest.raises(ConfigurationError, match="closed"):
        ask(provider)
    engine_of(provider).after_fork()


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": wrong} for wrong in (0, float("inf"), float("nan"), 3601, "3", None)]
    + [{"store": "x"}, {"on_store_error": "x"}],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TokenProvider(credentials(), **wrong)


def test_where_the_last_second_of_a_sticky_token_does_not_fit_nothing_is_sent(
    server: Server, clock: Clock, ask: Ask
) -> None:
    end = clock.wall + 10.5
    provider = TokenProvider(credentials(), transport=server.transport, timeout=0.1)
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


Within = Callable[[TokenProvider], object]


def test_who_asks_from_within_a_providers_own_step_is_answered(server: Server, clock: Clock) -> None:
    heard: list[str] = []

    def interrupted() -> None:  # as by a signal handler, or a finalizer that the garbage collector runs
        clock.on_look = lambda: None
        with pytest.raises(UnavailableError) as caught:
            provider.token()
        heard.append(str(caught.value))

    with TokenProvider(credentials(), transport=server.transport) as provider:
        clock.on_look = interrupted
        assert provider.token().access_token == "canary-token-1"
    assert len(heard) == 1 and "token() was called re-entrantly, from a signal handler or finalizer" in heard[0]
    assert len(server.requests) == 1


def test_who_asks_on_a_flights_own_thread_is_answered(server: Server, ask: Ask) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        with pytest.raises(UnavailableError, match="re-entrantly"):
            ask(provider)
        return issued("t")

    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport, timeout=3600) as provider:
        assert ask(provider).access_token == "t"


@pytest.mark.parametrize("step", [TokenProvider.reset, TokenProvider.close], ids=["reset", "close"])
def test_a_reset_or_close_from_within_is_done(server: Server, clock: Clock, step: Within) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:

        def interrupted() -> None:
            clock.on_look = lambda: None
            step(provider)

        clock.on_look = interrupted
        engine_of(provider).join_or_start()
        clock.on_look = lambda: None
        wait_for_sign_ins()
        with suppress(ConfigurationError) if step is TokenProvider.close else nullcontext():
            assert provider.token().access_token == "canary-token-1"


def test_an_interrupt_before_a_flight_has_begun_keeps_nobody_waiting(server: Server, clock: Clock, ask: Ask) -> None:
    started: list[Callable[[], None]] = []

    def interrupted(run: Callable[[], None]) -> None:
        started.append(run)
        raise KeyboardInterrupt

    with TokenProvider(credentials(), transport=server.transport) as provider:
        start, clock.spawn = clock.spawn, interrupted
        with pytest.raises(KeyboardInterrupt):
            ask(provider)
        clock.spawn = start
        with pytest.raises(UnavailableError, match="cut short"):
            ask(provider)  # at once
        started[0]()  # a thread that comes after all
        assert not server.requests
        clock.passes(1)
        assert ask(provider).access_token == "canary-token-1"


def test_an_interrupt_of_the_caller_that_started_a_flight_does_not_touch_the_flight(
    server: Server, clock: Clock, ask: Ask
) -> None:
    def interrupted(run: Callable[[], None]) -> None:
        run()
        raise KeyboardInterrupt

    with TokenProvider(credentials(), transport=server.transport) as provider:
        clock.spawn = interrupted
        with pytest.raises(KeyboardInterrupt):
            ask(provider)
        assert ask(provider).access_token == "canary-token-1"
        assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_transport_that_ends_its_thread_keeps_nobody_waiting(server: Server, ask: Ask) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise SystemExit

    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport) as provider:
        with pytest.raises(UnavailableError, match="cut short"):
            ask(provider)
        wait_for_sign_ins()


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
        with TokenProvider(credentials(base_url=url), timeout=0.1) as provider:
            for _ in range(2):
                with pytest.raises(UnavailableError, match="no answer within"):
                    provider.token()
            dripping.join(5)  # its connection is cut
            assert not dripping.is_alive()
            wait_for_sign_ins()


def test_a_child_starts_clean(server: Server, clock: Clock) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        provider.token()
        clock.passes(300)
        holds, go = threading.Event(), threading.Event()
        clock.on_look = lambda: go.wait(5) if holds.set() is None and threading.current_thread() is other else None
        other = threading.Thread(target=provider.token)  # holds the lock; the child does not have this thread
        other.start()
        holds.wait(5)
        engine_of(provider).after_fork()  # what os.fork() calls in the child
        assert provider.token().access_token == "canary-token-2"
        go.set()
        other.join()


def test_where_no_thread_can_start_callers_are_told_so_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with TokenProvider(credentials(), transport=server.transport) as provider:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(UnavailableError, match="no thread could be started"):
            ask(provider)
    assert server.requests == []


def test_a_signal_handlers_error_while_a_thread_starts_does_not_sign_in_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise RuntimeError("a signal handler's own")

    with TokenProvider(credentials(), transport=server.transport) as provider:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(RuntimeError, match="a signal handler's own"):
            provider.token()
        monkeypatch.undo()
        assert provider.token().access_token == "canary-token-1"
    assert len(server.requests) == 1


async def waited(flight: Flight, deadline: float) -> None:
    await flight.waiter(deadline)


def test_a_waiter_that_comes_after_the_landing_does_not_wait() -> None:
    flight = Flight(Runtime(), Pending(0, FAR))
    flight.finish(Malformed("landed", "host"))
    asyncio.run(waited(flight, float("inf")))
    flight.wait(float("inf"))


def test_a_closed_loop_is_passed_over() -> None:
    flight = Flight(Runtime(), Pending(0, FAR))
    asyncio.run(waited(flight, 0.0))
    flight.finish(Malformed("landed", "host"))
    assert flight.outcome


@pytest.mark.parametrize("deadline", [0.0, float("inf")])
def test_nobody_waits_past_a_deadline_or_the_flights_end(deadline: float) -> None:
    flight = Flight(Runtime(), Pending(0, Moment(0.0, 0.0) if deadline else FAR))
    flight.wait(deadline)
    asyncio.run(waited(flight, deadline))
    assert flight.outcome is None


def test_a_task_that_comes_when_its_loops_timer_has_rung_is_woken_by_the_landing() -> None:
    async def come() -> None:
        now = [1000.0]
        flight = Flight(Runtime(lambda: now[0]), Pending(0, Moment(1000.0, 0.0)))
        await flight.waiter(float("inf"))
        now[0] = 0.0  # the timer rang too soon
        later = flight.waiter(float("inf"))
        flight.finish(Malformed("landed", "host"))
        await asyncio.wait_for(later, 5)

    asyncio.run(come())


def test_one_turn_of_a_loop_wakes_a_part_of_a_crowd() -> None:
    async def come() -> list[int]:
        flight = Flight(Runtime(), Pending(0, FAR))
        waiters = [flight.waiter(float("inf")) for _ in range(1_500)]
        flight.finish(Malformed("landed", "host"))
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
    def provider(self, environment: pytest.MonkeyPatch, server: Server) -> TokenProvider:
        server.answer = lambda r: issued("t") if b"password=new" in r.content else REFUSAL
        environment.setenv("ENKASH_PASSWORD", "canary-pass")
        source = lambda: credentials(password=os.environ["ENKASH_PASSWORD"])  # noqa: E731
        provider = TokenProvider(source, transport=server.transport)
        with pytest.raises(RefusedError):
            provider.token()
        return provider

    def test_a_rotated_password_needs_no_restart(
        self, provider: TokenProvider, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("ENKASH_PASSWORD", "new")
        assert provider.token().access_token == "t"

    def test_an_unchanged_password_is_not_sent_again(self, provider: TokenProvider, server: Server) -> None:
        for _ in range(2):
            with pytest.raises(RefusedError):
                provider.token()
        assert len(server.requests) == 1

    def test_another_accounts_token_is_never_served(
        self, server: Server, environment: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        name = ["canary-user"]
        with TokenProvider(lambda: credentials(username=name[0]), transport=server.transport) as provider:
            provider.token()
            asked, go = threading.Event(), threading.Event()

            def answer(request: httpx.Request) -> httpx.Response:
                if b"username=other" not in request.content:
                    return REFUSAL
                asked.set()
                go.wait(5)
                return issued("theirs")

            server.answer = answer
            name[0] = "other"
            clock.passes(299)
            provider.token()
            wait_for_sign_ins()  # refused
            provider.token()
            asked.wait(5)  # signing in as the other
            assert isinstance(engine_of(provider).join_or_start(), Flight)
            go.set()
            assert provider.token().access_token == "theirs"

    def test_a_half_way_rotation_is_waited_out(
        self, provider: TokenProvider, server: Server, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("ENKASH_PASSWORD", "")
        with pytest.raises(RefusedError):
            provider.token()
        assert len(server.requests) == 1


def test_a_second_look_finds_what_landed(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        token = provider.token()
        assert engine_of(provider).join_or_start() is token
