"""All that a provider knows, as one frozen value, and the transitions between its states.

`ask` decides what a caller gets; every other method returns the value that comes after something has happened. The
engine applies them under its lock; nothing here waits, or reads a clock.
"""

from __future__ import annotations

from attrs import evolve, frozen

from .backoff import Backoff
from .brake import Brake
from .lifetime import LONG_AGO, Moment, TokenRecord, Verdict
from .outcome import Failure, Refused, Unavailable
from .sign_in import Identity, Pending, Result
from .token import Token
from .waited import excused

_REREAD = 5.0  # seconds between two looks at the source of refused credentials


@frozen
class Serve:
    """The caller gets this token, and so does every other until `until` (monotonic)."""

    token: Token
    until: float


@frozen
class Join:
    """The caller waits for the sign-in under way."""


@frozen
class Start:
    """A sign-in starts; the caller waits for it, unless there is a token to serve meanwhile."""

    meanwhile: Serve | None


@frozen
class Fail:
    """The caller gets an error at once: the server must not be asked now."""

    failure: Failure


@frozen
class TokenCache:
    """`rereads`: whether a limit on attempts may end by itself, by changed credentials or another process's reset."""

    identity: Identity
    timeout: float  # seconds that a sign-in may take
    rereads: bool = False
    suspect: bool = False  # whether the credentials may be wrong: their source is read before they are sent again
    record: TokenRecord | None = None
    pending: Pending | None = None
    backoff: Backoff = Backoff()
    brake: Brake = Brake()
    reread_at: float = LONG_AGO  # monotonic
    started_count: int = 0
    valid_from: int = 0  # a sign-in with a lower number began before a reset, and changes nothing

    # what a caller gets

    def ask(self, now: Moment, *, late: bool = False) -> Serve | Join | Start | Fail:
        """Decide for a caller. `late`: the sign-in that it waited for ran out of time, but the caller did not."""
        record = self.record
        verdict, until = record.verdict(now) if record else (Verdict.WAIT, LONG_AGO)
        if record is None or verdict is Verdict.WAIT:
            if self.pending:
                return Join()
            failure, _ = self._blocked(now.monotonic, late)
            return Fail(failure) if failure else Start(None)
        if verdict is Verdict.SERVE:
            return Serve(record.token, until)
        if self.pending:
            return Serve(record.token, min(until, self.pending.end.monotonic))
        failure, again = self._blocked(now.monotonic, late)
        if failure:
            return Serve(record.token, min(until, again))
        return Start(Serve(record.token, min(until, now.monotonic + self.timeout)))

    def _blocked(self, now: float, late: bool) -> tuple[Failure | None, float]:
        """Return why the server must not be asked, and the monotonic time when that is decided again."""
        failure, until = self.backoff.blocks(now), self.backoff.until
        if failure and failure.limit:
            if self.rereads:
                until = min(until, self.reread_at + _REREAD)
            return (failure if now < until else None), until
        if late and self.backoff.failures <= 1 and getattr(self.backoff.failure, "retry_after", None) is None:
            return None, now
        return failure, until

    # a sign-in's course

    def started(self, now: Moment) -> TokenCache:
        """A sign-in starts."""
        pending = Pending(self.started_count, now.after(self.timeout))
        reread_at = now.monotonic if self.suspect else self.reread_at
        return evolve(self, pending=pending, started_count=self.started_count + 1, reread_at=reread_at)

    def overdue(self, now: float) -> bool:
        """Whether the sign-in under way has to be given up."""
        return self.pending is not None and now >= self.pending.end.monotonic

    def given_up(self, now: Moment, draw: float) -> TokenCache:
        """The sign-in under way may never end: the next caller starts another."""
        assert self.pending
        failed = self.backoff.failed(self.no_answer(), now.monotonic, draw)
        return evolve(self, pending=None, backoff=self.backoff if excused(None, now, self.pending.end) else failed)

    def finished(self, number: int, result: Result, now: Moment, draw: float) -> TokenCache:
        """Sign-in `number` has ended. One that was given up still counts if it brings a final refusal."""
        outcome, current = result.outcome, self.pending is not None and self.pending.number == number
        if number < self.valid_from:
            return self
        if isinstance(outcome, TokenRecord):
            cache = evolve(self, pending=None, record=outcome, backoff=Backoff(), suspect=False)
            return cache if current else self
        final = isinstance(outcome, Refused) and outcome.final and result.fingerprint == self.identity.fingerprint
        if not current and not final:
            return self
        backoff, pending = self.backoff, None if current else self.pending
        waited = isinstance(outcome, Unavailable) and outcome.late and not result.requests  # which is no failure
        if not (waited or (self.pending and excused(outcome, now, self.pending.end))):
            backoff = backoff.failed(outcome, now.monotonic, draw, ours=result.requests > 0)
        suspect = self.suspect or isinstance(outcome, Refused) or outcome.limit is not None
        return evolve(self, pending=pending, backoff=backoff, suspect=suspect)

    def is_news(self, result: Result) -> bool:
        """Whether an outcome is an event: not if another process signs in, or the limit in force is repeated."""
        before, outcome = self.backoff.failure, result.outcome
        if result.requests or isinstance(outcome, TokenRecord):
            return True
        waited = isinstance(outcome, Unavailable) and outcome.late
        return not waited and not (outcome.limit and before and before.limit)

    def moved(self, identity: Identity, number: int) -> TokenCache:
        """Sign-in `number` uses other credentials; another account's token is dropped."""
        if number < self.valid_from:
            return self
        record = self.record if identity.account == self.identity.account else None
        return evolve(self, identity=identity, record=record, backoff=Backoff(), suspect=False)

    # 401s, resets, forks

    def rejected(self, token: Token, now: Moment) -> TokenCache:
        """An API said 401 to `token`: it is served no more if it is the one held, and the brake allows it.

        A token that has expired costs the brake nothing.
        """
        record = self.record
        if record is None or record.rejected or token.access_token != record.token.access_token:
            return self
        brake = self.brake.take(now.monotonic) if record.alive(now) else self.brake
        return evolve(self, record=evolve(record, rejected=True), brake=brake) if brake else self

    def just_issued(self, token: Token, asked: float, now: Moment) -> bool:
        """Whether `token` was issued since `asked` (monotonic), so that another sign-in would bring nothing new."""
        record = self.record
        if record is None or token.access_token != record.token.access_token:
            return False
        return record.answered.monotonic > asked and record.alive(now)

    def reset(self) -> TokenCache:
        """A person has reset: forget all; sign-ins under way change nothing any more."""
        return evolve(self.afresh(), backoff=Backoff(), suspect=True)

    def afresh(self) -> TokenCache:
        """Start anew, in a child, after closing or a reset: no sign-in is under way here; a limit on attempts stays."""
        limited = self.backoff.failure is not None and self.backoff.failure.limit is not None
        backoff, count = self.backoff if limited else Backoff(), self.started_count
        fresh = TokenCache(self.identity, self.timeout, self.rereads, self.suspect, backoff=backoff)
        return evolve(fresh, started_count=count, valid_from=count, reread_at=self.reread_at)

    def no_answer(self) -> Unavailable:
        return Unavailable(f"no answer within {self.timeout:g} s", self.identity.host, late=True)
