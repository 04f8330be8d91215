"""Decisions about time, on numbers alone."""

import math

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from enkash_auth._policy.lifetime import CLOCK_CHECK, Moment, TokenRecord, Verdict
from enkash_auth._policy.outcome import Issued
from enkash_auth._policy.token import read_life

START = Moment(1000.0, 1e9)
fraction = st.floats(0, 1, exclude_max=True)
lives = st.integers(0, 90_000)
trips = st.floats(0, 5)


def record(
    seconds: float, trip: float = 0.0, draw: float = 0.5, before: TokenRecord | None = None, at: Moment = START
) -> TokenRecord:
    return TokenRecord.from_answer(Issued("t", seconds), at, at.after(trip), before=before, draw=draw)


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction, later=st.floats(0, 100_000))
def test_a_served_token_has_not_expired(seconds: int, cut: float, trip: float, decided: float, later: float) -> None:
    end = START.after(trip * decided).after(seconds + cut)
    now = START.after(later)
    if record(seconds, trip).verdict(now)[0] is not Verdict.WAIT:
        assert now.monotonic < end.monotonic


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction)
def test_another_token_is_certain_after_the_seconds_until_it(
    seconds: int, cut: float, trip: float, decided: float
) -> None:
    end = START.after(trip * decided).after(seconds + cut)
    first = record(seconds, trip)
    sticky = record(0, 0, before=first, at=START.after(seconds))
    now = sticky.life.lower
    assert now.after(sticky.seconds_until_request(now, 99)).monotonic + 1e-6 >= min(
        end.monotonic, sticky.life.upper.monotonic
    )


@given(
    end=st.floats(10, 1000),
    answers=st.lists(st.tuples(st.floats(0, 999), st.floats(0, 5), fraction), min_size=1, max_size=5),
)
def test_each_answer_narrows_the_bounds_of_the_expiry(end: float, answers: list[tuple[float, float, float]]) -> None:
    held = None
    for asked, trip, decided in sorted(answers):
        left = end - (asked + trip * decided)
        if left < 0:
            continue
        held = record(math.floor(left), trip, before=held, at=START.after(asked))
        assert held.life.lower.monotonic - 1e-6 <= START.monotonic + end <= held.life.upper.monotonic + 1e-6


@pytest.mark.parametrize("seconds", [1, 2, 5, 20, 300, 86_399])
@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_a_token_is_served_for_most_of_any_life_and_then_renewed(seconds: int, draw: float) -> None:
    token = record(seconds, draw=draw)
    assert token.verdict(START.after(0.6 * seconds))[0] is Verdict.SERVE
    assert token.verdict(START.after(seconds - min(48.0, 0.2 * seconds)))[0] is Verdict.RENEW
    assert token.verdict(START.after(seconds))[0] is Verdict.WAIT


@given(seconds=lives, later=st.floats(0, 90_000))
def test_clocks_are_checked_again_soon_and_before_the_expiry(seconds: int, later: float) -> None:
    now = START.after(later)
    verdict, until = record(seconds).verdict(now)
    if verdict is not Verdict.WAIT:
        assert now.monotonic < until <= min(now.monotonic + CLOCK_CHECK, START.monotonic + seconds + 1e-6)


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (Moment(299, 0), Verdict.RENEW),
        (Moment(0, 299), Verdict.RENEW),
        (Moment(300, -5000), Verdict.WAIT),
        (Moment(0, 300), Verdict.WAIT),
        (Moment(0, -5000), Verdict.SERVE),
    ],
)
def test_the_clock_that_says_later_decides(step: Moment, verdict: Verdict) -> None:
    now = Moment(START.monotonic + step.monotonic, START.wall + step.wall)
    assert record(300).verdict(now)[0] is verdict


def test_the_same_token_again_shows_a_sticky_server() -> None:
    early = START.after(280)
    again = record(20, before=record(300), at=early)
    assert again.reissued
    assert again.sticky(early)
    assert again.forecast.probes == 0  # nor was that a probe, which the next is
    assert record(19, before=again, at=early).forecast.probes == 1


def test_another_token_before_expiry_shows_that_the_server_is_not_sticky() -> None:
    sticky = record(20, before=record(300), at=START.after(280))
    for later, still in [(250, False), (301, True)]:
        now = START.after(later)
        fresh = TokenRecord.from_answer(Issued("other", 300), now, now, before=sticky, draw=0.5)
        assert fresh.sticky(now) is still


def test_a_sticky_server_is_asked_early_again_after_a_day() -> None:
    again = record(86_000, before=record(86_399), at=START.after(300))
    assert again.sticky(START.after(86_000))
    assert not again.sticky(START.after(87_000))


def test_a_clock_that_was_set_between_two_answers_voids_the_old_bounds() -> None:
    later = Moment(START.monotonic + 100.5, START.wall - 9100)
    again = record(200, before=record(300), at=later)
    assert again.life.lower == later.after(200)
    assert again.life.upper.monotonic == START.monotonic + 301  # holds, if the machine stood still, too


def test_a_life_that_contradicts_the_bounds_so_far_voids_them() -> None:
    """A server may shorten a life, or answer from another node whose clock differs."""
    again = record(50, before=record(300), at=START.after(100))
    assert (again.life.lower, again.life.upper) == (START.after(150), START.after(151))


def test_a_sticky_token_has_expired_where_either_clock_says_so() -> None:
    sticky = record(250, before=record(299), at=START.after(50))
    suspended = Moment(START.monotonic + 60, START.wall + 4000)
    assert sticky.seconds_until_request(suspended, 99) == 0


@pytest.mark.parametrize(("left", "seconds"), [(10, 1.975), (3.9, 0.975), (1.9, 0)])
def test_a_probe_that_would_not_end_in_time_leaves_a_second_earlier_or_at_once(left: float, seconds: float) -> None:
    sticky = record(200, before=record(299), at=START.after(99.5))
    assert sticky.seconds_until_request(START.after(260), left) == pytest.approx(seconds)
    assert not evolve(sticky, rejected=True).seconds_until_request(START.after(260), left)


def test_a_token_that_came_back_without_a_life_is_looked_at_hourly() -> None:
    first = TokenRecord.from_answer(Issued("t", None), START, START, before=None, draw=0.5)
    later = START.after(290)
    again = TokenRecord.from_answer(Issued("t", None), later, later, before=first, draw=0.5)
    assert (first.life.lower, again.life.lower) == (START.after(300), later.after(3600))
    assert not again.sticky(later)


def test_a_token_for_one_call_only_is_followed_by_another_a_second_later() -> None:
    last = record(0, trip=0.2)
    assert last.single_use
    assert last.seconds_until_request(START.after(0.2), 99) == pytest.approx(1)
    assert not record(300).seconds_until_request(START.after(301), 99)


@pytest.mark.parametrize("digits", [13, 400, 5000])
@pytest.mark.parametrize("kind", [int, str])
def test_a_life_of_many_digits_counts_as_ten_years(digits: int, kind: type) -> None:
    assert read_life(10**digits if kind is int else "9" * digits) == 10 * 365 * 86_400
