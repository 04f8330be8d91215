"""Decisions about time, on numbers alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enkash_auth._policy.lifetime import LOOK, TokenRecord, Moment, Verdict

START = Moment(1000.0, 1e9)
fraction = st.floats(0, 1, exclude_max=True)
lives = st.integers(0, 90_000)
trips = st.floats(0, 5)


def known(
    seconds: float, trip: float = 0.0, draw: float = 0.5, before: TokenRecord | None = None, at: Moment = START
) -> TokenRecord:
    return TokenRecord.from_answer(before, "t", seconds, at, at.after(trip), draw)


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction, later=st.floats(0, 100_000))
def test_a_served_token_has_not_ended(seconds: int, cut: float, trip: float, decided: float, later: float) -> None:
    end = START.after(trip * decided).after(seconds + cut)
    now = START.after(later)
    if known(seconds, trip).look(now)[0] is not Verdict.WAIT:
        assert now.monotonic < end.monotonic


@given(seconds=lives, cut=fraction, trip=trips, decided=fraction)
def test_a_fresh_token_is_certain_after_the_gap(seconds: int, cut: float, trip: float, decided: float) -> None:
    end = START.after(trip * decided).after(seconds + cut)
    first = known(seconds, trip)
    sticky = known(0, 0, before=first, at=START.after(seconds))
    now = sticky.life.lower
    assert now.after(sticky.gap(now)).monotonic + 1e-6 >= min(end.monotonic, sticky.life.upper.monotonic)


@given(seconds=st.integers(1, 90_000), trip=st.floats(0, 0.5))
def test_nobody_waits_longer_than_a_second_and_two_round_trips(seconds: int, trip: float) -> None:
    again = known(seconds - 1, trip, before=known(seconds, trip), at=START.after(0.9))
    assert again.gap(again.life.lower) + trip <= 1 + 2 * trip + 1e-6


@given(
    end=st.floats(10, 1000),
    answers=st.lists(st.tuples(st.floats(0, 999), st.floats(0, 5), fraction), min_size=1, max_size=5),
)
def test_each_answer_narrows_the_bounds_around_the_end(end: float, answers: list[tuple[float, float, float]]) -> None:
    held = None
    for asked, trip, decided in sorted(answers):
        left = end - (asked + trip * decided)
        if left < 0:
            continue
        held = known(math.floor(left), trip, before=held, at=START.after(asked))
        assert held.life.lower.monotonic - 1e-6 <= START.monotonic + end <= held.life.upper.monotonic + 1e-6


@pytest.mark.parametrize("seconds", [1, 2, 5, 20, 300, 86_399])
@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_any_life_is_served_for_most_of_it_and_then_renewed(seconds: int, draw: float) -> None:
    token = known(seconds, draw=draw)
    assert token.look(START.after(0.6 * seconds))[0] is Verdict.SERVE
    assert token.look(START.after(seconds - min(48.0, 0.2 * seconds)))[0] is Verdict.RENEW
    assert token.look(START.after(seconds))[0] is Verdict.WAIT


@given(seconds=lives, later=st.floats(0, 90_000))
def test_another_look_comes_soon_and_not_after_the_end(seconds: int, later: float) -> None:
    now = START.after(later)
    verdict, until = known(seconds).look(now)
    if verdict is not Verdict.WAIT:
        assert now.monotonic < until <= min(now.monotonic + LOOK, START.monotonic + seconds + 1e-6)


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
    assert known(300).look(now)[0] is verdict


def test_the_same_token_again_teaches_a_sticky_server() -> None:
    early = START.after(280)
    again = known(20, before=known(300), at=early)
    assert again.reissued
    assert again.look(early)[0] is Verdict.SERVE


def test_another_token_before_the_end_unteaches_it() -> None:
    sticky = known(20, before=known(300), at=START.after(280))
    for later, still in [(250, False), (301, True)]:
        now = START.after(later)
        fresh = TokenRecord.from_answer(sticky, "other", 300, now, now, 0.5)
        assert fresh.sticky(now) is still


def test_what_was_learnt_is_tried_again_after_a_day() -> None:
    again = known(86_000, before=known(86_399), at=START.after(300))
    assert again.sticky(START.after(86_000))
    assert not again.sticky(START.after(87_000))


def test_a_clock_that_was_set_between_two_answers_voids_the_old_bounds() -> None:
    later = Moment(START.monotonic + 100, START.wall + 9100)
    again = known(200, before=known(300), at=later)
    assert again.life.lower == later.after(200)


def test_a_token_for_one_call_only_is_followed_by_another_a_second_later() -> None:
    fleeting = known(0, trip=0.2)
    assert fleeting.single_use
    assert fleeting.gap(START.after(0.2)) == pytest.approx(1)
    assert not known(300).gap(START.after(301))
