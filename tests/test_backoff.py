"""When the server is not asked, on numbers alone."""

from __future__ import annotations

import pytest

from enkash_auth._policy.lifetime import TokenRecord, Moment
from enkash_auth._policy.backoff import Brake, Backoff, second_try
from enkash_auth._policy.outcome import Failure, Malformed, Refused, Unavailable

NOW = Moment(1000.0, 1e9)
TROUBLE = Unavailable("status 500", "host")
FORBIDDEN = Refused(403, None, False, "host")


def asked(seconds: float) -> Unavailable:
    return Unavailable("status 429", "host", seconds)


@pytest.mark.parametrize(
    ("failures", "shut"),
    [
        ([TROUBLE], 1),
        ([TROUBLE] * 3, 4),
        ([TROUBLE] * 9, 30),
        ([FORBIDDEN] * 2, 2),
        ([asked(7)], 7),
        ([asked(1e9)], 3600),
    ],
)
def test_a_gate_grows_and_does_as_retry_after_asks(failures: list[Failure], shut: float) -> None:
    for draw in (0.0, 0.999):
        gate = Backoff()
        for failure in failures:
            gate = gate.failed(failure, 0.0, draw)
        assert shut / 2 <= gate.opens <= shut


def test_an_open_gate_stops_nobody() -> None:
    assert Backoff().stops(0.0) is None
    assert Backoff().failed(TROUBLE, 0.0, 0.0).stops(1.0) is None


def test_a_shut_gate_tells_the_failure_and_the_seconds_left() -> None:
    assert Backoff().failed(asked(7), 0.0, 0.0).stops(3.0) == asked(4)
    assert Backoff().failed(FORBIDDEN, 0.0, 0.0).stops(0.1) == FORBIDDEN


KNOWN = TokenRecord.from_answer(None, "t", 0, NOW, NOW, 0.0)
SAME = TokenRecord.from_answer(KNOWN, "t", 0, NOW, NOW.after(0.25), 0.0)


@pytest.mark.parametrize(
    ("outcome", "left", "pause"),
    [
        (TROUBLE, 10, 0.1),
        (TROUBLE, 0.2, None),
        (asked(1), 10, 1),
        (asked(6), 10, None),
        (FORBIDDEN, 10, None),
        (Malformed("x", "host"), 10, None),
        (KNOWN, 10, None),
        (SAME, 10, 0.75),
        (SAME, 1, None),
    ],
)
def test_a_second_try_is_for_trouble_and_a_tokens_last_second(
    outcome: TokenRecord | Failure, left: float, pause: float | None
) -> None:
    assert second_try(outcome, NOW.after(0.25), left, 0.0) == pause


def test_a_brake_lets_two_through_and_one_more_a_minute() -> None:
    brake: Brake | None = Brake()
    passed = []
    for now in (0.0, 0.0, 0.0, 30.0, 61.0, 61.0, 500.0, 500.0, 500.0):
        taken = brake.taken(now) if brake else None
        passed.append(taken is not None)
        brake = taken or brake
    assert passed == [True, True, False, False, True, False, True, True, False]
