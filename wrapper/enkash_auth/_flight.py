"""One sign-in under way, and who waits for it (singleflight)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

from ._runtime import Once
from .errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from ._policy.lifetime import TokenRecord
    from ._policy.outcome import Failure
    from ._policy.sign_in import Pending
    from ._runtime import Runtime

    Loop = asyncio.AbstractEventLoop
    Waiter = asyncio.Future[None]

REENTRANT = "token() was called re-entrantly, from a signal handler or finalizer"
_under_way: ContextVar[Flight | None] = ContextVar("enkash_auth_flight", default=None)
_WOKEN_PER_TURN = 500  # waking 10,000 waiters in one turn of a loop stalls it for tens of ms


class Flight:
    """Has one outcome, for which threads and tasks wait alike, until their own deadline or its `end`.

    `deadline` is the same end on both clocks, after which no password leaves.
    """

    def __init__(self, runtime: Runtime, pending: Pending) -> None:
        self.number, self.deadline, self.end = pending.number, pending.end, pending.end.monotonic
        self.extra = False  # callers whose process stood still wait for it past their deadline, and for no further one
        self.launched = False  # if not, the caller that began it was interrupted, and the next one launches it
        self.outcome: TokenRecord | Failure | None = None
        self._monotonic = runtime.monotonic
        self._claim, self._finished, self.published = threading.Lock(), Once(), Once()
        self._waiters: dict[Loop, list[Waiter]] = {}  # no lock: a finalizer may come amid any of these lines

    def launch(self, spawn: Callable[[Callable[[], None]], None], run: Callable[[], None]) -> None:
        """Start the thread that signs in; everything that it calls, on threads of its own, too, has its context."""
        context = copy_context()
        context.run(_under_way.set, self)
        context.run(spawn, run)
        self.launched = True

    def claim(self) -> bool:
        """Return whether this thread is the first: two may have been launched after an interrupt."""
        return self._claim.acquire(blocking=False)

    def finish(self, outcome: TokenRecord | Failure) -> None:
        """Set the outcome and wake all that wait for it."""
        self.outcome = self.outcome or outcome  # the first, closing's perhaps
        self._finished.happen()
        for loop in list(self._waiters):  # one call across threads for each loop, not one for each waiter
            try:
                loop.call_soon_threadsafe(self._wake_loop, loop)
            except RuntimeError:  # that loop is closed: nobody waits there
                self._waiters.pop(loop, None)

    def wait(self, deadline: float) -> None:
        """Return when there is an outcome, at `deadline` or at the flight's end."""
        if not self.in_vain():
            self._finished.wait(max(0.0, self.bound(deadline) - self._monotonic()))

    def bound(self, deadline: float) -> float:
        """Return until when a caller waits."""
        return self.end if self.extra else min(deadline, self.end)

    def waiter(self, deadline: float) -> Waiter:
        """Return a future that ends when `wait` would; raises `ConfigurationError` where no asyncio loop runs."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("atoken() needs asyncio; elsewhere call token() in a worker thread") from None
        waiter = loop.create_future()
        if loop not in self._waiters:  # one timer for all of them, and first: no list is without it if a handler raises
            self._forget_closed_loops()
            loop.call_later(max(0.0, self.end - self._monotonic()), self._wake_loop, loop)
        # a finalizer's task may be in it by now; either `finish` sees this loop, or the next lines see the outcome
        waiters = self._waiters.setdefault(loop, [])  # only this loop's own thread adds to it and empties it
        if self.outcome is not None or self.in_vain():
            waiter.set_result(None)
            return waiter
        waiters.append(waiter)
        if (bound := self.bound(deadline)) < self.end:
            timer = loop.call_later(max(0.0, bound - self._monotonic()), _wake, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    def runs_here(self) -> bool:
        """Whether the sign-in itself asks: a finalizer or a transport, which must not wait for its own end."""
        return _under_way.get() is self

    def in_vain(self) -> str | None:
        """Return why the caller must not wait, None if it may."""
        if self.runs_here():
            return REENTRANT
        return "the interpreter exits" if sys.is_finalizing() else None  # and has stopped the thread that signs in

    def _forget_closed_loops(self) -> None:
        """Keep no loop whose tasks were cancelled: one of uvloop's holds 250 kB, and `asyncio.run` may come often."""
        for loop in list(self._waiters):
            if loop.is_closed():
                self._waiters.pop(loop, None)

    def _wake_loop(self, loop: Loop) -> None:
        """Wake a part of a loop's waiters in each of its turns."""
        if not (waiters := self._waiters.get(loop)):
            self._waiters.pop(loop, None)
            return
        loop.call_soon(self._wake_loop, loop)  # first: if a signal handler raises, the next turn wakes the rest
        woken = waiters[:_WOKEN_PER_TURN]
        for waiter in woken:
            _wake(waiter)
        del waiters[: len(woken)]


def _wake(waiter: Waiter) -> None:
    if not waiter.done():  # cancelled, or its own time had run out
        waiter.set_result(None)
