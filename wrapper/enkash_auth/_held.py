"""What an engine holds: all that changes, under one lock."""

from __future__ import annotations

import threading

from ._flight import Flight
from ._policy.cache import Result, TokenCache
from ._policy.lifetime import NEVER, Moment
from ._policy.token import Token
from ._runtime import Runtime
from ._signin.account import Account


class Held:
    """The cache, the account, the flight under way, and what the hot path reads.

    The hot path reads `until`, then `token`, without the lock: so `token` is written first, and never taken away.
    """

    token: Token
    until: float  # monotonic; NEVER if callers have to wait

    def __init__(self, cache: TokenCache, account: Account, runtime: Runtime) -> None:
        self.cache, self.account, self.until = cache, account, NEVER
        self.lock, self.closed = threading.RLock(), False
        self.flight: Flight | None = None
        self.ended: Flight | None = None  # the last that has finished
        self._runtime = runtime

    def change(self, cache: TokenCache) -> None:
        """Take over a new state; the next caller decides by it."""
        if cache is not self.cache:
            self.cache, self.until = cache, NEVER

    def start_clean(self, cache: TokenCache) -> None:
        """Take over a state in which no sign-in is under way."""
        self.cache, self.flight, self.until = cache, None, NEVER

    def begin(self, now: Moment) -> Flight:
        """Return the flight of a sign-in that starts."""
        cache = self.cache.started(now)
        assert cache.pending
        flight = Flight(self._runtime, cache.pending)
        self.cache, self.flight = cache, flight  # in one step: an interrupt comes before it or after it
        return flight

    def finish(self, flight: Flight, result: Result) -> bool:
        """Keep what a flight has brought; return whether callers had a living token meanwhile."""
        with self.lock:
            before, now = self.cache, self._runtime.now()
            self.change(before.finished(flight.number, result, now, self._runtime.draw()))
            if flight is not self.flight:
                return False
            self.flight, self.ended = None, flight
            return before.record is not None and before.record.usable(now)

    def give_up(self, now: Moment) -> None:
        """Give up a flight that may never end; its connections are cut, so that its thread ends."""
        self.cache = self.cache.given_up(now.monotonic, self._runtime.draw())
        self.flight, overdue = None, self.account.gateway
        self.account = self.account.again()
        overdue.abandon()  # waits for nothing

    def move_to(self, account: Account, number: int | None = None) -> bool:
        """Use another account, unless flight `number` began before a reset; return whether that was done."""
        with self.lock:
            moved = self.cache.moved(account.identity, self.cache.valid_from if number is None else number)
            if moved is self.cache:
                return False
            self.account = account
            self.change(moved)
            return True
