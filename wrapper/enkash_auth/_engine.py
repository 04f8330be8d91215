"""One lock, one thread for each sign-in; applies the policy, and keeps callers waiting for what it brings."""

from __future__ import annotations

import threading
from functools import partial

from ._flight import Flight
from ._policy.cache import Fail, Join, Result, Serve, Start, TokenCache
from ._policy.lifetime import NEVER
from ._policy.outcome import Failure, Unavailable
from ._policy.token import Token
from ._policy.waited import Again, after_wait
from ._runtime import NoThreadError, Runtime
from ._signin.account import Account, Signer, SignIn, Source
from .errors import ConfigurationError
from .events import Event, OnEvent, describe, publish

_EVENTS_DUE = 1.0  # seconds that closing waits for a hook


class Engine:
    """Starts at most one sign-in at a time. `source` is read again while the server refuses the credentials."""

    # The hot path reads `until`, then `token`, without the lock: so `token` is written first, and never taken away.
    token: Token
    until: float  # monotonic; NEVER if callers have to wait

    def __init__(
        self, cache: TokenCache, account: Account, signer: Signer, runtime: Runtime, *,
        source: Source | None = None, on_event: OnEvent | None = None,
    ) -> None:  # fmt: skip
        self.signer, self.runtime = signer, runtime
        self.cache, self.account, self._source, self._on_event = cache, account, source, on_event
        self._flight: Flight | None = None
        self._ended: Flight | None = None  # the last that has finished
        self._lock, self._deciding, self._closed = threading.RLock(), False, False
        self._grants, self._events = 0, list[Event]()
        self.until = NEVER

    # what a caller gets

    def join_or_start(self, *, late: bool = False) -> Token | Flight:
        """Return the living token, or the flight that brings the next; raise if the server must not be asked.

        `late`: the flight that the caller waited for ran out of time, but the caller did not.
        """
        flight = self._flight
        if flight and flight.outcome is None and self.until == NEVER and self.runtime.monotonic() < flight.end:
            return flight  # without the lock: 10,000 tasks may come in one turn of a loop
        with self._lock:
            if self._closed:
                raise ConfigurationError("this TokenProvider is closed")
            if self._deciding:  # a signal handler or a finalizer has interrupted this very thread
                raise self._reentrant().to_exception()
            self._deciding = True
            try:
                answer, started = self._decide(late)
            finally:
                self._deciding = False
        if started:
            try:
                self.runtime.spawn(partial(self.run, started))
            except NoThreadError as error:
                self._end(started, str(error))
            except BaseException as error:
                if started.thread is None:
                    self._end(started, f"the sign-in was cut short ({type(error).__name__})")
                raise
        if isinstance(answer, Token | Flight):
            return answer
        raise answer.to_exception()

    def _decide(self, late: bool) -> tuple[Token | Flight | Failure, Flight | None]:
        """Apply the policy; return what the caller gets, and the flight that starts with it."""
        now = self.runtime.now()
        if self.cache.overdue(now.monotonic):
            self._give_up(now.monotonic)
        decision, started = self.cache.ask(now, late=late), None
        if isinstance(decision, Start):
            cache = self.cache.started(now)
            assert cache.pending
            started = Flight(self.runtime, cache.pending)
            self.cache, self._flight = cache, started  # in one step: an interrupt comes before it or after it
            decision = decision.meanwhile or Join()
        if isinstance(decision, Serve):
            self.token, self.until = decision.token, decision.until
            return decision.token, started
        self.until = NEVER
        if isinstance(decision, Fail):
            return decision.failure, None
        assert self._flight
        return self._flight, started

    def after_wait(self, flight: Flight, deadline: float) -> Token | Flight:
        """Return what a caller gets that has waited: the token, an error, or the next flight to wait for."""
        if flight.outcome is None and flight.runs_here():
            raise self._reentrant().to_exception()
        got = after_wait(flight.outcome, self.runtime.now(), deadline=deadline, end=flight.end)
        if isinstance(got, Again):
            return self.join_or_start(late=got.late)
        if isinstance(got, Token):
            return got
        raise (got or self.cache.no_answer()).to_exception()

    # a sign-in's course

    def run(self, flight: Flight) -> None:
        """Sign in, on the flight's own thread; publish events once its callers have been answered."""
        if flight.outcome:
            return  # the caller that started it was interrupted
        flight.thread = threading.get_ident()
        try:
            events = self._run(flight)
            publish(events, self._on_event)
        finally:
            flight.published.set()

    def _run(self, flight: Flight) -> list[Event]:
        began = self.runtime.monotonic()
        try:
            if self.cache.suspect:
                self._reread(flight)
            result = self.signer.sign_in(self._given(flight))
            known = not result.requests and self.cache.blocked_alike(result.outcome)
            alive = self._finish(flight, result)
        except BaseException as error:
            self._end(flight, f"the sign-in was cut short ({type(error).__name__})")
            raise
        flight.finish(result.outcome)
        if self._closed:  # closing cuts a running request, which is no event
            return []
        with self._lock:
            events, self._events = self._events + self.signer.take_events(), []
        if not known:
            seconds = self.runtime.monotonic() - began
            event = Event("issued", self.account.identity.host, seconds, result.requests, self._grants)
            events += describe(event, result.outcome, alive)
        return events

    def _given(self, flight: Flight) -> SignIn:
        def reread() -> SignIn | None:
            return self._given(flight) if self._reread(flight) else None

        return SignIn(self.account, self.cache.record, flight.deadline, reread)

    def _reread(self, flight: Flight | None = None) -> bool:
        """Read the credentials' source; return whether it names others than those that are held."""
        try:
            changed = self.account.changed(self._source)
        except Exception:  # half-way through a rotation, or not readable now
            return False
        if changed is None:
            return False
        with self._lock:
            moved = self.cache.moved(changed.identity, flight.number if flight else self.cache.valid_from)
            if moved is self.cache:  # a reset came meanwhile
                return False
            self.account = changed
            self._change(moved)
            return True

    def _finish(self, flight: Flight, result: Result) -> bool:
        """Keep what a flight has brought; return whether callers had a living token meanwhile."""
        with self._lock:
            self._grants += result.requests > 0
            before, now = self.cache, self.runtime.now()
            self._change(before.finished(flight.number, result, now, self.runtime.draw()))
            if flight is not self._flight:
                return False
            self._flight, self._ended = None, flight
            return before.record is not None and before.record.usable(now)

    def _give_up(self, now: float) -> None:
        """Give up a flight that may never end; its connections are cut, so that its thread ends."""
        self.cache = self.cache.given_up(now, self.runtime.draw())
        self._flight, overdue = None, self.account.gateway
        self.account = self.account.again()
        overdue.abandon()  # waits for nothing

    def _end(self, flight: Flight, reason: str) -> None:
        """End a flight that could not start, or that an interrupt or a bug has stopped: nobody waits for it."""
        identity = self.account.identity
        outcome = Unavailable(reason, identity.host)
        self._finish(flight, Result(identity.fingerprint, outcome))
        flight.finish(outcome)

    def _change(self, cache: TokenCache) -> None:
        """Take over a new state; the next caller decides by it."""
        if cache is not self.cache:
            self.cache, self.until = cache, NEVER

    # 401s, resets, ends

    def invalidate(self, token: Token) -> None:
        """Serve `token` no more if it is the one held."""
        with self._lock:
            cache = self.cache.rejected(token, self.runtime.now())
            if cache is not self.cache:
                self._change(cache)
                self._events.append(Event("invalidated", self.account.identity.host, grants=self._grants))

    def reject(self, token: Token, asked: float) -> None:
        """Invalidate `token`, which an API answered with 401, unless the server has answered it since `asked`."""
        if not self.cache.just_issued(token, asked, self.runtime.now()):
            self.invalidate(token)

    def reset(self) -> None:
        """Forget the token, and let one more password through, of the credentials that the source names now, too."""
        with self._lock:
            self._start_clean(self.cache.reset())
        held = self.account
        if self._reread():
            self.signer.reset(held)
        self.signer.reset(self.account)

    def close(self) -> None:
        """Forget the token, and cut the connections; events that are due are published first."""
        ended = self._ended
        if ended and not ended.runs_here():
            ended.published.wait(_EVENTS_DUE)
        with self._lock:
            self._closed = True
            self._start_clean(self.cache.forked())
        self.account.gateway.close()

    def after_fork(self) -> None:
        """Start anew in a child: no thread signs in there, a lock may be held for ever, sockets are the parent's."""
        self._lock, self._deciding = threading.RLock(), False
        self._start_clean(self.cache.forked())
        if not self._closed:
            self.account = self.account.again()

    def _start_clean(self, cache: TokenCache) -> None:
        self.cache, self._flight, self.until = cache, None, NEVER

    def _reentrant(self) -> Unavailable:
        reason = "token() was called re-entrantly, from a signal handler or finalizer"
        return Unavailable(reason, self.account.identity.host)
