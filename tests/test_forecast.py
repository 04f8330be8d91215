"""When a sticky token probably expires, and when a probe leaves: one rule a test, on numbers.

The token of these tests was answered first at 1000, the request took 0.1 s, and the server stated 299 s.
"""

import pytest
from attrs import evolve

from enkash_auth._policy.forecast import PROBES, Bounds, Forecast

STATED = Bounds(1298.9, 1300.0)
WIDE = Bounds(1298.9, 1300.4)
NEW = Forecast(1000.0, 0.1)  # no token has expired yet
KNOWN = Forecast(1000.0, 0.1, least=299.7, floor=1299.2)


def leaves(forecast: Forecast, proven: Bounds = STATED, now: float = 1240.0) -> float:
    """Return when the next probe leaves: whole seconds before the time that it asks about."""
    seconds = forecast.probe_in(proven, now)
    assert seconds is not None
    return now + seconds


@pytest.mark.parametrize(
    ("rule", "forecast", "proven", "asks_about"),
    [
        ("lives are probably whole seconds", NEW, STATED, 1300 - 0.1 - 0.025),
        ("lives are probably like the last", KNOWN, STATED, 1299.7),
        ("lives have become longer: whole seconds, again", KNOWN, Bounds(1398.9, 1400.0), 1400 - 0.1 - 0.025),
        ("another client has asked for the token: halves", KNOWN, Bounds(1279.1, 1280.0), (1279.1 + 1280.0 - 0.1) / 2),
        ("a second probe halves", evolve(NEW, probes=1), STATED, (1298.9 + 1300 - 0.1) / 2),
        ("up to the forecast", evolve(KNOWN, probes=1, floor=0.0), WIDE, (1298.9 + 1299.7 + 0.35 - 0.1) / 2),
        ("and down to the floor", evolve(KNOWN, probes=1), WIDE, (1299.2 + 1299.7 + 0.35 - 0.1) / 2),
        ("that shorter lives belie", evolve(KNOWN, probes=1, floor=1399.0), WIDE, (1298.9 + 1299.7 + 0.35 - 0.1) / 2),
    ],
)
def test_what_a_probe_asks_about(rule: str, forecast: Forecast, proven: Bounds, asks_about: float) -> None:
    assert (asks_about - leaves(forecast, proven)) % 1 == pytest.approx(0, abs=1e-6), rule


@pytest.mark.parametrize(("before", "seconds"), [(60.3, 1.3), (3.0, 1.0), (2.9, 0.9), (1.0, 0.0)])
def test_a_probe_has_a_second_to_connect_in_if_there_is_time(before: float, seconds: float) -> None:
    assert KNOWN.probe_in(STATED, 1299.7 - before) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("forecast", "proven", "now"),
    [
        (NEW, Bounds(1299.65, 1300.0), 1240.0),
        (KNOWN, Bounds(1299.7, 1300.5), 1240.0),
        (evolve(NEW, probes=PROBES), STATED, 1240.0),
        (KNOWN, STATED, 1298.8),
    ],
    ids=["bounds within a gap", "a lower bound within a gap of the forecast", "three are enough", "a second is left"],
)
def test_no_probe(forecast: Forecast, proven: Bounds, now: float) -> None:
    assert forecast.probe_in(proven, now) is None


@pytest.mark.parametrize(
    ("rule", "forecast", "proven", "latest"),
    [
        ("nothing is known", NEW, STATED, 1300.0),
        ("as foretold, and a gap", KNOWN, WIDE, 1299.7 + 0.35),
        ("another client has asked for the token", KNOWN, Bounds(1279.2, 1280.3), 1280.3),
        ("lives have become longer", KNOWN, Bounds(1398.9, 1400.0), 1400.0),
    ],
)
def test_when_a_token_has_expired(rule: str, forecast: Forecast, proven: Bounds, latest: float) -> None:
    assert forecast.latest(proven) == pytest.approx(latest), rule


@pytest.mark.parametrize(
    ("rule", "forecast", "lower", "upper", "least"),
    [
        ("a first life is learnt", NEW, 1299.6, 1299.9, 299.575),
        ("a longer one, too", KNOWN, 1299.8, 1300.0, 299.775),
        ("a shorter one is another client's", KNOWN, 1299.2, 1299.5, 299.7),
        ("a life that ends before the floor shows that all are shorter", KNOWN, 1199.0, 1199.2, 198.975),
    ],
)
def test_what_a_life_says_of_the_next(rule: str, forecast: Forecast, lower: float, upper: float, least: float) -> None:
    following = forecast.for_next(Bounds(lower, upper), 1300.2, 0.3)
    assert following == Forecast(1300.2, 0.3, pytest.approx(least), pytest.approx(lower + least), 0), rule


def test_a_life_is_learnt_from_its_probe_while_the_bounds_are_exact() -> None:
    assert KNOWN.after_answer(Bounds(1299.8, 1300.0), 0.1, probe=True).least == pytest.approx(299.775)
    assert NEW.after_answer(Bounds(1299.8, 1300.0), 0.1, probe=True).least == NEW.least


def test_the_fastest_round_trip_counts() -> None:
    assert KNOWN.after_answer(STATED, 0.04, probe=True).trip == 0.04
    assert KNOWN.after_answer(STATED, 2.0, probe=True).trip == 0.1


def test_a_request_that_found_the_server_sticky_is_no_probe() -> None:
    assert NEW.after_answer(STATED, 0.1, probe=False).probes == 0
    assert NEW.after_answer(STATED, 0.1, probe=True).probes == 1


def test_siblings_count_their_probes_together() -> None:
    ours, theirs = evolve(KNOWN, probes=2), evolve(KNOWN, first=1000.2, least=299.9)
    assert ours.merged(theirs) == evolve(theirs, first=1000.0, probes=2)
