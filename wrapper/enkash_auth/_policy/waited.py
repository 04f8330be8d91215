"""What a caller gets that has waited for a sign-in."""

from attrs import frozen

from .lifetime import Moment, TokenRecord
from .outcome import Failure, Unavailable
from .token import Token

OVERSLEPT = 0.5  # seconds; a thread that waits wakes up sooner, unless its process was frozen


@frozen
class Again:
    """The caller asks again.

    `late`: the sign-in ran out of time, but the caller did not. `stood`: the process stood still meanwhile.
    """

    late: bool
    stood: bool = False


def excused(outcome: Failure | None, now: Moment, end: Moment) -> bool:
    """Whether no answer says nothing about the server: the process may have stood still since the sign-in's `end`."""
    no_answer = isinstance(outcome, Unavailable) and outcome.retry_after is None and outcome.limit is None
    return (outcome is None or no_answer) and now.until(end) < -OVERSLEPT


def decide_after_wait(
    outcome: TokenRecord | Failure | None, now: Moment, *, deadline: float, end: Moment, extra: bool
) -> Token | Again | Failure | None:
    """Decide by the sign-in's outcome and end, and the caller's deadline; None means that no answer came.

    A caller whose process stood still waits for one `extra` sign-in, and for no further one.
    """
    late = outcome is None or (isinstance(outcome, Unavailable) and outcome.late)
    in_time, stood = now.monotonic < deadline, not extra and now.until(end) < -OVERSLEPT
    if isinstance(outcome, TokenRecord):
        if outcome.single_use or outcome.alive(now):
            return outcome.token
        return Again(late=False, stood=stood) if in_time or stood else None  # the machine slept while the caller waited
    if stood and (outcome is None or isinstance(outcome, Unavailable)):
        return Again(late=True, stood=True)
    return Again(late=True) if late and in_time and end.monotonic < deadline else outcome
