"""What a caller gets that has waited for a sign-in."""

from __future__ import annotations

from attrs import frozen

from .lifetime import Moment, TokenRecord
from .outcome import Failure, Unavailable
from .token import Token


@frozen
class Again:
    """The caller asks again. `late`: the sign-in ran out of time, but the caller did not."""

    late: bool


def after_wait(
    outcome: TokenRecord | Failure | None, now: Moment, *, deadline: float, end: float
) -> Token | Again | Failure | None:
    """Decide by the sign-in's outcome, the caller's deadline and the sign-in's end; None means that no answer came."""
    in_time = now.monotonic < deadline
    if isinstance(outcome, TokenRecord):
        if outcome.single_use or outcome.alive(now):
            return outcome.token
        return Again(late=False) if in_time else None  # the machine slept while the caller waited
    late = outcome is None or (isinstance(outcome, Unavailable) and outcome.late)
    return Again(late=True) if late and in_time and end < deadline else outcome
