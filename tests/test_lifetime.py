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
def test_another_token_is_certain_after_the_seconds_until_it(
    seconds: int, cut: float, trip: float, decided: float
) -> None:
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


def test_the_same_token_again_shows_a_sticky_server() -> None:
    assert AGAIN.reissued and AGAIN.sticky(AGAIN.answered)


def test_a_request_that_found_the_server_sticky_is_no_probe_but_the_next_is() -> None:
    following = record(19, before=AGAIN, at=AGAIN.answered)
    assert (AGAIN.forecast.probes, following.forecast.probes) == (0, 1)


@pytest.mark.parametrize(("later", "still"), [(250, False), (301, True)])
def test_another_token_before_expiry_shows_that_the_server_is_not_sticky(later: float, still: bool) -> None:
    now = START.after(later)
    assert record(300, token="other", before=AGAIN, at=now).sticky(now) is still


def test_a_sticky_server_is_asked_early_again_after_a_day() -> None:
    again = record(86_000, before=record(86_399), at=START.after(300))
    assert [again.sticky(START.after(later)) for later in (86_000, 87_000)] == [True, False]


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


def test_a_sticky_token_has_expired_where_either_clock_says_so() -> None:
    sticky = record(250, before=record(299), at=START.after(50))
    suspended = Moment(START.monotonic + 60, START.wall + 4000)
    assert sticky.seconds_until_request(suspended, 99) == 0


@pytest.mark.parametrize("rejected", [False, True])
@pytest.mark.parametrize(("left", "seconds"), [(10, 1.975), (3.9, 0.975), (1.9, 0)])
def test_a_probe_that_would_not_end_in_time_leaves_a_second_earlier_or_at_once(
    left: float, seconds: float, rejected: bool
) -> None:
    sticky = evolve(record(200, before=record(299), at=START.after(99.5)), rejected=rejected)
    expected = 0 if rejected else pytest.approx(seconds)
    assert sticky.seconds_until_request(START.after(260), left) == expected


def test_a_token_that_came_back_without_a_life_is_looked_at_hourly() -> None:
    first, later = record(None), START.after(290)
    again = record(None, before=first, at=later)
    assert (first.life.lower, again.life.lower) == (START.after(300), later.after(3600))
    assert not again.sticky(later)


@pytest.mark.parametrize(("life", "later", "seconds"), [(0, 0.2, 1), (300, 301, 0)])
def test_only_a_token_for_one_call_is_followed_by_another_a_second_later(
    life: float, later: float, seconds: float
) -> None:
    last = record(life, trip=0.2)
    assert last.single_use is not bool(life)
    assert last.seconds_until_request(START.after(later), 99) == pytest.approx(seconds)


@pytest.mark.parametrize("digits", [13, 400, 5000])
@pytest.mark.parametrize("kind", [int, str])
def test_a_life_of_many_digits_counts_as_ten_years(digits: int, kind: type) -> None:
    assert read_life(10**digits if kind is int else "9" * digits) == 10 * 365 * 86_400
