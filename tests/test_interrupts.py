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
from types import FrameType
from typing import Any

import httpx
import pytest

import enkash_auth
from conftest import REFUSAL, Server, credentials, issued, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Unavailable
from enkash_auth._policy.sign_in import Pending
from enkash_auth._runtime import Runtime, exclusively
from enkash_auth.errors import ConfigurationError, EnkashAuthError

OURS = str(Path(enkash_auth.__file__).parent)


class Interrupt:
    """Calls `handler` once, at the `number`-th moment of the package's own code, or of one module, on a thread."""

    def __init__(self, number: int, handler: Callable[[], object], module: str = "") -> None:
        self.left, self._handler, self._module = number, handler, OURS + module

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_return") and self.left >= 0 and frame.f_code.co_filename.startswith(self._module):
            self.left -= 1
            if self.left < 0:
                self._handler()

    @contextmanager
    def on_this_thread(self) -> Iterator[None]:
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)

    @contextmanager
    def on_sign_ins(self) -> Iterator[None]:
        threading.setprofile(self)
        try:
            yield
        finally:
            threading.setprofile(None)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_handler_that_raises_at_any_moment_loses_no_sign_in(server: Server) -> None:
    for number in count():
        server.requests.clear()
        with TokenProvider(credentials(), transport=server.transport, timeout=5) as provider:
            try:
                with Interrupt(number, interrupt).on_this_thread():
                    provider.token()
                break
            except KeyboardInterrupt:
                assert provider.token().access_token == "canary-token-1", number
    assert number > 20


def test_a_handler_that_raises_while_tasks_are_woken_loses_none(server: Server) -> None:
    """The loop runs on after it: IPython's does."""
    for number in count():
        go = server.hold(issued("t"))
        with (
            TokenProvider(credentials(), transport=server.transport, timeout=0.5) as provider,
            closing(asyncio.new_event_loop()) as loop,
        ):
            tasks = [loop.create_task(provider.atoken()) for _ in range(5)]
            loop.run_until_complete(asyncio.sleep(0))
            interrupted = Interrupt(number, interrupt, "/_flight")
            go.set()
            wait_for_sign_ins()
            with suppress(KeyboardInterrupt), interrupted.on_this_thread():
                loop.run_until_complete(asyncio.sleep(0.01))
            done, _ = loop.run_until_complete(asyncio.wait(tasks, timeout=5))
            assert len(done) == 5, number
            if interrupted.left >= 0:
                break
    assert number > 5


def test_a_finalizer_that_starts_a_waiting_task_at_any_moment_loses_none() -> None:
    """An eager task (Python 3.12) runs at once."""

    async def come(number: int) -> bool:
        flight = Flight(Runtime(), Pending(0, Moment(float("inf"), float("inf"))))
        waiters = list[asyncio.Future[None]]()
        interrupted = Interrupt(number, lambda: waiters.append(flight.waiter(float("inf"))), "/_flight")
        with interrupted.on_this_thread():
            waiters.append(flight.waiter(float("inf")))
        flight.finish(Unavailable("down", "h"))
        _, pending = await asyncio.wait(waiters, timeout=0.1)
        assert not pending, number
        return interrupted.left < 0

    for number in count():
        if not asyncio.run(come(number)):
            break
    assert number > 5


STEPS = {
    "token": TokenProvider.token,
    "invalidate": lambda provider: provider.invalidate(provider.token()),
    "reset": TokenProvider.reset,
    "make": lambda provider: TokenProvider(provider.credentials).close(),
    "close": TokenProvider.close,
}


def hear(provider: TokenProvider, heard: list[EnkashAuthError]) -> None:
    try:
        provider.token()
    except EnkashAuthError as error:
        heard.append(error)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_handler_that_needs_a_token_at_any_moment_is_answered(
    server: Server, step: Callable[[TokenProvider], object]
) -> None:
    """It gets a token, or an error at once."""
    heard: list[EnkashAuthError] = []
    for number in count():
        with TokenProvider(credentials(), transport=server.transport, timeout=5) as provider:
            provider.token()
            provider.invalidate(provider.token())
            interrupted = Interrupt(number, lambda provider=provider: hear(provider, heard))
            with interrupted.on_this_thread():
                step(provider)
            if interrupted.left >= 0:
                break
    assert number > 5
    assert all(isinstance(error, ConfigurationError) or "re-entrantly" in str(error) for error in heard), heard


def test_a_finalizer_that_needs_another_providers_token_on_a_sign_ins_thread_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The providers of a process share the lock of the file of attempts."""
    heard: list[EnkashAuthError] = []

    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    for number in count():
        with (
            TokenProvider(credentials(), transport=server.transport) as provider,
            TokenProvider(credentials(username="other"), transport=server.transport, timeout=1) as other,
        ):
            handler = lambda other=other: hear(other, heard)  # noqa: E731
            interrupted = Interrupt(number, handler, "/_signin/attempts_file")
            with interrupted.on_sign_ins():
                provider.token()
            wait_for_sign_ins()
            if interrupted.left >= 0:
                break
    assert heard and all("re-entrantly" in str(error) for error in heard), heard


@pytest.mark.parametrize("answer", [None, REFUSAL], ids=["token", "refusal"])
def test_a_finalizer_that_needs_a_token_on_a_sign_ins_thread_is_answered(
    server: Server, answer: httpx.Response | None
) -> None:
    heard: list[EnkashAuthError] = []

    if answer:
        server.answer = lambda _: answer
    for number in count():
        with TokenProvider(credentials(), transport=server.transport, timeout=5) as provider:
            interrupted = Interrupt(number, lambda provider=provider: hear(provider, heard))
            with interrupted.on_sign_ins(), suppress(EnkashAuthError):
                provider.token()
            wait_for_sign_ins()
            if interrupted.left >= 0:
                break
    assert number > 50
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
