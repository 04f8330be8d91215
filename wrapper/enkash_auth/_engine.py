"""The life of one account's token: what callers board, what a flight does, what its landing leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from ._account import Account, Alone, Make
from ._credentials import Credentials
from ._flight import Flight
from ._freshness import Known, Verdict
from ._limits import Brake, Gate
from ._outcome import Failure, Refused, Unavailable
from ._outside import Outside
from ._token import Token
from .errors import ConfigurationError
from .events import Event, OnEvent, describe, publish

if TYPE_CHECKING:
    from .stores import Store

_SOURCE_LOOK = 5.0  # seconds between two looks at the source of refused credentials
_NEVER = float("-inf")


class Engine:
    """Holds the token and starts at most one flight. `source`, if set, is looked at again while the server refuses."""

    _outside = Outside()
    _token: Token  # the last one, also when it is held no more: a racing reader must find one
    _serve_until: float  # monotonic; -inf where callers have to wait

    def __init__(
        self, credentials: Credentials, make: Make, timeout: float, on_event: OnEvent | None, fleet: Alone
    ) -> None:
        self._monotonic = self._outside.monotonic
        self._timeout, self._on_event = timeout, on_event
        self._source: Callable[[], Credentials] | None = None
        self._own_store: Store | None = None
        self._closed, self._generation, self._grants, self._looked = False, 0, 0, _NEVER
        self._fleet = fleet
        self._account = Account.entered(credentials, make)
        self._refusals: dict[str, Refused] = {}  # final ones, by fingerprint: they outlive a change of credentials
        self._lock, self._boarding = threading.RLock(), False
        self._news: list[Event] = []
        self._start_clean()

    def _start_clean(self) -> None:
        self._generation += 1  # what is in the air now writes nothing when it lands
        self._flight: Flight | None = None
        self._known: Known | None = None
        self._gate, self._brake = Gate(), Brake()
        self._drop()

    def _drop(self) -> None:
        self._held, self._serve_until = False, _NEVER

    def reset(self) -> None:
        """Forget a refusal, the held token and all that was learnt, in the store, too: the next call asks the server.

        Raises `UnavailableError` if `on_store_error="raise"` and the store does not answer.
        """
        with self._lock:
            self._refusals.clear()
            self._start_clean()
        self._fleet.reset(self._account, self._outside)

    def close(self) -> None:
        """Forget the token and close the connections; later calls raise `ConfigurationError`."""
        with self._lock:
            self._closed = True
            self._start_clean()
        self._account.exchange.close()
        if self._own_store:
            self._own_store.close()

    def _after_fork(self) -> None:
        """Start clean in a child: no thread flies there, a lock may be held for ever, the sockets are the parent's."""
        self._lock, self._boarding = threading.RLock(), False
        self._start_clean()
        if not self._closed:
            self._account = self._account.again()

    def _board(self, *, late: bool = False) -> Token | Flight:
        """Return the living token, or the one flight that brings the next; raise what forbids to ask.

        `late`: the caller's flight ran out of time, but the caller did not.
        """
        flight = self._flight
        if flight and flight.outcome is None and self._serve_until == _NEVER and self._monotonic() < flight.end:
            return flight  # without the lock: 10,000 tasks may come in one turn of a loop
        with self._lock:
            if self._closed:
                raise ConfigurationError("this TokenProvider is closed")
            if self._boarding:  # a signal handler or a finalizer has interrupted this very thread
                raise self._within().raised()
            self._boarding = True
            try:
                boarded, took_off = self._boarded(late)
            finally:
                self._boarding = False
        if took_off:
            try:
                self._outside.spawn(partial(self._fly, took_off))
            except BaseException as error:
                if took_off.thread is None:
                    self._cut_short(took_off, error)
                raise
        if isinstance(boarded, Token | Flight):
            return boarded
        raise boarded.raised()

    def _boarded(self, late: bool) -> tuple[Token | Flight | Failure, Flight | None]:
        """Return what a caller gets, and the flight that starts with it."""
        # a second look: a flight may have landed while this caller came for the lock
        now, flight, again = self._outside.now(), self._flight, _NEVER
        verdict, until = self._known.look(now) if self._known and self._held else (Verdict.WAIT, _NEVER)
        if flight and now.monotonic >= flight.end:
            self._abandon(now.monotonic)
            flight = None
        took_off = None
        if flight is None and verdict is not Verdict.SERVE:
            stop, again = self._forbidden(now.monotonic, late)
            if stop is None:
                flight = took_off = Flight(self._outside, self._generation, now.monotonic + self._timeout)
            elif verdict is Verdict.WAIT:
                self._drop()
                return stop, None
        if verdict is Verdict.RENEW:
            until = min(until, flight.end if flight else again)
        self._serve_until, self._flight = until, flight
        return flight if flight and verdict is Verdict.WAIT else self._token, took_off

    def _abandon(self, now: float) -> None:
        """Give up a flight that may never land; its connections are cut, so that its thread ends."""
        self._gate = self._gate.failed(self._overdue(), now, self._outside.draw())
        self._flight, overdue = None, self._account.exchange
        self._account = self._account.again()
        overdue.abandon()  # waits for nothing

    def _landed(self, flight: Flight, deadline: float) -> Token | Flight:
        """Return what a waiting caller gets after its wait: the token, an error, or a seat on the next flight."""
        outcome, now = flight.outcome, self._outside.now()
        in_time = now.monotonic < deadline
        if isinstance(outcome, Known):
            if outcome.fleeting or outcome.alive(now):
                return outcome.token
            if in_time:  # the machine slept while the caller waited
                return self._board()
        if outcome is None and flight.flies_here():
            raise self._within().raised()
        late = outcome is None or (isinstance(outcome, Unavailable) and outcome.late)
        if late and in_time and flight.end < deadline:
            return self._board(late=True)
        raise (outcome if isinstance(outcome, Failure) and not late else self._overdue()).raised()

    def invalidate(self, token: Token) -> None:
        """Forget `token` if it is still the one held: an API has answered 401 to it.

        A living token is forgotten twice at once and once more a minute at most; past that it is served on.
        """
        with self._lock:
            known, now = self._known, self._outside.now()
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
            return not known.alive(self._outside.now())
        self.invalidate(token)
        return True

    def _overdue(self) -> Unavailable:
        return Unavailable(f"no answer within {self._timeout:g} s", self._account.exchange.host, late=True)

    def _within(self) -> Unavailable:
        return Unavailable("it was asked for in the midst of a step towards one", self._account.exchange.host)

    def _forbidden(self, now: float, late: bool) -> tuple[Failure | None, float]:
        """Return what forbids a flight, if anything, and the time to ask again."""
        if refused := self._refusals.get(self._account.fingerprint):
            look = self._looked + _SOURCE_LOOK if self._source or self._fleet.store else float("inf")
            if now < look:
                return refused, look
            self._looked = now  # the flight looks whether credentials have changed, or a sibling has reset this
            return None, now
        if late and self._gate.failures <= 1:
            return None, now
        return self._gate.stops(now), self._gate.opens

    def _fly(self, flight: Flight) -> None:
        """Sign in, on the flight's own thread; tell of it when its callers have been answered."""
        if flight.outcome:
            return  # its starter was interrupted
        began, flight.thread = self._monotonic(), threading.get_ident()
        try:
            account, outcome, requests = self._signed_in(flight)
            known = outcome is self._refusals.get(account.fingerprint)
            alive = self._land(flight, account, outcome, requests)
        except BaseException as error:
            self._cut_short(flight, error)
            raise
        flight.land(outcome)
        if self._closed:  # closing cuts a grant's connection: no news
            return
        with self._lock:
            news, self._news = self._news + self._fleet.news(), []
        if not known:
            told = Event("issued", account.exchange.host, self._monotonic() - began, requests, self._grants)
            news += describe(told, outcome, alive)
        publish(news, self._on_event)

    def _cut_short(self, flight: Flight, error: BaseException) -> None:
        """Land a flight that an interrupt, an exit or a bug has ended: nobody waits for it till its end."""
        outcome = Unavailable(f"the sign-in was cut short ({type(error).__name__})", self._account.exchange.host)
        self._land(flight, self._account, outcome, 0)
        flight.land(outcome)

    def _signed_in(self, flight: Flight) -> tuple[Account, Known | Failure, int]:
        """Return with which account, how it went and how many requests that took."""
        account = self._account
        refusal = self._refusals.get(account.fingerprint)
        if refusal and self._fleet.reopened(account, refusal, self._outside):
            with self._lock:
                self._refusals.pop(account.fingerprint, None)
            refusal = None
        if refusal and (changed := account.changed(self._source, self._refusals)):
            self._move_to(changed, flight)
            account, refusal = changed, None
        if refusal:
            return account, refusal, 0
        given = account, self._known, flight.end, self._outside, self._refusals
        return account, *self._fleet.sign_in(*given)

    def _move_to(self, account: Account, flight: Flight) -> None:
        with self._lock:
            if flight.generation == self._generation:
                if not account.is_same(self._account):
                    self._known = None
                    self._drop()
                self._account, self._gate = account, Gate()

    def _land(self, flight: Flight, account: Account, outcome: Known | Failure, requests: int) -> bool:
        """Keep what a flight brought; return whether its callers had a living token meanwhile."""
        with self._lock:
            self._grants += requests > 0
            if flight.generation != self._generation:
                return False
            if isinstance(outcome, Refused) and outcome.final:
                self._refusals[account.fingerprint] = outcome  # an abandoned flight's too
            if flight is not self._flight:
                return False
            now, self._flight = self._outside.now(), None
            alive = self._held and self._known is not None and self._known.alive(now)
            if isinstance(outcome, Known):
                self._token, self._known, self._held, self._gate = outcome.token, outcome, True, Gate()
            elif not (isinstance(outcome, Refused) and outcome.final):
                self._gate = self._gate.failed(outcome, now.monotonic, self._outside.draw())
            self._serve_until = now.monotonic if self._held else _NEVER  # the next caller looks
            return alive
