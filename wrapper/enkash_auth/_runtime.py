"""Clocks, chance and threads, which a simulation replaces; steps under a lock, waits, and logs that are held back.

Only this module starts threads.
"""

import contextvars
import logging
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar, cast

from attrs import frozen

from ._policy.lifetime import Moment
from ._policy.waited import OVERSLEPT
from .errors import ConfigurationError

T = TypeVar("T")
_lock_type = threading.Lock


def check_threads() -> None:
    """Raise `ConfigurationError` if gevent or eventlet came too late: the locks would hold nobody, and TLS block."""
    if threading.Lock is not _lock_type:
        raise ConfigurationError(
            "threading was patched (gevent, eventlet) after enkash_auth was imported: patch first, and load "
            "the application after that (gunicorn without --preload, uWSGI with gevent-early-monkey-patch); see "
            "docs/examples.md#gevent"
        )


class NoThreadError(RuntimeError):
    """No thread can start any more: the interpreter exits, or the system allows no more."""


def start_thread(run: Callable[[], None], name: str = "enkash-auth-grant") -> None:
    """Run on a thread, a daemon if it may be, with the caller's context; raise `NoThreadError` if none can start."""
    if sys.is_finalizing():  # Python 3.11 would wait for ever until the thread runs
        raise NoThreadError("no thread could be started")
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name=name)
    with suppress(RuntimeError):  # an isolated subinterpreter forbids it, and before Python 3.12 all threads
        thread.daemon = True
    try:
        thread.start()
    except RuntimeError as error:
        if re.search("new thread|not supported", str(error)):  # else a signal handler's own, and the thread has started
            raise NoThreadError("no thread could be started") from None
        raise


class _Steps(threading.local):
    depth = 0  # steps that this thread is in, or about to enter
    locks: tuple[threading.RLock, ...] = ()  # that this thread holds


_steps = _Steps()


def exclusively(lock: threading.RLock, step: Callable[[], T]) -> T:
    """Run a step under a lock that sign-ins need, too; `in_a_step` is true on this thread meanwhile."""
    outer, depth, entered = _steps.locks, _steps.depth, False
    if lock in outer or sys.is_finalizing():  # no other thread runs then, but one may have stopped with the lock
        return step()
    try:
        _steps.depth = depth + 1
        with lock:
            entered = True
            _steps.locks = (*outer, lock)
            return step()
    finally:
        _steps.locks, _steps.depth = outer, depth
        if not entered:  # from Python 3.14 on a signal handler may raise between acquiring and the block
            with suppress(RuntimeError):
                lock.release()


def in_a_step() -> bool:
    """Whether a signal handler or finalizer has interrupted a step on this thread: it must not wait for a sign-in."""
    return _steps.depth > 0


class Once:
    """Happens once, and ends all waits. Unlike `threading.Event`, a signal handler may wait that interrupts a wait."""

    def __init__(self) -> None:
        self._happened, self._sleepers = False, list[Any]()

    def happen(self) -> None:
        self._happened = True
        for sleeper in list(self._sleepers):  # all of them again, if a handler has raised amid the first time
            with suppress(RuntimeError):  # awake already
                sleeper.release()

    def wait(self, seconds: float) -> bool:
        """Return whether it has happened."""
        sleeper = threading.Lock()  # one for each wait: none is held when a handler begins another
        sleeper.acquire()
        self._sleepers.append(sleeper)
        if not self._happened:
            sleeper.acquire(timeout=seconds)
        return self._happened


class _Later(threading.local):
    records: list[logging.LogRecord] | None = None


_later = _Later()


def _passes(record: logging.LogRecord) -> bool:
    if _later.records is None:
        return True
    _later.records.append(record)
    return False


_CHILDREN = "connection", "http11", "http2", "proxy", "socks"  # a logger's filter does not see its children's records
for _name in ("enkash_auth", "httpx", "filelock", *(f"httpcore.{name}" for name in _CHILDREN)):
    logging.getLogger(_name).addFilter(_passes)


@contextmanager
def logs_held_back() -> Iterator[None]:
    """Log at the end what this thread logs meanwhile: a handler may wait for a token, and hold what it logs with."""
    _later.records = records = list[logging.LogRecord]()
    try:
        yield
    finally:
        _later.records = None
        with ExitStack() as each:  # also if a handler or filter raises
            for record in reversed(records):
                each.callback(logging.getLogger(record.name).handle, record)


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, raise what it raises; raise `TimeoutError` if that takes longer."""
    ended, outcome, records = threading.Event(), list[tuple[bool, Any]](), _later.records

    def run() -> None:
        _later.records = records
        try:
            outcome.append((True, call()))
        except BaseException as error:
            outcome.append((False, error))
        ended.set()

    start_thread(run, "enkash-auth-call")
    end = time.monotonic() + seconds + OVERSLEPT
    if not ended.wait(seconds) and (time.monotonic() < end or not ended.wait(seconds)):  # again if this stood still
        raise TimeoutError
    returned, value = outcome.pop()
    if returned:
        return cast(T, value)
    try:
        raise value
    finally:
        del value  # its traceback would keep this frame and those above it, a token too, until the next collection


@frozen
class Runtime:
    """Two clocks and a pause, in seconds; chance, in [0, 1); a start for sign-ins; a limit for calls of stores; ids."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    spawn: Callable[[Callable[[], None]], None] = start_thread
    call_within: Callable[[float, Callable[[], Any]], Any] = call_within
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)

    def now(self) -> Moment:
        return Moment(self.monotonic(), self.wall())


_REAL = Runtime()
_current: contextvars.ContextVar[Runtime | None] = contextvars.ContextVar("enkash_auth_runtime", default=None)


def current_runtime() -> Runtime:
    """Return the runtime that a provider takes when it is made."""
    return _current.get() or _REAL


@contextmanager
def use_runtime(runtime: Runtime) -> Iterator[None]:
    """Let the providers that are made inside live by another runtime: for tests and simulations."""
    token = _current.set(runtime)
    try:
        yield
    finally:
        _current.reset(token)
