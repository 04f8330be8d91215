"""What the engine takes from outside, so that a simulation can bring its own. The only starter of threads."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import Callable

from attrs import frozen

from ._freshness import Moment


def start_thread(run: Callable[[], None]) -> None:
    """Run on a daemon thread with the caller's context; where none can start (interpreter exit), in the caller."""
    context = contextvars.copy_context()
    try:
        threading.Thread(target=context.run, args=(run,), name="enkash-auth-grant", daemon=True).start()
    except RuntimeError:
        run()


@frozen
class Outside:
    """Two clocks and a pause, in seconds; chance, in [0, 1); a start for flights."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    spawn: Callable[[Callable[[], None]], None] = start_thread

    def now(self) -> Moment:
        return Moment(self.monotonic(), self.wall())
