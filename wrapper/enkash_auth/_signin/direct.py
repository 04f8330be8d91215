"""A sign-in by this process alone."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from enkash_auth._policy.backoff import second_request
from enkash_auth._policy.cache import Result
from enkash_auth._policy.lifetime import Moment, TokenRecord
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
        now, host, record = self.runtime.now(), given.account.identity.host, given.record
        pause, left = record.seconds_until_request(now) if record else 0.0, given.deadline - now.monotonic
        looks = record is not None and record.alive(now)
        if looks and pause >= left / 2:
            pause = pause % 1.0 if left > 2 else 0.0
        if pause >= left:
            return given.result(Unavailable("the server re-issues its current token until that expires", host, pause))
        first = self._request(given, now.monotonic + pause)
        now = self.runtime.now()
        again = second_request(first.outcome, now, given.deadline - now.monotonic, self.runtime.draw())
        if again is None:
            return first
        if isinstance(first.outcome, TokenRecord):
            given = evolve(given, record=first.outcome)
        second = self._request(given, now.monotonic + again)
        return evolve(second, requests=first.requests + second.requests)

    def reopened(self, account: Account, refusal: Refused) -> bool:
        return False

    def reset(self, account: Account) -> None:
        pass

    def take_events(self) -> list[Event]:
        return []

    def _request(self, given: SignIn, at: float) -> Result:
        """Send a token request whose header leaves at a time (monotonic)."""
        runtime, gateway, left = self.runtime, given.account.gateway, list[Moment]()

        def leave() -> None:
            if (pause := at - runtime.monotonic()) > 0:
                runtime.pause(pause)
            left.append(runtime.now())

        if (pause := at - gateway.lead - runtime.monotonic()) > 0:
            runtime.pause(pause)
        if refusal := given.refusal():
            return given.result(refusal)
        started = runtime.now()
        if started.monotonic >= given.deadline:  # this thread was stopped for a while; another sign-in runs by now
            return given.result(Unavailable("no time was left", given.account.identity.host, late=True))
        outcome = gateway.grant(given.deadline - started.monotonic, leave)
        if isinstance(outcome, Issued):
            answered, draw = runtime.now(), runtime.draw()
            record = TokenRecord.from_answer(outcome, (left or [started])[-1], answered, before=given.record, draw=draw)
            return given.result(record, 1)
        return given.result(outcome, 1)
