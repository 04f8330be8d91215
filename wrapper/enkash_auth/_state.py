"""What a provider holds and knows, what that forbids, and what a landing leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from ._signin.direct import Account, Alone, Make
from ._settings.credentials import Credentials
from ._flight import Flight
from ._policy.lifetime import TokenRecord
from ._policy.backoff import Brake, Backoff
from ._policy.outcome import Failure, Refused, Unavailable
from ._runtime import Runtime
from ._policy.token import Token
from .events import Event, OnEvent

if TYPE_CHECKING:
    from .stores import Store

_SOURCE_LOOK = 5.0  # seconds between two looks at the source of refused credentials
NEVER = float("-inf")


class State:
    """Changes under its lock. `source`, if set, is looked at again while the server refuses."""

    _runtime = Runtime()
    _token: Token  # the last one, also when it is held no more: a racing reader must find one
    _serve_until: float  # monotonic; -inf where callers have to wait

    def __init__(
        self, credentials: Credentials, make: Make, timeout: float, on_event: OnEvent | None, fleet: Alone
    ) -> None:
        self._monotonic = self._runtime.monotonic
        self._timeout, self._on_event = timeout, on_event
        self._source: Callable[[], Credentials] | None = None
        self._own_store: Store | None = None
        self._closed, self._generation, self._grants, self._looked = False, 0, 0, NEVER
        self._fleet = fleet
        self._account = Account.entered(credentials, make)
        self._refusals: dict[str, Refused] = {}  # final ones, by fingerprint: they outlive a change of credentials
        self._lock, self._boarding = threading.RLock(), False
        self._news: list[Event] = []
        self._start_clean()

    def _start_clean(self) -> None:
        self._generation += 1  # what is in the air now writes nothing when it lands
        self._flight: Flight | None = None
        self._known: TokenRecord | None = None
        self._gate, self._brake = Backoff(), Brake()
        self._drop()

    def _drop(self) -> None:
        self._held, self._serve_until = False, NEVER

    def invalidate(self, token: Token) -> None:
        """Forget `token` if it is still the one held: an API has answered 401 to it.

        A living token is forgotten twice at once and once more a minute at most; past that it is served on.
        """
        with self._lock:
            known, now = self._known, self._runtime.now()
            if known is None or not self._held or token.access_token != known.token.access_token:
                return
            if known.alive(now):  # a token past its end costs nothing
                brake = self._brake.taken(now.monotonic)
                if brake is None:
                    return
                self._brake = brake
            self._known = evolve(known, rejected=True)
            self._drop()
            self._news.append(Event("invalidated", self._account.exchange.host, grants=self._grants))

    def _rejected(self, token: Token, asked: float) -> bool:
        """Invalidate after a 401; return whether another token may mend it: not if this was minted since `asked`."""
        known = self._known
        if known and known.token.access_token == token.access_token and known.answered.monotonic > asked:
            return not known.alive(self._runtime.now())
        self.invalidate(token)
        return True

    def _overdue(self) -> Unavailable:
        return Unavailable(f"no answer within {self._timeout:g} s", self._account.exchange.host, late=True)

    def _within(self) -> Unavailable:
        return Unavailable("it was asked for in the midst of a step towards one", self._account.exchange.host)

    def _forbidden(self, now: float, late: bool) -> tuple[Failure | None, float]:
        """Return what forbids a flight, if anything, and the time to ask again."""
        if refused := self._refusals.get(self._account.fingerprint):
            look = self._looked + _SOURCE_LOOK if self._source or self._fleet.store is not None else float("inf")
            if now < look:
                return refused, look
            self._looked = now  # the flight looks whether credentials have changed, or a sibling has reset this
            return None, now
        if late and self._gate.failures <= 1:
            return None, now
        return self._gate.stops(now), self._gate.opens

    def _move_to(self, account: Account, flight: Flight) -> None:
        with self._lock:
            if flight.generation == self._generation:
                if not account.is_same(self._account):
                    self._known = None
                    self._drop()
                self._account, self._gate = account, Backoff()

    def _land(self, flight: Flight, account: Account, outcome: TokenRecord | Failure, requests: int) -> bool:
        """Keep what a flight brought; return whether its callers had a living token meanwhile."""
        with self._lock:
            self._grants += requests > 0
            if flight.generation != self._generation:
                return False
            if isinstance(outcome, Refused) and outcome.final:
                self._refusals[account.fingerprint] = outcome  # an abandoned flight's too
            if flight is not self._flight:
                return False
            now, self._flight = self._runtime.now(), None
            alive = self._held and self._known is not None and self._known.alive(now)
            if isinstance(outcome, TokenRecord):
                self._token, self._known, self._held, self._gate = outcome.token, outcome, True, Backoff()
            elif not (isinstance(outcome, Refused) and outcome.final):
                self._gate = self._gate.failed(outcome, now.monotonic, self._runtime.draw())
            self._serve_until = now.monotonic if self._held else NEVER  # the next caller looks
            return alive
