"""Decisions about time, on numbers alone."""

import math
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from conftest import table
from enkash_auth._policy.lifetime import CLOCK_CHECK, Moment, TokenRecord, Verdict
from enkash_auth._policy.outcome import Issued
from enkash_auth._policy.token import read_life

START = Moment(1000.0, 1e9)
fraction = st.floats(0, 1, exclude_max=True)
lives = st.integers(0, 90_000)
trips = st.floats(0, 5)


def record(seconds: float | None, trip: float = 0.0, token: str = "t", draw: float = 0.5, **given: Any) -> TokenRecord:
    """Return the record of an answer to a request sent `at`, and taken in with what was known `before`."""
    at, before = given.get("at", START), given.get("before")
    return TokenRecord.from_answer(Issued(token, seconds), at, at.after(trip), before=before, draw=draw)


AGAIN = record(20, before=record(300), at=START.after(280))


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction, later=st.floats(0, 100_000))
def test_a_served_token_has_not_expired(seconds: int, cut: float, trip: float, decided: float, later: float) -> None:
    end, now = START.after(trip * decided).after(seconds + cut), START.after(later)
    if record(seconds, trip).verdict(now)[0] is not Verdict.WAIT:
        assert now.monotonic < end.monotonic


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction)
def test_another_token_is_certain_after_seconds_until_it(seconds: int, cut: float, trip: float, decided: float) -> None:
    end = START.after(trip * decided).after(seconds + cut)
    sticky = record(0, before=record(seconds, trip), at=START.after(seconds))
    asked = sticky.life.lower.after(sticky.seconds_until_request(sticky.life.lower, 99))
    assert asked.monotonic + 1e-6 >= min(end.monotonic, sticky.life.upper.monotonic)


@given(
    end=st.floats(10, 1000),
    answers=st.lists(st.tuples(st.floats(0, 999), st.floats(0, 5), fraction), min_size=1, max_size=5),
)
def test_each_answer_narrows_the_bounds_of_the_expiry(end: float, answers: list[tuple[float, float, float]]) -> None:
    held = None
    for asked, trip, decided in sorted(answers):
        if (left := end - (asked + trip * decided)) >= 0:
            held = record(math.floor(left), trip, before=held, at=START.after(asked))
            assert held.life.lower.monotonic - 1e-6 <= START.monotonic + end <= held.life.upper.monotonic + 1e-6


@pytest.mark.parametrize("seconds", [1, 2, 5, 20, 300, 86_399])
@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_a_token_is_served_for_most_of_any_life_and_then_renewed(seconds: int, draw: float) -> None:
    moments = 0.6 * seconds, seconds - min(48.0, 0.2 * seconds), seconds
    verdicts = [record(seconds, draw=draw).verdict(START.after(later))[0] for later in moments]
    assert verdicts == [Verdict.SERVE, Verdict.RENEW, Verdict.WAIT]


@given(seconds=lives, later=st.floats(0, 90_000))
def test_clocks_are_checked_again_soon_and_before_the_expiry(seconds: int, later: float) -> None:
    now = START.after(later)
    verdict, until = record(seconds).verdict(now)
    if verdict is not Verdict.WAIT:
        assert now.monotonic < until <= min(now.monotonic + CLOCK_CHECK, START.monotonic + seconds + 1e-6)


@pytest.mark.parametrize(
    ("monotonic", "wall", "verdict"),
    [(299, 0, "RENEW"), (0, 299, "RENEW"), (300, -5000, "WAIT"), (0, 300, "WAIT"), (0, -5000, "SERVE")],
)
def test_the_clock_that_says_later_decides(monotonic: float, wall: float, verdict: str) -> None:
    now = Moment(START.monotonic + monotonic, START.wall + wall)
    assert record(300).verdict(now)[0] is Verdict[verdict]


@table(
    "token, later, sticky",
    ("a server that gives the same token again", AGAIN, 280, True),
    ("not one that gives another early", record(300, 0, "t2", before=AGAIN, at=START.after(250)), 250, False),
    ("still one that gives it after expiry", record(300, 0, "t2", before=AGAIN, at=START.after(301)), 301, True),
    ("for a day", record(86_000, before=record(86_399), at=START.after(300)), 86_000, True),
    ("then it is asked early again", record(86_000, before=record(86_399), at=START.after(300)), 87_000, False),
    ("nor one that states no life", record(None, before=record(None), at=START.after(290)), 290, False),
)
def test_sticky_is(token: TokenRecord, later: float, sticky: bool) -> None:
    assert token.sticky(START.after(later)) is sticky


def test_a_request_that_found_the_server_sticky_is_no_probe_but_the_next_is() -> None:
    following = record(19, before=AGAIN, at=AGAIN.answered)
    assert AGAIN.reissued
    assert (AGAIN.forecast.probes, following.forecast.probes) == (0, 1)


SET = Moment(START.monotonic + 100.5, START.wall - 9100)


@table(
    "seconds, at, lower, upper",
    # the machine may have stood still: then the upper bound holds on the monotonic clock, 301 s after the start
    ("a clock that was set since voids the lower", 200, SET, SET.after(200), SET.after(200.5)),
    # a server may shorten a life, or answer from another node whose clock differs
    ("a life that contradicts them voids both", 50, START.after(100), START.after(150), START.after(151)),
)
def test_the_bounds_so_far(seconds: float, at: Moment, lower: Moment, upper: Moment) -> None:
    life = record(seconds, before=record(300), at=at).life
    assert (life.lower, life.upper) == (lower, upper)


STICKY = record(200, before=record(299), at=START.after(99.5))


@table(
    "token, now, left, seconds",
    ("a probe leaves in time", STICKY, START.after(260), 10, 1.975),
    ("or a second earlier", STICKY, START.after(260), 3.9, 0.975),
    ("or at once", STICKY, START.after(260), 1.9, 0),
    ("none is of use for a rejected token", evolve(STICKY, rejected=True), START.after(260), 10, 0),
    ("a sticky token has expired where either clock says so", STICKY, Moment(1160.0, 1e9 + 4000), 99, 0),
    ("a token for one call only is followed by another a second later", record(0, 0.2), START.after(0.2), 99, 1),
    ("and no other one", record(300), START.after(301), 99, 0),
)
def test_seconds_until_the_next_request(token: TokenRecord, now: Moment, left: float, seconds: float) -> None:
    assert token.seconds_until_request(now, left) == pytest.approx(seconds)


@pytest.mark.parametrize(("seconds", "single_use"), [(0, True), (1, False)])
def test_a_token_that_is_answered_in_its_last_second_is_for_one_call_only(seconds: float, single_use: bool) -> None:
    assert record(seconds, trip=0.2).single_use is single_use


def test_a_token_that_came_back_without_a_life_is_looked_at_hourly() -> None:
    first, later = record(None), START.after(290)
    assert first.life.lower == START.after(300)
    assert record(None, before=first, at=later).life.lower == later.after(3600)


@pytest.mark.parametrize("digits", [13, 400, 5000])
@pytest.mark.parametrize("kind", [int, str])
def test_a_life_of_many_digits_counts_as_ten_years(digits: int, kind: type) -> None:
    assert read_life(10**digits if kind is int else "9" * digits) == 10 * 365 * 86_400
