"""One grant under way: its waiters, its hard end."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from ._policy.lifetime import TokenRecord
    from ._policy.outcome import Failure
    from ._runtime import Runtime

    Loop = asyncio.AbstractEventLoop
    Seat = asyncio.Future[None]

_AT_ONCE = 500  # waiters that one turn of a loop wakes: with 10,000 in one turn it stands still for tens of ms


class Flight:
    """Has one outcome, for which threads and tasks wait alike, till their own deadline or its `end` (monotonic)."""

    def __init__(self, runtime: Runtime, generation: int, end: float) -> None:
        self.generation, self.end = generation, end
        self.thread: int | None = None  # that flies it, once it has begun
        self.outcome: TokenRecord | Failure | None = None
        self._monotonic = runtime.monotonic
        self._landed = threading.Event()
        self._lock = threading.Lock()
        self._seats: dict[Loop, list[Seat]] = {}

    def land(self, outcome: TokenRecord | Failure) -> None:
        """Set the outcome and wake who waits for it."""
        with self._lock:
            self.outcome = outcome
            loops = list(self._seats)
        self._landed.set()
        for loop in loops:  # one call across threads for each loop, not one for each waiter
            with suppress(RuntimeError):  # that loop is closed: nobody waits there
                loop.call_soon_threadsafe(self._empty, loop)

    def wait(self, deadline: float) -> None:
        """Return when the outcome is there, at `deadline` or at the flight's end."""
        if not self.flies_here():
            self._landed.wait(max(0.0, min(deadline, self.end) - self._monotonic()))

    def seat(self, deadline: float) -> Seat:
        """Return a future that ends when `wait` would; raises `ConfigurationError` where no asyncio loop runs."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("atoken() needs asyncio; elsewhere call token() in a worker thread") from None
        seat = loop.create_future()
        seats = self._seats.get(loop)  # this loop's own thread alone adds to it and empties it
        if seats is None:
            with self._lock:  # `land` sees this loop, or what follows sees its outcome
                seats = self._seats[loop] = []
            loop.call_later(max(0.0, self.end - self._monotonic()), self._empty, loop)  # one timer for all of them
        if self.outcome is not None or self.flies_here():
            seat.set_result(None)
            return seat
        seats.append(seat)
        if deadline < self.end:
            timer = loop.call_later(max(0.0, deadline - self._monotonic()), _wake, loop, [seat])
            seat.add_done_callback(lambda _: timer.cancel())
        return seat

    def flies_here(self) -> bool:
        """Whether the flight's own thread asks: a finalizer, or a transport, that must not wait for itself."""
        return self.thread == threading.get_ident()

    def _empty(self, loop: Loop) -> None:
        with self._lock:
            seats = self._seats.pop(loop, [])
        _wake(loop, seats)


def _wake(loop: Loop, seats: list[Seat]) -> None:
    for seat in seats[:_AT_ONCE]:
        if not seat.done():  # cancelled, or its own time had run out
            seat.set_result(None)
    if rest := seats[_AT_ONCE:]:
        loop.call_soon(_wake, loop, rest)
