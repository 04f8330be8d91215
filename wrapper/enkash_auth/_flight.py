"""One grant under way: a thread, its waiters, its hard end. The only starter of threads."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from ._outcome import Outcome


class Flight:
    """Runs `work` on a daemon thread, once; threads and tasks wait alike for its one outcome, till `end` at most.

    No wait is longer than the flight's own end, so one timer for each loop serves all its waiters.
    """

    def __init__(self, work: Callable[[], Outcome], end: float) -> None:
        self.end = end
        self.outcome: Outcome | None = None
        self._work = work
        self._landed = threading.Event()
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}

    def start(self) -> None:
        """Start the thread; where none can start (interpreter exit) the work runs in the caller."""
        run = contextvars.copy_context().run
        try:
            threading.Thread(target=run, args=(self._fly,), name="enkash-auth-grant", daemon=True).start()
        except RuntimeError:
            self._fly()

    @property
    def overdue(self) -> bool:
        """Whether the hard end has passed without an outcome."""
        return self.outcome is None and monotonic() >= self.end

    def wait(self) -> Outcome | None:
        """Return the outcome, or None where the flight's end came first."""
        self._landed.wait(max(0.0, self.end - monotonic()))
        return self.outcome

    async def wait_async(self) -> Outcome | None:
        """Return the outcome, or None where the flight's end came first; for asyncio only."""
        import asyncio

        loop = asyncio.get_running_loop()
        event = self._loops.get(loop)  # only this loop's own thread adds it, and a listed event is always set
        if event is None:
            with self._lock:
                if self.outcome is not None:
                    return self.outcome
                event = self._loops[loop] = asyncio.Event()
            loop.call_later(max(0.0, self.end - monotonic()), event.set)
        await event.wait()
        return self.outcome

    def _fly(self) -> None:
        outcome = self._work()
        with self._lock:
            self.outcome = outcome
            loops = list(self._loops.items())
        self._landed.set()
        # one wake-up for each loop, not one for each waiter: 10,000 of those stall a loop for 170 to 300 ms
        for loop, event in loops:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop is closed: nobody waits there
                continue
