"""One sign-in for all processes that share a store: the one with the lease asks, the others adopt what it saves.

A lease ends after 0.6 of the timeout and a grant under it after a half, so that a holder that was killed leaves the
others time for a grant of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from attrs import evolve

from enkash_auth._policy.cache import Result
from enkash_auth._policy.lifetime import NEVER, Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Refused, Unavailable
from enkash_auth._runtime import Runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._signin.account import Account
from enkash_auth._signin.direct import Direct, SignIn
from enkash_auth.events import Event
from enkash_auth.stores import Store, StoreError

from .entries import FOREIGN, Seen, adopt, merge, read_failure, read_record, write_failure, write_record
from .sealed import Sealed

_FOREVER = 10 * 365 * 86_400.0  # seconds that a refusal is kept
_MEMORY = 300.0  # seconds that failures in a row are counted after the last
_FIRST_POLL, _POLL = 0.1, 0.5  # seconds between two looks while a sibling signs in
_DOWN = 5.0  # seconds without a store that has failed


def look(store: Store, credentials: Credentials, runtime: Runtime) -> Seen:
    """Return what the store has of an account, and change nothing; raise `StoreError` if it does not answer."""
    try:
        return _look(Sealed(store, credentials, runtime), runtime.now(), None, draw=0.5)[0]
    except Exception as error:
        why = _named(error)
    raise StoreError(why)


class Shared:
    """Signs in through a store. `strict`: a store that fails is a failure, not a reason to go on without it."""

    def __init__(self, direct: Direct, store: Store, *, timeout: float, strict: bool) -> None:
        self._direct, self._runtime, self._store = direct, direct.runtime, store
        self._timeout, self._strict = timeout, strict
        self._down_until: float | None = None  # monotonic; None while the store answers
        self._reset_id: str | None = None  # the last reset that this process knows; "" if it knows that there is none
        self._refused = NEVER, ""  # the last refusal: when (monotonic), and the reset that it came after
        self._hung: list[Callable[[], bool]] = []  # a call of the store, as `Sealed` keeps it
        self._events: list[Event] = []

    def sign_in(self, given: SignIn) -> Result:
        """Do as `Direct.sign_in`, or adopt what a sibling has saved; then no request was sent."""
        runtime, host = self._runtime, given.account.identity.host
        if self._down_until is not None and runtime.monotonic() < self._down_until and not self._strict:
            return self._without_store(given)
        sealed = self._sealed(given.account)
        try:
            outcome, seen = self._adopt_or_lease(sealed, given)
            sticky = sealed.load("sticky") if sealed.held and outcome is None else None
            self._store_answered(host)
        except Exception as error:
            deadline = sealed.until(given.deadline, self._timeout / 2)  # before the lease is given back
            self._store_failed(error, given.account, sealed)
            if self._strict:
                return given.result(Unavailable(f"the token store failed ({_named(error)})", host))
            return self._without_store(evolve(given, deadline=deadline))
        now, reset_id = runtime.now(), self._reset_id or ""
        if outcome is None:
            result = self._under_lease(given, sealed, seen, sticky and now.monotonic + sticky[2])
        else:
            result = given.result(outcome)
        self._remember(result.outcome, reset_id)
        try:
            sealed.begin()
            if result.requests and isinstance(result.outcome, Refused) and result.outcome.final:
                self._look(sealed, now, None, reset=True)
            if result.requests and self._reset_id == reset_id:  # else it began before a reset, and writes nothing
                self._save(sealed, result.outcome, seen, sticky is not None)
            self._reset_id = reset_id  # a reset that came meanwhile is still new to this process
            sealed.release()
        except Exception as error:
            self._store_failed(error, given.account, sealed)
        return result

    def reopened(self, account: Account, refusal: Refused) -> bool:
        """Return whether these credentials work again, by a sibling's reset or token; else save the refusal."""
        before, (refused_at, reset_id) = self._reset_id, self._refused
        sealed, works = self._sealed(account), False
        try:
            now = self._runtime.now()
            seen = self._look(sealed, now, None, reset=True)
            record = seen.record
            works = bool(record and record.alive(now) and record.answered.monotonic > refused_at)
            if not works and seen.failure is None and self._reset_id == reset_id:
                sealed.save("stop", {**write_failure(refusal), "reset": reset_id}, _FOREVER)
            self._store_answered(account.identity.host)
        except Exception as error:
            self._store_failed(error, account, sealed)
        # a process that had not looked before its own refusal cannot know which came first
        return works or (before is not None and self._reset_id != before)

    def reset(self, account: Account) -> None:
        """Forget the account's token and its refusal, for all processes; raise `UnavailableError` if strict."""
        sealed, reset_id, why = self._sealed(account), secrets.token_hex(8), ""
        try:
            sealed.save("reset", {"id": reset_id}, _FOREVER)
            self._reset_id = reset_id
            sealed.delete("stop")
            sealed.delete("token")
        except Exception as error:
            self._store_failed(error, account, sealed)
            why = _named(error)
        if why and self._strict:
            raise Unavailable(f"the token store failed ({why})", account.identity.host).to_exception()

    def take_events(self) -> list[Event]:
        """Return what has happened to the store since the last time."""
        events, self._events = self._events, []
        return events

    # how

    def _adopt_or_lease(self, sealed: Sealed, given: SignIn) -> tuple[TokenRecord | Failure | None, Seen]:
        """Wait for a sibling's outcome or the lease, whichever comes first; no outcome means to sign in."""
        poll, runtime = _FIRST_POLL, self._runtime
        while True:
            now = runtime.now()
            seen = self._look(sealed, now, given.record, reset=sealed.held)
            if outcome := adopt(given.record, seen, now):
                return outcome, seen
            if sealed.held:  # this was the second look: a sibling may have saved between the first and the lease
                return None, seen
            if not sealed.lease(0.6 * self._timeout):
                # the holder itself waits until a sticky server's token has surely expired
                pause = poll * (0.5 + runtime.draw()) + (seen.record.seconds_until_request(now) if seen.record else 0.0)
                if now.monotonic + pause >= given.deadline:
                    return Unavailable("another process is signing in", sealed.host, late=True), seen
                runtime.pause(pause)
                poll = min(_POLL, 1.5 * poll)
                sealed.begin()

    def _under_lease(self, given: SignIn, sealed: Sealed, seen: Seen, sticky_until: float | None) -> Result:
        record = seen.record
        if record and sticky_until:
            record = evolve(record, sticky_until=sticky_until)
        deadline = sealed.until(given.deadline, self._timeout / 2)
        result = self._direct.sign_in(evolve(given, record=record, deadline=deadline))
        if isinstance(result.outcome, TokenRecord) and record is None and sticky_until:
            return evolve(result, outcome=evolve(result.outcome, sticky_until=sticky_until))
        return result

    def _without_store(self, given: SignIn) -> Result:
        self._reset_id = None  # a refusal may come before a sibling's reset or after it
        result = self._direct.sign_in(given)
        self._remember(result.outcome, "")
        return result

    def _remember(self, outcome: TokenRecord | Failure, reset_id: str) -> None:
        if isinstance(outcome, Refused) and outcome.final:
            self._refused = self._runtime.monotonic(), reset_id

    def _sealed(self, account: Account) -> Sealed:
        return Sealed(self._store, account.credentials, self._runtime, self._hung)

    def _look(self, sealed: Sealed, now: Moment, record: TokenRecord | None, *, reset: bool) -> Seen:
        seen, reset_id = _look(sealed, now, record, draw=self._runtime.draw(), reset=reset)
        self._reset_id = reset_id or self._reset_id or ""
        return seen

    def _save(self, sealed: Sealed, outcome: TokenRecord | Failure, seen: Seen, sticky: bool) -> None:
        """Save for the siblings; no newer entry is overwritten, for the lease still has to be held."""
        now, stamp = self._runtime.now(), {"reset": self._reset_id}
        if isinstance(outcome, TokenRecord):
            if not outcome.single_use or outcome.sticky(now):  # else it is for no sibling, and none waits for its end
                entry = write_record(outcome, now)
                sealed.save("token", entry, entry["upper"], now)
            if outcome.sticky(now) and not sticky:
                sealed.save("sticky", {}, outcome.sticky_until - now.monotonic, now)
            elif sticky and not outcome.sticky(now):
                sealed.delete("sticky")
            if seen.backoff.failures:
                sealed.save("stop", {}, _MEMORY, now)
        elif isinstance(outcome, Refused) and outcome.final:
            sealed.save("stop", {**write_failure(outcome), **stamp}, _FOREVER)  # a fact, also if the lease was lost
        else:
            backoff = seen.backoff.failed(outcome, now.monotonic, self._runtime.draw())
            entry = {**write_failure(outcome, backoff, now.monotonic), **stamp}
            sealed.save("stop", entry, entry["until"] + _MEMORY, now)

    def _store_answered(self, host: str) -> None:
        if self._down_until is not None:
            self._down_until = None
            self._events.append(Event("store_back", host))

    def _store_failed(self, error: Exception, account: Account, sealed: Sealed) -> None:
        with suppress(Exception):  # siblings wait for the lease
            sealed.release()
        if self._down_until is None:
            self._events.append(Event("store_down", account.identity.host, reason=_named(error)))
        self._down_until = self._runtime.monotonic() + _DOWN


def _look(
    sealed: Sealed, now: Moment, record: TokenRecord | None, *, draw: float, reset: bool = False
) -> tuple[Seen, str | None]:
    """Read the token, what blocks a sign-in, and the last reset: with `reset`, also where nothing blocks."""
    if found := sealed.load("token"):
        entry, age, _ = found
        with suppress(*FOREIGN):
            record = merge(record, read_record(entry, now.after(-age), draw))
    stop = sealed.load("stop")
    last = sealed.load("reset") if stop or reset else None
    reset_id = last and last[0].get("id")
    if stop and (not reset_id or stop[0].get("reset") == reset_id):  # else it is from before the reset
        entry, age, _ = stop
        with suppress(*FOREIGN):
            return read_failure(entry, record, now.monotonic - age, now.monotonic), reset_id
    return Seen(record), reset_id


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else type(error).__name__
