"""When the server is not asked, and how many tokens a 401 may cost, on numbers alone."""

import pytest
from attrs import evolve

from conftest import table
from enkash_auth._policy.backoff import Backoff, second_request
from enkash_auth._policy.brake import Brake
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Malformed, Refused, Unavailable

NOW = Moment(1000.0, 1e9)
TROUBLE = Unavailable("status 500", "host")
FORBIDDEN, MALFORMED = Refused(403, None, False, "host"), Malformed("x", "host")
ASKED = {seconds: Unavailable("status 429", "host", seconds) for seconds in (1, 4, 6, 7, 1e9)}  # by Retry-After


@pytest.mark.parametrize("draw", [0.0, 0.999])
@table(
    "failures, longest",
    ("a second", [TROUBLE], 1),
    ("doubles", [TROUBLE] * 3, 4),
    ("up to half a minute", [TROUBLE] * 9, 30),
    ("a refusal's, too", [FORBIDDEN] * 2, 2),
    ("as Retry-After asks", [ASKED[7]], 7),
    ("up to an hour", [ASKED[1e9]], 3600),
)
def test_how_long_a_back_off_is(failures: list[Failure], longest: float, draw: float) -> None:
    backoff = Backoff()
    for failure in failures:
        backoff = backoff.failed(failure, 0.0, draw)
    assert longest / 2 <= backoff.until <= longest


@table(
    "failure, now, blocked",
    ("nobody without a failure", None, 0.0, None),
    ("nobody once it is over", TROUBLE, 1.0, None),
    ("with the seconds left", ASKED[7], 3.0, ASKED[4]),
    ("with the refusal", FORBIDDEN, 0.1, evolve(FORBIDDEN, retry_after=0.4)),
    ("with the answer that held no token", MALFORMED, 0.1, MALFORMED),
)
def test_whom_a_back_off_blocks(failure: Failure | None, now: float, blocked: Failure | None) -> None:
    backoff = Backoff().failed(failure, 0.0, 0.0) if failure else Backoff()
    assert backoff.blocks(now) == blocked


RECORD = TokenRecord.from_answer(Issued("t", 0), NOW, NOW.after(0.25), before=None, draw=0.0)
SAME = TokenRecord.from_answer(Issued("t", 0), NOW, NOW.after(0.25), before=RECORD, draw=0.0)


@table(
    "outcome, left, before, pause",
    ("for trouble", TROUBLE, 10, None, 0.1),
    ("for a renewal's trouble", TROUBLE, 10, RECORD, 0.1),
    ("not without time", TROUBLE, 0.2, None, None),
    ("as Retry-After asks", ASKED[1], 10, None, 1),
    ("not if that takes too long", ASKED[6], 10, None, None),
    ("not for a refusal", FORBIDDEN, 10, None, None),
    ("not for an answer without a token", MALFORMED, 10, None, None),
    ("not for a token", RECORD, 10, None, None),
    ("for a sticky token's last second, which nobody could probe: at its upper bound", SAME, 10, SAME, 1.0),
    ("not if that leaves no time", SAME, 1.5, SAME, None),
    ("not if the first was sent at the upper bound", SAME, 10, RECORD, None),
)
def test_a_second_request(
    outcome: TokenRecord | Failure, left: float, before: TokenRecord | None, pause: float | None
) -> None:
    assert second_request(outcome, NOW.after(0.25), left, 0.0, before=before) == (pause and pytest.approx(pause))


def test_a_brake_allows_two_and_one_more_a_minute() -> None:
    brake, allowed = Brake(), []
    for now in (0.0, 0.0, 0.0, 30.0, 61.0, 61.0, 500.0, 500.0, 500.0):
        taken = brake.take(now)
        allowed.append(taken is not None)
        brake = taken or brake
    assert allowed == [True, True, False, False, True, False, True, True, False]
