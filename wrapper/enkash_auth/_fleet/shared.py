"""One sign-in for all processes that share a store: who holds the lease asks, the others take what it brings.

A lease ends after 0.6 of the timeout and a grant under it after a half, so that a holder that was killed leaves the
others time for one of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import evolve

from .._signin.direct import Account, Alone
from .._settings.credentials import Credentials
from .entries import FOREIGN, Seen, adopt, merge, read_record, read_stop, write_failure, write_record
from .._policy.lifetime import TokenRecord, Moment
from .._policy.outcome import Failure, Refused, Unavailable
from .._runtime import Runtime
from .sealed import Sealed
from ..events import Event
from ..stores import Store, StoreError

_FOREVER = 10 * 365 * 86_400.0  # seconds that a refusal is kept
_MEMORY = 300.0  # seconds that failures in a row are counted after the last
_FIRST_POLL, _POLL = 0.1, 0.5  # seconds between two looks while a sibling signs in
_DOWN = 5.0  # seconds without a store that has failed


class Fleet(Alone):
    """Signs in through a store. `strict`: a store that fails is a failure, instead of a reason to go on without it."""

    def __init__(self, store: Store, timeout: float, strict: bool) -> None:
        self.store, self._store = store, store
        self._timeout, self._strict = timeout, strict
        self._down_until: float | None = None  # monotonic; None while the store answers
        self._opened: str | None = None  # the last reset that this process knows; "" where it knows of none
        self._refused = float("-inf"), ""  # the last refusal: when (monotonic), and after which reset it was asked for
        self._hung: list[Callable[[], bool]] = []  # a call of the store, as `Sealed` keeps it
        self._news: list[Event] = []

    def news(self) -> list[Event]:
        """Return what has happened to the store since the last time."""
        news, self._news = self._news, []
        return news

    def _sealed(self, credentials: Credentials, runtime: Runtime) -> Sealed:
        return Sealed(self._store, credentials, runtime, self._hung)

    def look(self, credentials: Credentials, runtime: Runtime) -> Seen:
        """Return what the store has of an account, and change nothing; raise `StoreError` where it does not answer."""
        try:
            return self._look(self._sealed(credentials, runtime), None, runtime.now(), 0.5)
        except Exception as error:
            why = _named(error)
        raise StoreError(why)

    def sign_in(
        self, account: Account, known: TokenRecord | None, end: float, runtime: Runtime, refused: Mapping[str, Refused]
    ) -> tuple[TokenRecord | Failure, int]:
        """Do as `Account.sign_in`, or bring what a sibling has; then no request was sent."""
        if self._down_until is not None and runtime.monotonic() < self._down_until and not self._strict:
            return self._alone(account, known, end, runtime, refused)
        sealed = self._sealed(account.credentials, runtime)
        try:
            outcome, seen = self._board(sealed, known, end, runtime)
            sticky = sealed.load("sticky") if sealed.held and outcome is None else None
            self._answers(account.exchange.host)
        except Exception as error:
            end = sealed.until(end, self._timeout / 2)
            self._fails(error, account, runtime, sealed)
            if self._strict:
                return Unavailable(f"the token store failed ({_named(error)})", account.exchange.host), 0
            return self._alone(account, known, end, runtime, refused)
        requests, now, opened = 0, runtime.now(), self._opened or ""
        known = seen.known
        if outcome is None:
            if known and sticky:
                known = evolve(known, sticky_until=now.monotonic + sticky[2])
            limit = sealed.until(end, self._timeout / 2)
            outcome, requests = account.sign_in(known, limit, runtime, refused)
            if isinstance(outcome, TokenRecord) and known is None and sticky:
                outcome = evolve(outcome, sticky_until=now.monotonic + sticky[2])
        self._remember(outcome, opened, runtime)
        try:
            sealed.begin()
            if requests and isinstance(outcome, Refused) and outcome.final:
                self._look(sealed, None, now, 0.0, opened=True)
            if requests and self._opened == opened:  # else it was begun before a reset, and writes nothing
                _share(sealed, outcome, seen, sticky is not None, opened, runtime)
            self._opened = opened  # a reset that came meanwhile is news for this process, too
            sealed.release()
        except Exception as error:
            self._fails(error, account, runtime, sealed)
        return outcome, requests

    def _alone(
        self, account: Account, known: TokenRecord | None, end: float, runtime: Runtime, refused: Mapping[str, Refused]
    ) -> tuple[TokenRecord | Failure, int]:
        self._opened = None  # a refusal may come before a sibling's reset or after it
        outcome, requests = account.sign_in(known, end, runtime, refused)
        self._remember(outcome, "", runtime)
        return outcome, requests

    def _remember(self, outcome: TokenRecord | Failure, opened: str, runtime: Runtime) -> None:
        if isinstance(outcome, Refused) and outcome.final:
            self._refused = runtime.monotonic(), opened

    def _board(
        self, sealed: Sealed, known: TokenRecord | None, end: float, runtime: Runtime
    ) -> tuple[TokenRecord | Failure | None, Seen]:
        """Wait for a sibling's outcome or the lease, whichever comes first; no outcome means to sign in."""
        poll = _FIRST_POLL
        while True:
            now = runtime.now()
            seen = self._look(sealed, known, now, runtime.draw(), opened=sealed.held)
            if outcome := adopt(known, seen, now):
                return outcome, seen
            if sealed.held:  # and this was the second look: a sibling may have landed between the first and the lease
                return None, seen
            if not sealed.lease(0.6 * self._timeout):
                # before a sticky server's token has ended for certain, the sibling waits itself
                pause = poll * (0.5 + runtime.draw()) + (seen.known.gap(now) if seen.known else 0.0)
                if now.monotonic + pause >= end:
                    return Unavailable("another process is signing in", sealed.host, late=True), seen
                runtime.pause(pause)
                poll = min(_POLL, 1.5 * poll)
                sealed.begin()

    def _look(self, sealed: Sealed, known: TokenRecord | None, now: Moment, draw: float, *, opened: bool = False) -> Seen:
        """Read the token and what stops a sign-in; with `opened`, the last reset also where nothing does."""
        if found := sealed.load("token"):
            entry, age, _ = found
            with suppress(*FOREIGN):
                known = merge(known, read_record(entry, now.after(-age), draw))
        stop = sealed.load("stop")
        reset = sealed.load("reset") if stop or opened else None
        self._opened = (reset and reset[0].get("opened")) or self._opened or ""
        if stop and (reset is None or stop[0].get("opened") == self._opened):  # else it is from before the reset
            entry, age, _ = stop
            with suppress(*FOREIGN):
                return read_stop(entry, known, now.monotonic - age, now.monotonic)
        return Seen(known)

    def reopened(self, account: Account, refusal: Refused, runtime: Runtime) -> bool:
        """Return whether these credentials work again, by a sibling's reset or token; else let the store know."""
        before, (refused, opened) = self._opened, self._refused
        sealed, works = self._sealed(account.credentials, runtime), False
        try:
            now = runtime.now()
            seen = self._look(sealed, None, now, 0.0, opened=True)
            works = bool(seen.known and seen.known.alive(now) and seen.known.answered.monotonic > refused)
            if not works and seen.stop is None and self._opened == opened:
                sealed.save("stop", {**write_failure(refusal), "opened": opened}, _FOREVER)
            self._answers(account.exchange.host)
        except Exception as error:
            self._fails(error, account, runtime, sealed)
        # a process that had not looked before its own refusal cannot know which came first
        return works or (before is not None and self._opened != before)

    def reset(self, account: Account, runtime: Runtime) -> None:
        """Forget the account's token and its refusal, for all processes."""
        sealed, opened, why = self._sealed(account.credentials, runtime), secrets.token_hex(8), ""
        try:
            sealed.save("reset", {"opened": opened}, _FOREVER)
            self._opened = opened
            sealed.delete("stop")
            sealed.delete("token")
        except Exception as error:
            self._fails(error, account, runtime, sealed)
            why = _named(error)
        if why and self._strict:
            raise Unavailable(f"the token store failed ({why})", account.exchange.host).to_exception()

    def _answers(self, host: str) -> None:
        if self._down_until is not None:
            self._down_until = None
            self._news.append(Event("store_back", host))

    def _fails(self, error: Exception, account: Account, runtime: Runtime, sealed: Sealed) -> None:
        with suppress(Exception):  # siblings wait for the lease
            sealed.release()
        if self._down_until is None:
            self._news.append(Event("store_down", account.exchange.host, reason=_named(error)))
        self._down_until = runtime.monotonic() + _DOWN


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else type(error).__name__


def _share(sealed: Sealed, outcome: TokenRecord | Failure, seen: Seen, sticky: bool, opened: str, runtime: Runtime) -> None:
    """Tell the siblings; nobody's newer word is overwritten, for the lease has to be held still."""
    now = runtime.now()
    if isinstance(outcome, TokenRecord):
        if not outcome.single_use or outcome.sticky(now):  # else it is no sibling's, and none has to wait for its end
            entry = write_record(outcome, now)
            sealed.save("token", entry, entry["upper"], now)
        if outcome.sticky(now) and not sticky:
            sealed.save("sticky", {}, outcome.sticky_until - now.monotonic, now)
        elif sticky and not outcome.sticky(now):
            sealed.delete("sticky")
        if seen.gate.failures:
            sealed.save("stop", {}, _MEMORY, now)
    elif isinstance(outcome, Refused) and outcome.final:
        entry = {**write_failure(outcome), "opened": opened}
        sealed.save("stop", entry, _FOREVER)  # also when the lease was lost: it is a fact
    else:
        gate = seen.gate.failed(outcome, now.monotonic, runtime.draw())
        entry = {**write_failure(outcome, gate, now.monotonic), "opened": opened}
        sealed.save("stop", entry, entry["opens"] + _MEMORY, now)
