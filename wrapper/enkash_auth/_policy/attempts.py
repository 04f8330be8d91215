"""How often a password may be sent: the attempts since the last success, how each was answered, what that allows.

The vendor locks an account after three failures in a row, and no page says how a failure looks. So what counts is not
the shape of an answer but the passwords that have left.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

from attrs import asdict, evolve, frozen

from .classification import Answer, Kind, classify
from .lifetime import LONG_AGO, Moment
from .outcome import Failure, Limit, Refused, Unavailable


class Row(NamedTuple):
    """Forbids the next attempt, for a while or for good, if it fits the kinds of those before it, oldest first."""

    kind: Kind
    fits: Callable[[list[Kind]], bool]
    final: bool = False


# the first row that fits forbids the next password; if no row fits, the password may leave
UNPROVEN = (
    Row(Kind.CLEAR, lambda kinds: Kind.CLEAR in kinds, final=True),
    Row(Kind.CLIENT, lambda kinds: Kind.CLIENT in kinds, final=True),
    Row(Kind.MAYBE, lambda kinds: Kind.MAYBE in kinds and len(kinds) > 1, final=True),
    Row(Kind.OPEN, lambda kinds: Kind.OPEN in kinds and len(kinds) > 1, final=True),
    Row(Kind.MAYBE, lambda kinds: Kind.MAYBE in kinds),
    Row(Kind.UNKNOWN, lambda kinds: len(kinds) > 1),
)
PROVEN = (
    Row(Kind.CLEAR, lambda kinds: Kind.CLEAR in kinds, final=True),
    Row(Kind.MAYBE, lambda kinds: bool({Kind.MAYBE, Kind.RESET} & {*kinds[:-1]}), final=True),  # one more was sent
    Row(Kind.MAYBE, lambda kinds: Kind.MAYBE in kinds),
    Row(Kind.CLIENT, lambda kinds: Kind.CLIENT in kinds),
    Row(Kind.OPEN, lambda kinds: len(kinds) > 1),
)
PAUSES = (60.0, 300.0, 600.0, 1200.0, 1800.0)  # seconds from the start of the last of one attempt, of two, …
_CLEARLY = 60.0  # seconds on both clocks
_MOST = 100  # attempts that are kept, far more than the rows look at: a store's entry has a largest size
_BEFORE_ALL = Moment(LONG_AGO, LONG_AGO)


@frozen
class Attempt:
    """A password that has left, or may have. `owner` tells processes without a store whether its process runs."""

    id: str
    number: int
    start: Moment
    kind: Kind = Kind.OPEN
    reset: str = ""  # the id of the last reset before it
    status: int = 0
    error: str | None = None
    owner: tuple[int, ...] = ()

    def answered(self, answer: Answer) -> Attempt:
        return evolve(self, kind=classify(answer), status=answer.status, error=answer.error)

    def cleared_by(self, success: Attempt) -> bool:
        """Whether it is older, by number and by time, or clearly by time: in an emptied store numbers begin anew."""
        older = self.number < success.number and success.start.until(self.start) <= 0
        return older or self.start.until(success.start) > _CLEARLY


def newest(attempts: list[Attempt]) -> list[Attempt]:
    """Return attempts without the oldest of very many; those stay that forbid passwords for good, or may come to."""
    old = [one.id for one in attempts if one.kind not in (Kind.CLEAR, Kind.MAYBE, Kind.RESET)][:-_MOST]
    return [one for one in attempts if one.id not in old]


@frozen
class Decision:
    """Whether the next password may leave; if not, by which row, and until when (monotonic) unless it is final."""

    passwords: int  # that left since the last success or reset
    row: Kind | None = None  # None: the next may leave
    final: bool = False
    until: float = LONG_AGO
    attempt: Attempt | None = None  # that decided; None with a row: attempts of living siblings have to end first
    kept: bool = True  # whether the count outlives the process

    def limit(self, now: float) -> Limit | None:
        """Return what is told to callers: None if the next password may leave."""
        if self.row is None or self.attempt is None:
            return None
        return Limit(self.row, self.passwords, None if self.final else max(0.0, self.until - now), self.kept)

    def failure(self, host: str, now: float) -> Failure:
        """Return what callers get instead of an attempt."""
        if self.attempt is None:
            return Unavailable("other processes are signing in", host, late=True)
        status, limit = self.attempt.status, self.limit(now)
        if self.final or 200 <= status < 500:
            return Refused(status, self.attempt.error, self.final, host, limit)
        reason = f"status {status}" if status else "no answer came to the last request"
        return Unavailable(reason, host, limit.seconds if limit else None, limit=limit)

    def limiting(self, failure: Failure, now: float) -> Failure:
        """Return a failure together with what the ledger allows next."""
        failure = evolve(failure, limit=self.limit(now))
        return evolve(failure, final=self.final) if isinstance(failure, Refused) else failure


@frozen
class Ledger:
    """These credentials' attempts since the last success or reset, oldest first. `proven`: there was a success."""

    attempts: tuple[Attempt, ...] = ()
    proven: bool = False
    reset: str = ""  # the id of the last reset
    cleared: int = 0  # the number of the last attempt that a success has cleared
    cleared_at: Moment = _BEFORE_ALL  # when that started

    def decide(self, now: Moment, running: Container[str] = ()) -> Decision:
        """Decide on the next attempt. `running`: the ids of open attempts that may still be answered."""
        known = [one for one in self.attempts if one.kind is not Kind.OPEN or one.id not in running]
        kinds, passwords = [one.kind for one in known], sum(one.kind is not Kind.RESET for one in self.attempts)
        row = next((row for row in (PROVEN if self.proven else UNPROVEN) if row.fits(kinds)), None)
        if row:
            pause = PAUSES[min(len(known), len(PAUSES)) - 1]
            until = max(one.start.monotonic for one in known) + pause  # numbers begin anew in an emptied store
            if row.final or now.monotonic < until:
                attempt = ([one for one in known if one.kind is row.kind] or known)[-1]
                return Decision(passwords, row.kind, row.final, until, attempt)
        waits = len(self.attempts) > max(1, len(known))
        return Decision(passwords, Kind.OPEN if waits else None)

    def started(self, id: str, now: Moment, owner: tuple[int, ...] = ()) -> tuple[Ledger, Attempt]:
        """Return the ledger with one more attempt, to be saved before its password leaves."""
        attempt = Attempt(id, self._next, now, reset=self.reset, owner=owner)
        return evolve(self, attempts=tuple(newest([*self.attempts, attempt]))), attempt

    def answered(self, attempt: Attempt) -> Ledger:
        """Return the ledger with an attempt's answer, unless that was cleared; put back one whose save was lost."""
        stands, cleared, cleared_at = attempt.reset == self.reset, self.cleared, self.cleared_at
        later = cleared_at.until(attempt.start) > 0  # a process without its store goes on with the numbers it knows
        old = attempt.start.until(cleared_at) > 0 or (attempt.number <= cleared and not later)
        others = [one for one in self.attempts if one.id != attempt.id]
        proven = self.proven or attempt.kind is Kind.SUCCESS
        if attempt.kind is Kind.SUCCESS and stands:
            others = [one for one in others if one.kind is not Kind.RESET]  # it began after that, whoever reads it anew
            others = [one for one in others if not one.cleared_by(attempt)]
            cleared, cleared_at = max(cleared, attempt.number), max(cleared_at, attempt.start)
        elif attempt.kind is Kind.SUCCESS:
            others = list(self.attempts)
        elif not stands or (old and len(others) == len(self.attempts)):
            return self
        elif attempt.kind is not Kind.REMOVED:
            others = newest(sorted([*others, attempt], key=lambda one: (one.number, one.start)))
        if proven and not any(one.kind in (Kind.MAYBE, Kind.CLIENT) for one in others):
            others = [one for one in others if one.kind is not Kind.UNKNOWN]  # an outage by itself
        return Ledger(tuple(others), proven, self.reset, cleared, cleared_at)

    def after_reset(self, id: str, now: Moment) -> Ledger:
        """Return the ledger as the reset leaves it: with room for one password, its proof kept."""
        if id in ("", self.reset):
            return self
        return evolve(self, attempts=(Attempt(id, self._next, now, Kind.RESET, id),), reset=id)

    @property
    def _next(self) -> int:
        return max([self.cleared, *(one.number for one in self.attempts)]) + 1

    def to_entry(self, now: Moment) -> dict[str, Any]:
        """Return plain data for a store, its times relative to `now`."""
        attempts = [{**asdict(one), "start": one.start.monotonic - now.monotonic} for one in self.attempts]
        return {**asdict(self), "attempts": attempts, "cleared_at": self.cleared_at.monotonic - now.monotonic}

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], saved: Moment) -> Ledger:
        """Read what was saved then; raise `KeyError`, `TypeError` or `ValueError` if it is no ledger."""

        def attempt(start: float, kind: str, owner: list[int], **fields: Any) -> Attempt:
            return Attempt(start=saved.after(min(0.0, start)), kind=Kind(kind), owner=tuple(owner), **fields)

        attempts = tuple(attempt(**one) for one in entry["attempts"])
        cleared_at = saved.after(min(0.0, entry["cleared_at"]))
        return cls(attempts, bool(entry["proven"]), str(entry["reset"]), int(entry["cleared"]), cleared_at)
