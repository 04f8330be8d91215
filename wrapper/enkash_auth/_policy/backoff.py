"""When the server is asked again after it did not answer: the back-off, and a sign-in's second request."""

from attrs import evolve, frozen

from .lifetime import LONG_AGO, Moment, TokenRecord
from .outcome import Failure, Malformed, Refused, Unavailable

_LONGEST_BACKOFF = 30.0  # seconds
LONGEST_RETRY_AFTER = 3600.0


@frozen
class Backoff:
    """No request until `until` (monotonic seconds); callers meanwhile get the last failure at once."""

    until: float = LONG_AGO
    failures: int = 0
    failure: Failure | None = None

    def failed(self, failure: Failure, now: float, draw: float, *, ours: bool = True) -> "Backoff":
        """Return the back-off after one more failure: 0.5 to 1 s, doubled each time, or as `Retry-After` asks.

        Where the attempts so far limit the next, or another process's back-off does, these alone say when.
        """
        if failure.limit:
            seconds = failure.limit.seconds
            return Backoff(float("inf") if seconds is None else now + seconds, self.failures, failure)
        seconds = min(_LONGEST_BACKOFF, 2.0**self.failures) * (0.5 + draw / 2)
        asked = (not isinstance(failure, Malformed) and failure.retry_after) or 0.0
        if asked and not ours:
            return Backoff(now + asked, self.failures, failure)
        return Backoff(now + max(seconds, min(LONGEST_RETRY_AFTER, asked)), min(self.failures + 1, 10), failure)

    def blocks(self, now: float) -> Failure | None:
        """Return the failure for callers during the back-off, None where the server may be asked."""
        if self.failure is None or now >= self.until:
            return None
        failure, left = self.failure, self.until - now
        if failure.limit and failure.limit.seconds is not None:
            failure = evolve(failure, limit=evolve(failure.limit, seconds=left))
        if isinstance(failure, Malformed) or (isinstance(failure, Refused) and failure.limit):
            return failure
        return evolve(failure, retry_after=left)


def second_request(
    outcome: TokenRecord | Failure, now: Moment, left: float, draw: float, *, before: TokenRecord | None
) -> float | None:
    """Return the seconds to pause before the second and last request of a sign-in, None where there is none.

    Trouble is tried again, 0.1 to 0.5 s later (a server may answer 500 to a race of two grants) or as late as
    `Retry-After` asks; so is a sticky server's token in its last second, once it has expired. Half of the `left`
    seconds must remain for the answer. `before` is the record that the first request was sent with.
    """
    if isinstance(outcome, Unavailable):
        pause = (0.1 if outcome.retry_after is None else outcome.retry_after) + 0.4 * draw
    elif isinstance(outcome, TokenRecord) and outcome.reissued and not outcome.alive(now):
        if before and before.single_use and not before.sticky(now):  # the first request has waited for that already
            return None
        pause = outcome.seconds_until_request(now, left)
    else:
        return None
    return pause if pause < left / 2 else None
