"""When the server is not asked, and how many tokens a 401 may cost, on numbers alone."""

import pytest
from attrs import evolve

from enkash_auth._policy.backoff import Backoff, second_request
from enkash_auth._policy.brake import Brake
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Malformed, Refused, Unavailable

NOW = Moment(1000.0, 1e9)
TROUBLE = Unavailable("status 500", "host")
FORBIDDEN, MALFORMED = Refused(403, None, False, "host"), Malformed("x", "host")


def asked(seconds: float) -> Unavailable:
    return Unavailable("status 429", "host", seconds)


@pytest.mark.parametrize(
    ("failures", "longest"),
    [
        ([TROUBLE], 1),
        ([TROUBLE] * 3, 4),
        ([TROUBLE] * 9, 30),
        ([FORBIDDEN] * 2, 2),
        ([asked(7)], 7),
        ([asked(1e9)], 3600),
    ],
)
def test_a_back_off_doubles_and_is_as_long_as_retry_after_asks(failures: list[Failure], longest: float) -> None:
    for draw in (0.0, 0.999):
        backoff = Backoff()
        for failure in failures:
            backoff = backoff.failed(failure, 0.0, draw)
        assert longest / 2 <= backoff.until <= longest


def test_no_back_off_blocks_nobody() -> None:
    assert Backoff().blocks(0.0) is None
    assert Backoff().failed(TROUBLE, 0.0, 0.0).blocks(1.0) is None


def test_a_back_off_repeats_the_failure_and_says_the_seconds_left() -> None:
    assert Backoff().failed(asked(7), 0.0, 0.0).blocks(3.0) == asked(4)
    assert Backoff().failed(FORBIDDEN, 0.0, 0.0).blocks(0.1) == evolve(FORBIDDEN, retry_after=0.4)
    assert Backoff().failed(MALFORMED, 0.0, 0.0).blocks(0.1) == MALFORMED


RECORD = TokenRecord.from_answer(Issued("t", 0), NOW, NOW.after(0.25), before=None, draw=0.0)
SAME = TokenRecord.from_answer(Issued("t", 0), NOW, NOW.after(0.25), before=RECORD, draw=0.0)


@pytest.mark.parametrize(
    ("outcome", "left", "before", "pause"),
    [
        (TROUBLE, 10, None, 0.1),
        (TROUBLE, 10, RECORD, 0.1),
        (TROUBLE, 0.2, None, None),
        (asked(1), 10, None, 1),
        (asked(6), 10, None, None),
        (FORBIDDEN, 10, None, None),
        (MALFORMED, 10, None, None),
        (RECORD, 10, None, None),
        (SAME, 10, SAME, 1.0),  # nobody could probe: at its upper bound
        (SAME, 1.5, SAME, None),
        (SAME, 10, RECORD, None),  # the first request was sent at the upper bound
    ],
)
def test_a_second_request_is_for_trouble_and_a_tokens_last_second(
    outcome: TokenRecord | Failure, left: float, before: TokenRecord | None, pause: float | None
) -> None:
    assert second_request(outcome, NOW.after(0.25), left, 0.0, before=before) == (pause and pytest.approx(pause))


def test_a_brake_allows_two_and_one_more_a_minute() -> None:
    brake: Brake | None = Brake()
    allowed = []
    for now in (0.0, 0.0, 0.0, 30.0, 61.0, 61.0, 500.0, 500.0, 500.0):
        taken = brake.take(now) if brake else None
        allowed.append(taken is not None)
        brake = taken or brake
    assert allowed == [True, True, False, False, True, False, True, True, False]
