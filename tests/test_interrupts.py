"""A signal handler or a finalizer that comes at any moment: it raises, or needs a token itself.

CPython runs handlers when a Python function begins and after a C function has returned, where it calls a profiler, too.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

import enkash_auth
from conftest import REFUSAL, Patch, Server, credentials, issued, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Unavailable
from enkash_auth._policy.sign_in import Pending
from enkash_auth._runtime import Once, Runtime, exclusively
from enkash_auth.errors import ConfigurationError, EnkashAuthError

OURS = str(Path(enkash_auth.__file__).parent)
NEVER = float("inf")


class Moments:
    """Each moment of the package's own code, or of one module's, at which a handler may come, one by one."""

    def __init__(self, least: int, module: str = "") -> None:
        self.heard: list[EnkashAuthError] = []  # by handlers that needed a token
        self._least, self._module = least, OURS + module

    def __iter__(self) -> Iterator[int]:
        for number in count():
            self._left = number
            yield number
            if self._left >= 0:  # there were fewer moments
                assert number > self._least
                return

    @contextmanager
    def interrupted(self, handler: Callable[[], object], on: ModuleType = sys) -> Iterator[None]:
        """Call the handler once, on this thread; with `threading`, on those that start."""

        def profile(frame: FrameType, event: str, _: object) -> None:
            if event in ("call", "c_return") and self._left >= 0 and frame.f_code.co_filename.startswith(self._module):
                self._left -= 1
                if self._left < 0:
                    handler()

        on.setprofile(profile)
        try:
            yield
        finally:
            on.setprofile(None)

    def needs_a_token(self, provider: TokenProvider) -> Callable[[], None]:
        def handler() -> None:
            try:
                provider.token()
            except EnkashAuthError as error:
                self.heard.append(error)

        return handler


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_handler_that_raises_at_any_moment_loses_no_sign_in(server: Server) -> None:
    for number in (moments := Moments(20)):
        server.requests.clear()
        with server.provider(timeout=5) as provider:
            with suppress(KeyboardInterrupt), moments.interrupted(interrupt):
                provider.token()
            assert provider.token().access_token == "canary-token-1", number


def test_a_handler_that_raises_while_threads_are_woken_loses_none(monkeypatch: Patch) -> None:
    """`close` is called again after it."""

    class Sleeper:
        def acquire(self, timeout: float = 0) -> None:
            if timeout:
                with suppress(KeyboardInterrupt), moments.interrupted(interrupt):
                    once.happen()
                once.happen()

        def release(self) -> None:
            woken.append(self)

    monkeypatch.setattr(threading, "Lock", Sleeper)
    for number in (moments := Moments(0, "/_runtime")):
        once, woken = Once(), list[Sleeper]()
        assert once.wait(60) and woken, number


def test_a_handler_that_raises_while_tasks_are_woken_loses_none(server: Server) -> None:
    """The loop runs on after it: IPython's does."""
    for number in (moments := Moments(5, "/_flight")):
        go = server.hold(issued("t"))
        with server.provider(timeout=0.5) as provider, closing(asyncio.new_event_loop()) as loop:
            tasks = [loop.create_task(provider.atoken()) for _ in range(5)]
            loop.run_until_complete(asyncio.sleep(0))
            go.set()
            wait_for_sign_ins()
            with suppress(KeyboardInterrupt), moments.interrupted(interrupt):
                loop.run_until_complete(asyncio.sleep(0.01))
            done, _ = loop.run_until_complete(asyncio.wait(tasks, timeout=5))
            assert len(done) == 5, number


def test_a_finalizer_that_starts_a_waiting_task_at_any_moment_loses_none() -> None:
    """An eager task (Python 3.12) runs at once."""

    async def come(number: int) -> None:
        flight = Flight(Runtime(), Pending(0, Moment(NEVER, NEVER)))
        waiters = list[asyncio.Future[None]]()
        with moments.interrupted(lambda: waiters.append(flight.waiter(NEVER))):
            waiters.append(flight.waiter(NEVER))
        flight.finish(Unavailable("down", "h"))
        _, pending = await asyncio.wait(waiters, timeout=0.1)
        assert not pending, number

    for number in (moments := Moments(5, "/_flight")):
        asyncio.run(come(number))


STEPS: dict[str, Callable[[TokenProvider], object]] = {
    "token": TokenProvider.token,
    "invalidate": lambda provider: provider.invalidate(provider.token()),
    "reset": TokenProvider.reset,
    "make": lambda provider: TokenProvider(provider.credentials).close(),
    "close": TokenProvider.close,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_handler_that_needs_a_token_at_any_moment_is_answered(server: Server, step: str) -> None:
    """It gets a token, or an error at once."""
    for _ in (moments := Moments(5)):
        with server.provider(timeout=5) as provider:
            provider.token()
            provider.invalidate(provider.token())
            with moments.interrupted(moments.needs_a_token(provider)):
                STEPS[step](provider)
    heard = moments.heard
    assert all(isinstance(error, ConfigurationError) or "re-entrantly" in str(error) for error in heard), heard


def test_a_finalizer_that_needs_another_providers_token_on_a_sign_ins_thread_is_answered(
    server: Server, monkeypatch: Patch, tmp_path: Path
) -> None:
    """The providers of a process share the lock of the file of attempts."""
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    for _ in (moments := Moments(5, "/_signin/attempts_file")):
        with server.provider() as provider, server.provider(credentials(username="other"), timeout=1) as other:
            with moments.interrupted(moments.needs_a_token(other), threading):
                provider.token()
            wait_for_sign_ins()
    assert moments.heard and all("re-entrantly" in str(error) for error in moments.heard), moments.heard


@pytest.mark.parametrize("answer", [None, REFUSAL], ids=["token", "refusal"])
def test_a_finalizer_that_needs_a_token_on_its_sign_ins_thread_is_answered(server: Server, answer: Any) -> None:
    if answer:
        server.answers(answer)
    for _ in (moments := Moments(50)):
        with server.provider(timeout=5) as provider:
            with moments.interrupted(moments.needs_a_token(provider), threading), suppress(EnkashAuthError):
                provider.token()
            wait_for_sign_ins()
    heard = moments.heard
    assert all("re-entrantly" in str(error) or "refused the password" in str(error) for error in heard), heard


def test_a_lock_that_was_acquired_by_who_was_interrupted_is_given_back() -> None:
    """From Python 3.14 on a handler may raise between acquiring a lock and the block."""
    lock = threading.RLock()

    class Acquired:
        def __enter__(self) -> None:
            lock.acquire()
            raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None: ...

        release = staticmethod(lock.release)

    held: Any = Acquired()
    with pytest.raises(KeyboardInterrupt):
        exclusively(held, list)
    with pytest.raises(RuntimeError):
        lock.release()
