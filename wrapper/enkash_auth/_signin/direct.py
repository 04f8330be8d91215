"""A sign-in by this process alone."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from enkash_auth._policy.backoff import second_request
from enkash_auth._policy.cache import Result
from enkash_auth._policy.lifetime import TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Refused, Unavailable
from enkash_auth._runtime import Runtime
from enkash_auth.events import Event

from .account import Account


@frozen
class SignIn:
    """What a sign-in needs: `deadline` is monotonic; `refusal` says what one that was given up has brought."""

    account: Account
    record: TokenRecord | None
    deadline: float
    refusal: Callable[[], Refused | None]

    def result(self, outcome: TokenRecord | Failure, requests: int = 0) -> Result:
        return Result(self.account.identity.fingerprint, outcome, requests)


@frozen
class Direct:
    """Sends a sign-in's one or two token requests."""

    runtime: Runtime

    def sign_in(self, given: SignIn) -> Result:
        """Return how it ended, and how many requests were sent."""
        now, host = self.runtime.now(), given.account.identity.host
        pause = given.record.seconds_until_next(now) if given.record else 0.0
        if now.monotonic + pause >= given.deadline:
            return given.result(Unavailable("the server re-issues its current token until that expires", host, pause))
        self.runtime.pause(pause)
        first = self._request(given)
        now = self.runtime.now()
        again = second_request(first.outcome, now, given.deadline - now.monotonic, self.runtime.draw())
        if again is None or (pause and isinstance(first.outcome, TokenRecord)):
            return first
        self.runtime.pause(again)
        if isinstance(first.outcome, TokenRecord):
            given = evolve(given, record=first.outcome)
        second = self._request(given)
        return evolve(second, requests=first.requests + second.requests)

    def reopened(self, account: Account, refusal: Refused) -> bool:
        return False

    def reset(self, account: Account) -> None:
        pass

    def take_events(self) -> list[Event]:
        return []

    def _request(self, given: SignIn) -> Result:
        if refusal := given.refusal():
            return given.result(refusal)
        started = self.runtime.now()
        if started.monotonic >= given.deadline:  # this thread was stopped for a while; another sign-in runs by now
            return given.result(Unavailable("no time was left", given.account.identity.host, late=True))
        outcome = given.account.gateway.grant(given.deadline - started.monotonic)
        if isinstance(outcome, Issued):
            answered, draw = self.runtime.now(), self.runtime.draw()
            record = TokenRecord.from_answer(outcome, started, answered, before=given.record, draw=draw)
            return given.result(record, 1)
        return given.result(outcome, 1)
