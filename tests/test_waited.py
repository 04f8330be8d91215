"""What a caller gets that has waited: on values alone."""

from typing import Any

import pytest

from conftest import table
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Refused, Unavailable
from enkash_auth._policy.waited import Again, decide_after_wait

NOON = Moment(1000.0, 1e9)
END = 1010.0  # of the sign-in
HELD = TokenRecord.from_answer(Issued("t", 300.0), NOON, NOON, before=None, draw=0.5)
ONCE = TokenRecord.from_answer(Issued("t", 0.0), NOON, NOON, before=None, draw=0.5)
REFUSED, TROUBLE = Refused(400, "invalid_grant", True, "host"), Unavailable("status 503", "host")
LATE = Unavailable("no answer within 10 s", "host", late=True)


@table(
    "outcome, seconds, deadline, got",
    ("a token that came", HELD, 1, END, HELD.token),
    ("a living token, also after the caller's time", HELD, 20, END, HELD.token),
    ("a token for this call only", ONCE, 1, END, ONCE.token),
    ("the next, if this one expired while the machine slept", HELD, 300, END + 300, Again(late=False, stood=True)),
    ("also past its own time, for its process stood still", HELD, 300, END, Again(late=False, stood=True)),
    ("a refusal", REFUSED, 1, END, REFUSED),
    ("trouble", TROUBLE, 1, END + 5, TROUBLE),
    ("a caller that joined late waits for one more sign-in", None, 10, END + 5, Again(late=True)),
    ("also if the sign-in itself has run out of time", LATE, 10, END + 5, Again(late=True)),
    ("but not past its own time", None, 10.2, END + 0.1, None),
    ("unless its process stood still", None, 300, END, Again(late=True, stood=True)),
    ("in which an outage was only seen", LATE, 300, END, Again(late=True, stood=True)),
    ("nor does the caller that began the sign-in", LATE, 9, END, LATE),
)
def test_a_caller_gets(outcome: TokenRecord | Failure | None, seconds: float, deadline: float, got: Any) -> None:
    now, end = NOON.after(seconds), NOON.after(10)
    assert decide_after_wait(outcome, now, deadline=deadline, end=end, extra=False) == got


@pytest.mark.parametrize(("outcome", "got"), [(HELD, None), (LATE, LATE), (None, None)])
def test_a_process_that_stood_still_twice_has_no_third(outcome: TokenRecord | Failure | None, got: Any) -> None:
    assert decide_after_wait(outcome, NOON.after(300), deadline=END, end=NOON.after(10), extra=True) == got
