"""One flight, many waiters; a refusal is final."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import Server, credentials, issued
from enkash_auth import Token, TokenProvider, _flight, _provider
from enkash_auth.errors import ConfigurationError, RefusedError, UnavailableError

REFUSAL = httpx.Response(400, json={"error": "invalid_grant"})


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[[TokenProvider], Token]:
    """The same call from a thread and from a loop of its own."""
    if request.param == "sync":
        return lambda provider: provider.token()
    return lambda provider: asyncio.run(provider.atoken())  # type: ignore[arg-type]


Ask = Callable[[TokenProvider], Token]


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"monotonic": 1000.0, "time": 1e9}
    for name in now:
        monkeypatch.setattr(_provider, name, lambda name=name: now[name])
    return now


def test_a_held_token_is_served_again(server: Server, ask: Ask) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert ask(provider) is ask(provider)
    assert len(server.requests) == 1


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_a_token_ends_on_either_clock(server: Server, clocks: dict[str, float], clock: str) -> None:
    with TokenProvider(credentials(), transport=server.transport, timeout=1000) as provider:
        provider._serve_until = float("-inf")
        first = provider.token()
        clocks["monotonic"] += 20  # the next look at both clocks is due
        assert provider.token() is first
        clocks[clock] += 300
        clocks["monotonic"] += 20
        assert provider.token() is not first


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
    boarded = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        boarded.wait(5)
        return issued("t")

    server.answer = answer

    async def main(provider: TokenProvider) -> set[str]:
        tasks = [asyncio.create_task(provider.atoken()) for _ in range(10_000)]
        await asyncio.sleep(0)
        boarded.set()
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


@pytest.mark.parametrize("status", [403, 503])
def test_trouble_is_no_refusal(server: Server, ask: Ask, status: int) -> None:
    server.answer = lambda _: httpx.Response(status)
    with TokenProvider(credentials(), transport=server.transport) as provider:
        with pytest.raises((RefusedError, UnavailableError)):
            ask(provider)
        server.answer = lambda _: issued("t")
        assert ask(provider).access_token == "t"


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


def test_a_flight_begun_before_reset_writes_nothing(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:

        def answer(_: httpx.Request) -> httpx.Response:
            provider.reset()
            return issued("old")

        server.answer = answer
        assert provider.token().access_token == "old"
        server.answer = lambda _: issued("new")
        assert provider.token().access_token == "new"


def test_an_overdue_flight_is_abandoned(server: Server, ask: Ask) -> None:
    go = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        if len(server.requests) == 1:
            go.wait(5)
            return issued("late")
        return issued("new")

    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport, timeout=0.01) as provider:
        with pytest.raises(UnavailableError, match="within"):
            ask(provider)
        provider._timeout = 10.0
        assert ask(provider).access_token == "new"
        go.set()
        while any(thread.name == "enkash-auth-grant" for thread in threading.enumerate()):
            threading.Event().wait(0.001)
        assert ask(provider).access_token == "new"


def test_a_token_for_this_call_only_is_not_held(server: Server) -> None:
    server.answer = lambda _: issued("t", 0)
    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert provider.token().access_token == provider.token().access_token == "t"
    assert len(server.requests) == 2


def test_a_closed_provider_says_so(server: Server, ask: Ask) -> None:
    provider = TokenProvider(credentials(), transport=server.transport)
    provider.close()
    with pytest.raises(ConfigurationError, match="closed"):
        ask(provider)
    provider._after_fork()


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": float("inf")}, {"store": "x"}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TokenProvider(credentials(), **wrong)


def test_a_child_starts_clean(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        provider.token()
        provider._lock.acquire()
        provider._after_fork()  # what os.fork() calls in the child
        assert provider.token().access_token == "canary-token-2"


def test_fork_hook_reaches_every_provider(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        before = provider._generation
        _provider._after_fork()
        assert provider._generation > before


def test_where_no_thread_starts_the_caller_flies(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert provider.token().access_token == "canary-token-1"


def test_a_waiter_that_comes_after_the_landing_does_not_wait() -> None:
    flight = _flight.Flight(lambda: "landed", 0.0)  # type: ignore[arg-type,return-value]
    flight._fly()
    assert asyncio.run(flight.wait_async()) == "landed"  # type: ignore[comparison-overlap]


def test_a_closed_loop_is_passed_over() -> None:
    flight = _flight.Flight(lambda: "landed", 0.0)  # type: ignore[arg-type,return-value]
    asyncio.run(flight.wait_async())
    flight._fly()
    assert flight.outcome == "landed"  # type: ignore[comparison-overlap]


class TestFromEnv:
    """`from_env` looks at its source again while refused."""

    @pytest.fixture
    def provider(self, environment: pytest.MonkeyPatch, server: Server) -> TokenProvider:
        provider = TokenProvider(credentials(), transport=server.transport)
        provider._source = lambda: credentials(password=os.environ["ENKASH_PASSWORD"])
        server.answer = lambda r: issued("t") if b"password=new" in r.content else REFUSAL
        environment.setenv("ENKASH_PASSWORD", "canary-pass")
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

    def test_a_half_way_rotation_is_waited_out(
        self, provider: TokenProvider, server: Server, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("ENKASH_PASSWORD", "")
        with pytest.raises(RefusedError):
            provider.token()
        assert len(server.requests) == 1

    def test_a_store_it_does_not_have_is_refused(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ENKASH_TOKEN_STORE", "redis://x")
        with pytest.raises(ConfigurationError, match="ENKASH_TOKEN_STORE"):
            TokenProvider.from_env()


def test_a_second_look_finds_what_landed(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        token = provider.token()
        assert provider._board() is token


def test_a_refusal_that_landed_meanwhile_is_shared(server: Server) -> None:
    server.answer = lambda _: REFUSAL
    with TokenProvider(credentials(), transport=server.transport) as provider:
        with pytest.raises(RefusedError):
            provider.token()
        provider._changed = lambda: True  # type: ignore[method-assign]
        with pytest.raises(RefusedError):
            provider.token()
    assert len(server.requests) == 1


def test_a_flight_that_took_off_meanwhile_is_boarded(server: Server) -> None:
    flight = _flight.Flight(lambda: "landed", float("inf"))  # type: ignore[arg-type,return-value]
    with TokenProvider(credentials(), transport=server.transport) as provider:

        class Lock:  # another caller held it, and left a flight behind
            def __enter__(self) -> None:
                provider._flight = flight

            def __exit__(self, *_: object) -> None:
                pass

        provider._lock = Lock()  # type: ignore[assignment]
        assert provider._board() is flight
