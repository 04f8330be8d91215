"""What the engine takes from runtime, so that a simulation can bring its own. The only starter of threads."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from attrs import frozen

from ._policy.lifetime import Moment

T = TypeVar("T")


def start_thread(run: Callable[[], None], name: str = "enkash-auth-grant") -> None:
    """Run on a daemon thread with the caller's context; where none can start (interpreter exit), in the caller."""
    context = contextvars.copy_context()
    try:
        threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
    except RuntimeError:
        run()


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, raise what it raises; raise `TimeoutError` where that takes too long."""
    ended, outcome = threading.Event(), list[tuple[bool, Any]]()

    def run() -> None:
        try:
            outcome.append((True, call()))
        except Exception as error:
            outcome.append((False, error))
        ended.set()

    start_thread(run, "enkash-auth-store")
    if not ended.wait(seconds):
        raise TimeoutError
    returned, value = outcome[0]
    if returned:
        return cast(T, value)
    raise value


@frozen
class Runtime:
    """Two clocks and a pause, in seconds; chance, in [0, 1); a start for flights; a limit for calls of stores."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    spawn: Callable[[Callable[[], None]], None] = start_thread
    within: Callable[[float, Callable[[], Any]], Any] = within

    def now(self) -> Moment:
        return Moment(self.monotonic(), self.wall())
