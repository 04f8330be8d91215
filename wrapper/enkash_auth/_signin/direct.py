"""A sign-in by this process alone."""

from attrs import evolve, field, frozen

from enkash_auth._policy.attempts import Decision
from enkash_auth._policy.backoff import second_request
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Unavailable
from enkash_auth._policy.sign_in import Result
from enkash_auth._runtime import Runtime
from enkash_auth.events import Event

from .account import Account, SignIn
from .attempts_file import Attempts


@frozen
class Direct:
    """Sends a sign-in's one or two token requests, each as an attempt that is written before its password leaves."""

    runtime: Runtime
    attempts: Attempts
    events: list[Event] = field(factory=list)  # not published yet

    def sign_in(self, given: SignIn) -> Result:
        """Return how it ended, and how many requests were sent."""
        now = self.runtime.now()
        left = now.until(given.deadline)
        pause = given.record.seconds_until_request(now, left) if given.record else 0.0
        if left <= pause:
            reason = "the server re-issues its current token until that expires" if pause else "no time was left"
            return given.result(Unavailable(reason, given.account.identity.host, pause))
        first = self._attempt(given, now, pause)
        now = self.runtime.now()
        again = second_request(first.outcome, now, now.until(given.deadline), self.runtime.draw(), before=given.record)
        if again is None or not first.requests or first.fingerprint != given.account.identity.fingerprint:
            return first
        if isinstance(first.outcome, TokenRecord):
            given = evolve(given, record=first.outcome)
        second = self._attempt(given, now, again)
        return evolve(second, requests=first.requests + second.requests)

    def _attempt(self, given: SignIn, now: Moment, pause: float) -> Result:
        """Send one request that leaves `pause` seconds after `now`, if the attempts so far allow it."""
        self.runtime.pause(max(0.0, pause - given.account.gateway.lead))
        fingerprint, host = given.account.identity.fingerprint, given.account.identity.host
        begun = self.attempts.begin(fingerprint, given.deadline)
        if isinstance(begun, Decision) and begun.row is Kind.RESET:  # in another process
            if changed := given.reread():
                return self.sign_in(changed) if isinstance(changed, SignIn) else given.result(changed)
            begun = self.attempts.begin(fingerprint, given.deadline, read=True)
        if isinstance(begun, Decision):
            return given.result(evolve(begun, kept=not self.attempts.trouble).failure(host, self.runtime.monotonic()))
        outcome, answer = self.request(given, now.monotonic + pause)
        decision = self.attempts.record(fingerprint, begun.answered(answer))
        if not isinstance(outcome, TokenRecord):
            outcome = evolve(decision, kept=not self.attempts.trouble).limiting(outcome, self.runtime.monotonic())
        return given.result(outcome, 1)

    def request(self, given: SignIn, leaves: float) -> tuple[TokenRecord | Failure, Answer]:
        """Send one token request that leaves at a time (monotonic), and nothing if its time is over."""
        reply = given.account.gateway.grant(given.deadline, self.runtime, leaves)
        if not isinstance(reply.outcome, Issued):
            return reply.outcome, reply.answer
        answered, draw = self.runtime.now(), self.runtime.draw()
        record = TokenRecord.from_answer(reply.outcome, reply.sent, answered, before=given.record, draw=draw)
        return record, reply.answer

    def reset(self, account: Account) -> None:
        """Let one more password through, for all processes of this user; raise `UnavailableError` if it is locked."""
        if not self.attempts.reset(account.identity.fingerprint):
            reason = f"nothing was reset, for another process keeps {self.attempts.path} locked: end that process"
            raise Unavailable(reason, account.identity.host).to_exception()

    def inherit(self) -> None:
        self.attempts.inherit()
