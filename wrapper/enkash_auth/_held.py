"""What an engine holds: all that changes, under one lock."""

import threading
from collections.abc import Callable

from ._flight import Flight
from ._policy.cache import TokenCache
from ._policy.lifetime import LONG_AGO, Moment, Verdict
from ._policy.outcome import Unavailable
from ._policy.sign_in import Result
from ._policy.token import Token
from ._runtime import Runtime, exclusively
from ._signin.account import Account


class Held:
    """The cache, the account, the flight under way, and what the hot path reads.

    The hot path reads `serving` without the lock: the clock, when by that callers have to ask again (LONG_AGO if they
    have to wait), and the token. It is one tuple, for without a GIL two reads may see two states.
    """

    def __init__(self, cache: TokenCache, account: Account, runtime: Runtime) -> None:
        self.cache, self.account = cache, account
        self.nothing = runtime.monotonic, LONG_AGO, None
        self.serving: tuple[Callable[[], float], float, Token | None] = self.nothing
        self.lock, self.closed, self.inherited = threading.RLock(), False, False
        self.flight: Flight | None = None
        self.ended: Flight | None = None  # the last that has finished
        self._runtime = runtime

    def change(self, cache: TokenCache) -> None:
        """Take over a new state; the next caller decides by it."""
        if cache is not self.cache:
            self.cache, self.serving = cache, self.nothing

    def start_clean(self, cache: TokenCache) -> None:
        """Take over a state in which no sign-in is under way."""
        self.cache, self.flight, self.serving = cache, None, self.nothing

    def close(self) -> None:
        """Start no sign-in any more, and wake all that wait: nothing cuts a look-up, or a transport of other users."""
        self.closed = True

        def end() -> None:
            flight = self.flight
            self.start_clean(self.cache.afresh())
            if flight:
                flight.finish(Unavailable("the provider was closed", self.account.identity.host))

        exclusively(self.lock, end)

    def inherit(self) -> None:
        """In a forked child: no thread signs in here, the lock may be held for ever, sockets are the parent's."""
        self.lock, self.flight, self.ended, self.inherited = threading.RLock(), None, None, True
        self.serving = self.nothing

    def start_in_child(self) -> None:
        """Forget the parent's token, and make connections of its own; raises `ConfigurationError`, until it can."""
        # not under the lock: httpx may log here, and a logging handler may wait for a token
        account = Account.of(self.account.credentials, self.account.make)

        def start() -> None:
            if self.inherited:
                self.account, self.inherited = account, False
                self.start_clean(self.cache.afresh())

        exclusively(self.lock, start)

    def begin(self, now: Moment) -> Flight:
        """Return the flight of a sign-in that starts."""
        cache = self.cache.started(now)
        assert cache.pending
        flight = Flight(self._runtime, cache.pending)
        self.cache, self.flight = cache, flight  # in one step: an interrupt comes before it or after it
        return flight

    def finish(self, flight: Flight, result: Result) -> bool:
        """Keep what a flight has brought, and wake its waiters; return whether callers had a living token meanwhile."""

        def land() -> bool:
            before, now = self.cache, self._runtime.now()
            self.change(before.finished(flight.number, result, now, self._runtime.draw()))
            current = flight is self.flight
            if current:
                self.flight, self.ended = None, flight
            flight.finish(result.outcome)
            return current and before.record is not None and before.record.verdict(now)[0] is not Verdict.WAIT

        return exclusively(self.lock, land)

    def give_up(self, now: Moment) -> None:
        """Give up a flight that may never end; the gateway has cut its request at the same time."""
        self.cache, self.flight = self.cache.given_up(now, self._runtime.draw()), None

    def move_to(self, account: Account, number: int | None = None) -> bool:
        """Use another account, unless flight `number` began before a reset; return whether that was done."""

        def move() -> bool:
            moved = self.cache.moved(account.identity, self.cache.valid_from if number is None else number)
            if moved is self.cache:
                return False
            self.account = account
            self.change(moved)
            return True

        return exclusively(self.lock, move)
