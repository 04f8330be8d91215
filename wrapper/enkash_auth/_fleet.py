"""One sign-in for all processes that share a store: who holds the lease asks, the others take what it brings.

A lease ends after 0.6 of the timeout and a grant under it after a half, so that a holder that was killed leaves the
others time for one of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from attrs import evolve

from ._account import Account, Alone
from ._entries import Seen, adopt, merge, read_known, read_stop, write_failure, write_known
from ._freshness import Known, Moment
from ._outcome import Failure, Refused, Unavailable
from ._outside import Outside
from ._sealed import Sealed
from .events import Event
from .stores import Lock, Store, StoreError

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
        self._news: list[Event] = []

    def news(self) -> list[Event]:
        """Return what has happened to the store since the last time."""
        news, self._news = self._news, []
        return news

    def sign_in(
        self, account: Account, known: Known | None, end: float, outside: Outside, refused: Mapping[str, Refused]
    ) -> tuple[Known | Failure, int]:
        """Do as `Account.sign_in`, or bring what a sibling has; then no request was sent."""
        if self._down_until is not None and outside.monotonic() < self._down_until and not self._strict:
            return self._alone(account, known, end, outside, refused)
        sealed = Sealed(self._store, account.credentials, outside)
        try:
            outcome, seen, lock = self._board(sealed, known, end, outside)
            sticky = sealed.load("sticky") if lock and outcome is None else None
            self._answers(account.exchange.host)
        except Exception as error:
            self._fails(error, account, outside)
            if self._strict:
                return Unavailable(f"the token store failed ({_named(error)})", account.exchange.host), 0
            return self._alone(account, known, end, outside, refused)
        requests, now, opened = 0, outside.now(), self._opened
        known = seen.known
        if outcome is None:
            if known and sticky:
                known = evolve(known, sticky_until=now.monotonic + sticky[2])
            limit = min(end, now.monotonic + self._timeout / 2)
            outcome, requests = account.sign_in(known, limit, outside, refused)
            if isinstance(outcome, Known) and known is None and sticky:
                outcome = evolve(outcome, sticky_until=now.monotonic + sticky[2])
        try:
            if lock:
                if isinstance(outcome, Refused) and outcome.final:
                    self._look(sealed, None, now, 0.0)
                if requests and self._opened == opened:  # else it was begun before a reset, and writes nothing
                    _share(sealed, outcome, seen, sticky is not None, lock, outside)
                sealed.release(lock)
        except Exception as error:
            self._fails(error, account, outside)
        return outcome, requests

    def _alone(
        self, account: Account, known: Known | None, end: float, outside: Outside, refused: Mapping[str, Refused]
    ) -> tuple[Known | Failure, int]:
        self._opened = None  # a refusal may come before a sibling's reset or after it
        return account.sign_in(known, end, outside, refused)

    def _board(
        self, sealed: Sealed, known: Known | None, end: float, outside: Outside
    ) -> tuple[Known | Failure | None, Seen, Lock | None]:
        """Wait for a sibling's outcome or the lease, whichever comes first; no outcome means to sign in."""
        poll, lock = _FIRST_POLL, None
        while True:
            now = outside.now()
            seen = self._look(sealed, known, now, outside.draw())
            if outcome := adopt(known, seen, now):
                return outcome, seen, lock
            if lock:  # and this was the second look: a sibling may have landed between the first and the lease
                return None, seen, lock
            lock = sealed.lock(0.6 * self._timeout)
            if lock is None:
                # before a sticky server's token has ended for certain, the sibling waits itself
                pause = poll * (0.5 + outside.draw()) + (seen.known.gap(now) if seen.known else 0.0)
                if now.monotonic + pause >= end:
                    return Unavailable("another process is signing in", sealed.host, late=True), seen, None
                outside.pause(pause)
                poll = min(_POLL, 1.5 * poll)

    def _look(self, sealed: Sealed, known: Known | None, now: Moment, draw: float) -> Seen:
        if found := sealed.load("token"):
            entry, age, _ = found
            known = merge(known, read_known(entry, now.after(-age), draw))
        stop = sealed.load("stop")
        if stop and (opened := stop[0].get("opened")):
            self._opened, stop = opened, None
        self._opened = self._opened or ""
        if stop is None:
            return Seen(known)
        entry, age, _ = stop
        return read_stop(entry, known, now.monotonic - age, now.monotonic)

    def reopened(self, account: Account, refusal: Refused, outside: Outside) -> bool:
        """Return whether a sibling has reset this refusal since; if the store does not know it, tell it."""
        before, sealed = self._opened, Sealed(self._store, account.credentials, outside)
        try:
            now = outside.now()
            seen = self._look(sealed, None, now, 0.0)
            if seen.stop is None and self._opened == before:
                sealed.save("stop", write_failure(refusal), _FOREVER)
            self._answers(account.exchange.host)
        except Exception as error:
            self._fails(error, account, outside)
        # a process that had not looked before its own refusal cannot know which came first
        return before is not None and self._opened != before

    def reset(self, account: Account, outside: Outside) -> None:
        """Forget the account's token and its refusal, for all processes."""
        sealed, opened = Sealed(self._store, account.credentials, outside), secrets.token_hex(8)
        try:
            sealed.delete("token")
            sealed.save("stop", {"opened": opened}, _FOREVER)
            self._opened = opened
        except Exception as error:
            self._fails(error, account, outside)
            if self._strict:
                raise Unavailable(f"the token store failed ({_named(error)})", account.exchange.host).raised() from None

    def _answers(self, host: str) -> None:
        if self._down_until is not None:
            self._down_until = None
            self._news.append(Event("store_back", host))

    def _fails(self, error: Exception, account: Account, outside: Outside) -> None:
        if self._down_until is None:
            self._news.append(Event("store_down", account.exchange.host, reason=_named(error)))
        self._down_until = outside.monotonic() + _DOWN


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else type(error).__name__


def _share(sealed: Sealed, outcome: Known | Failure, seen: Seen, sticky: bool, lock: Lock, outside: Outside) -> None:
    """Tell the siblings; nobody's newer word is overwritten, for the lease has to be held still."""
    now = outside.now()
    if isinstance(outcome, Known):
        entry = write_known(outcome, now)
        sealed.save("token", entry, entry["upper"], lock)
        if outcome.sticky(now) and not sticky:
            sealed.save("sticky", {}, outcome.sticky_until - now.monotonic, lock)
        elif sticky and not outcome.sticky(now):
            sealed.delete("sticky")
        if seen.gate.failures:
            sealed.delete("stop")
    elif isinstance(outcome, Refused) and outcome.final:
        sealed.save("stop", write_failure(outcome), _FOREVER)  # also when the lease was lost: it is a fact
    else:
        gate = seen.gate.failed(outcome, now.monotonic, outside.draw())
        entry = write_failure(outcome, gate, now.monotonic)
        sealed.save("stop", entry, entry["opens"] + _MEMORY, lock)
