"""The life of one account's token: what callers board, what a flight does, how it lands."""

from __future__ import annotations

import threading
from functools import partial

from ._signin.direct import Account
from ._flight import Flight
from ._policy.lifetime import TokenRecord, Verdict
from ._policy.outcome import Failure, Unavailable
from ._state import NEVER, State
from ._policy.token import Token
from .errors import ConfigurationError
from .events import Event, describe, publish


class Engine(State):
    """Starts at most one flight at a time, and lands it."""

    def reset(self) -> None:
        """Forget a refusal, the held token and all that was learnt, in the store, too: the next call asks the server.

        Raises `UnavailableError` if `on_store_error="raise"` and the store does not answer.
        """
        with self._lock:
            self._refusals.clear()
            self._start_clean()
        self._fleet.reset(self._account, self._runtime)

    def close(self) -> None:
        """Forget the token and close the connections; later calls raise `ConfigurationError`."""
        with self._lock:
            self._closed = True
            self._start_clean()
        self._account.exchange.close()
        if self._own_store is not None:
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
        if flight and flight.outcome is None and self._serve_until == NEVER and self._monotonic() < flight.end:
            return flight  # without the lock: 10,000 tasks may come in one turn of a loop
        with self._lock:
            if self._closed:
                raise ConfigurationError("this TokenProvider is closed")
            if self._boarding:  # a signal handler or a finalizer has interrupted this very thread
                raise self._within().to_exception()
            self._boarding = True
            try:
                boarded, took_off = self._boarded(late)
            finally:
                self._boarding = False
        if took_off:
            try:
                self._runtime.spawn(partial(self._fly, took_off))
            except BaseException as error:
                if took_off.thread is None:
                    self._cut_short(took_off, error)
                raise
        if isinstance(boarded, Token | Flight):
            return boarded
        raise boarded.to_exception()

    def _boarded(self, late: bool) -> tuple[Token | Flight | Failure, Flight | None]:
        """Return what a caller gets, and the flight that starts with it."""
        # a second look: a flight may have landed while this caller came for the lock
        now, flight, again = self._runtime.now(), self._flight, NEVER
        verdict, until = self._known.look(now) if self._known and self._held else (Verdict.WAIT, NEVER)
        if flight and now.monotonic >= flight.end:
            self._abandon(now.monotonic)
            flight = None
        took_off = None
        if flight is None and verdict is not Verdict.SERVE:
            stop, again = self._forbidden(now.monotonic, late)
            if stop is None:
                flight = took_off = Flight(self._runtime, self._generation, now.monotonic + self._timeout)
            elif verdict is Verdict.WAIT:
                self._drop()
                return stop, None
        if verdict is Verdict.RENEW:
            until = min(until, flight.end if flight else again)
        self._serve_until, self._flight = until, flight
        return flight if flight and verdict is Verdict.WAIT else self._token, took_off

    def _abandon(self, now: float) -> None:
        """Give up a flight that may never land; its connections are cut, so that its thread ends."""
        self._gate = self._gate.failed(self._overdue(), now, self._runtime.draw())
        self._flight, overdue = None, self._account.exchange
        self._account = self._account.again()
        overdue.abandon()  # waits for nothing

    def _landed(self, flight: Flight, deadline: float) -> Token | Flight:
        """Return what a waiting caller gets after its wait: the token, an error, or a seat on the next flight."""
        outcome, now = flight.outcome, self._runtime.now()
        in_time = now.monotonic < deadline
        if isinstance(outcome, TokenRecord):
            if outcome.single_use or outcome.alive(now):
                return outcome.token
            if in_time:  # the machine slept while the caller waited
                return self._board()
        if outcome is None and flight.flies_here():
            raise self._within().to_exception()
        late = outcome is None or (isinstance(outcome, Unavailable) and outcome.late)
        if late and in_time and flight.end < deadline:
            return self._board(late=True)
        raise (outcome if isinstance(outcome, Failure) and not late else self._overdue()).to_exception()

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

    def _signed_in(self, flight: Flight) -> tuple[Account, TokenRecord | Failure, int]:
        """Return with which account, how it went and how many requests that took."""
        account = self._account
        refusal = self._refusals.get(account.fingerprint)
        if refusal and self._fleet.reopened(account, refusal, self._runtime):
            with self._lock:
                self._refusals.pop(account.fingerprint, None)
            refusal = None
        if refusal and (changed := account.changed(self._source, self._refusals)):
            self._move_to(changed, flight)
            account, refusal = changed, None
        if refusal:
            return account, refusal, 0
        given = account, self._known, flight.end, self._runtime, self._refusals
        return account, *self._fleet.sign_in(*given)
