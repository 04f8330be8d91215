"""One lock, one thread for each sign-in; applies the policy, and keeps callers waiting for what it brings."""

import threading
from functools import partial

from ._flight import REENTRANT, Flight
from ._held import Held
from ._policy.cache import Fail, Join, Serve, Start, TokenCache
from ._policy.lifetime import LONG_AGO
from ._policy.outcome import Failure, Unavailable
from ._policy.sign_in import Result
from ._policy.token import Token
from ._policy.waited import Again, decide_after_wait
from ._runtime import NoThreadError, Runtime, check_threads, exclusively, in_a_step, logs_held_back
from ._settings.credentials import read_source
from ._signin.account import Account, Signer, SignIn, Source
from .errors import ConfigurationError
from .events import Event, OnEvent, describe, publish

_EVENTS_DUE = 1.0  # seconds that closing waits for a hook, and for what a sign-in writes at its end


class Engine:
    """Starts at most one sign-in at a time. `source` is read again while the server refuses the credentials."""

    def __init__(
        self, cache: TokenCache, account: Account, signer: Signer, runtime: Runtime, *,
        source: Source | None = None, on_event: OnEvent | None = None,
    ) -> None:  # fmt: skip
        self.signer, self.runtime = signer, runtime
        self.held = Held(cache, account, runtime)
        self._source, self._on_event = source, on_event
        self._grants, self._unreadable = 0, False

    # what a caller gets

    def join_or_start(self, *, late: bool = False) -> Token | Flight:
        """Return the living token, or the flight that brings the next; raise if the server must not be asked.

        `late`: the flight that the caller waited for ran out of time, but the caller did not.
        """
        check_threads()
        if in_a_step():
            raise Unavailable(REENTRANT, self.held.account.identity.host).to_exception()
        flight = self.held.flight
        running = flight and flight.launched and flight.outcome is None
        if flight and running and self.held.serving[1] == LONG_AGO and self.runtime.monotonic() < flight.end:
            return flight  # without the lock: 10,000 tasks may come in one turn of a loop
        if self.held.inherited and not self.held.closed:
            self.held.start_in_child()
        answer = exclusively(self.held.lock, partial(self._decide, late))
        if isinstance(answer, Token | Flight):
            return answer
        raise answer.to_exception()

    def _decide(self, late: bool) -> Token | Flight | Failure:
        """Apply the policy; return what the caller gets."""
        if self.held.closed:
            raise ConfigurationError(f"this provider of {self.held.account.identity.host} is closed: make another")
        now = self.runtime.now()
        if self.held.cache.overdue(now.monotonic):
            self.held.give_up(now)
        decision = self.held.cache.ask(now, late=late)
        if isinstance(decision, Start):
            self.held.begin(now)
            decision = decision.meanwhile or Join()
        flight = self.held.flight
        if flight and not flight.launched and not self._launch(flight):
            return self._decide(late=False)
        if isinstance(decision, Serve):
            self.held.serving = self.runtime.monotonic, decision.until, decision.token
            return decision.token
        self.held.serving = self.held.nothing
        if isinstance(decision, Fail):
            return decision.failure
        assert flight
        return flight

    def _launch(self, flight: Flight) -> bool:
        """Start a flight's thread; an exception, of a signal handler's, leaves that to the next caller."""
        try:
            flight.launch(self.runtime.spawn, partial(self.run, flight))
        except NoThreadError as error:
            self._end(flight, str(error))
        return flight.launched

    def after_wait(self, flight: Flight, deadline: float) -> Token | Flight:
        """Return what a caller gets that has waited: the token, an error, or the next flight to wait for."""
        if flight.outcome is None and (why := flight.in_vain()):
            raise Unavailable(why, self.held.account.identity.host).to_exception()
        now = self.runtime.now()
        got = decide_after_wait(flight.outcome, now, deadline=deadline, end=flight.deadline, extra=flight.extra)
        if isinstance(got, Again):
            answer = self.join_or_start(late=got.late)
            if isinstance(answer, Flight):
                answer.extra |= got.stood
            return answer
        if isinstance(got, Token):
            return got
        raise (got or self.held.cache.no_answer()).to_exception()

    # a sign-in's course

    def run(self, flight: Flight) -> None:
        """Sign in, on the flight's own thread; publish events once its callers have been answered."""
        if not flight.claim():
            return
        try:
            with logs_held_back():
                events = self._run(flight)
            publish(events, self._on_event)
        finally:
            flight.published.happen()

    def _run(self, flight: Flight) -> list[Event]:
        began = self.runtime.monotonic()
        try:
            if self.held.cache.suspect:
                self._reread(flight)
            result = self.signer.sign_in(self._given(flight))
            news = self.held.cache.is_news(result)
            self._grants += result.requests > 0
            due = self.signer.events  # of before; the callers that are answered now may add to it
            events = exclusively(self.held.lock, lambda: [due.pop(0) for _ in range(len(due))])
            alive = self.held.finish(flight, result)
        except BaseException as error:
            self._end(flight, f"the sign-in was cut short ({type(error).__name__})")
            raise
        if self.held.closed:  # closing cuts a running request, which is no event
            return []
        if news:
            seconds = self.runtime.monotonic() - began
            event = Event("issued", self.held.account.identity.host, seconds, result.requests, self._grants)
            events += describe(event, result.outcome, alive)
        return events

    def _given(self, flight: Flight) -> SignIn:
        return SignIn(self.held.account, self.held.cache.record, flight.deadline, partial(self._reread, flight))

    def _reread(self, flight: Flight) -> SignIn | Unavailable | None:
        """Read the credentials' source; return as `SignIn.reread` does. The first failure in a row is an event."""
        found, before = self.held.account.reread(self._source), self._unreadable
        self._unreadable = isinstance(found, Unavailable)
        if isinstance(found, Unavailable):
            self.signer.events.extend([] if before else [Event("source_failed", found.host, reason=found.reason)])
            return found
        return self._given(flight) if found and self.held.move_to(found, flight.number) else None

    def _end(self, flight: Flight, reason: str) -> None:
        """End a flight that could not start, or that an interrupt or a bug has stopped: nobody waits for it."""
        who = self.held.account.identity
        self.held.finish(flight, Result(who.fingerprint, Unavailable(reason, who.host)))
        flight.published.happen()  # there is no event that closing has to wait for

    # 401s, resets, forks, ends

    def invalidate(self, token: Token) -> None:
        """Serve `token` no more if it is the one held."""

        def forget() -> None:
            cache = self.held.cache.rejected(token, self.runtime.now())
            if cache is not self.held.cache:
                self.held.change(cache)
                self.signer.events.append(Event("invalidated", self.held.account.identity.host, grants=self._grants))

        exclusively(self.held.lock, forget)

    def reject(self, token: Token, asked: float) -> None:
        """Invalidate `token`, which an API answered with 401, unless the server has answered it since `asked`."""
        if not self.held.cache.just_issued(token, asked, self.runtime.now()):
            self.invalidate(token)

    def reset(self) -> None:
        """Read the source, or raise as `read_source` does; forget the token, and let one more password through."""
        held = self.held.account
        changed = held.changed(partial(read_source, self._source) if self._source is not None else None)
        exclusively(self.held.lock, lambda: self.held.start_clean(self.held.cache.reset()))
        only_a_step = threading.RLock()  # excludes nobody, but what interrupts this thread must not wait for a sign-in
        for account in [held, changed] if changed and self.held.move_to(changed) else [held]:
            exclusively(only_a_step, partial(self.signer.reset, account))

    def inherit(self) -> None:
        """In a forked child: what is under way is the parent's."""
        self.held.inherit()
        self.signer.inherit()

    def close(self) -> None:
        """Forget the token, and cut the connections; events that are due are published first."""
        flight, ended = self.held.flight, self.held.ended
        if flight and flight.end <= self.runtime.monotonic():
            ended = flight  # its caller's time is over, too: an exit now would leave its attempt open, as a kill does
        if ended and not ended.runs_here():
            ended.published.wait(_EVENTS_DUE)
        self.held.close()
        if not self.held.inherited:  # the parent's connections
            self.held.account.gateway.close()
