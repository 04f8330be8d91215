"""When the server is not asked (pure): the not-before gate, the second try, the 401 brake."""

from __future__ import annotations

from attrs import evolve, frozen

from ._freshness import Known, Moment
from ._outcome import Failure, Unavailable

_LONGEST_BACKOFF = 30.0  # seconds
LONGEST_RETRY_AFTER = 3600.0
_BUCKET, _REFILL = 2.0, 60.0  # two at once, one more a minute


@frozen
class Gate:
    """Shut after a failure until `opens` (monotonic seconds); callers meanwhile hear of that failure at once."""

    opens: float = float("-inf")
    failures: int = 0
    failure: Failure | None = None

    def failed(self, failure: Failure, now: float, draw: float) -> Gate:
        """Return the gate after one more failure in a row: 0.5 to 1 s, twice that each time, as `Retry-After` asks."""
        backoff = min(_LONGEST_BACKOFF, 2.0**self.failures) * (0.5 + draw / 2)
        asked = (isinstance(failure, Unavailable) and failure.retry_after) or 0.0
        return Gate(now + max(backoff, min(LONGEST_RETRY_AFTER, asked)), min(self.failures + 1, 10), failure)

    def stops(self, now: float) -> Failure | None:
        """Return the failure to tell while the gate is shut, None when it is open."""
        if self.failure is None or now >= self.opens:
            return None
        if isinstance(self.failure, Unavailable):
            return evolve(self.failure, retry_after=self.opens - now)
        return self.failure


def second_try(outcome: Known | Failure, now: Moment, left: float, draw: float) -> float | None:
    """Return the seconds to pause before the second and last request of a flight, None where there is none.

    Trouble is tried again, 0.1 to 0.5 s later (a server may answer 500 to a race of two grants) or as late as
    `Retry-After` asks; so is a sticky server's token in its last second, once it has ended. Half of the `left`
    seconds must remain for the answer.
    """
    if isinstance(outcome, Unavailable):
        pause = (0.1 if outcome.retry_after is None else outcome.retry_after) + 0.4 * draw
    elif isinstance(outcome, Known) and outcome.reissued and outcome.gap(now):
        pause = outcome.gap(now)
    else:
        return None
    return pause if pause < left / 2 else None


@frozen
class Brake:
    """A token bucket for invalidations, so that an API that always answers 401 does not cost a grant for each call."""

    level: float = _BUCKET
    at: float = float("-inf")

    def taken(self, now: float) -> Brake | None:
        """Return the brake after one more invalidation, None where it holds."""
        level = min(_BUCKET, self.level + max(0.0, now - self.at) / _REFILL)
        return Brake(level - 1, now) if level >= 1 else None
