"""When a sticky token probably expires, and when a probe leaves: one rule a test, on numbers.

The token of these tests was answered first at 1000, the request took 0.1 s, and the server stated 299 s.
"""

import pytest
from attrs import evolve

from conftest import table
from enkash_auth._policy.forecast import PROBES, Bounds, Forecast

STATED = Bounds(1298.9, 1300.0)
WIDE = Bounds(1298.9, 1300.4)
STRANGERS = Bounds(1279.1, 1280.0)  # another client has asked for the token
LONGER = Bounds(1398.9, 1400.0)  # lives have become longer
EXACT = Bounds(1299.8, 1300.0)
NEW = Forecast(1000.0, 0.1)  # no token has expired yet
KNOWN = Forecast(1000.0, 0.1, least=299.7, floor=1299.2)


@table(
    "forecast, proven, asks_about",
    ("lives are probably whole seconds", NEW, STATED, 1300 - 0.1 - 0.025),
    ("lives are probably like the last", KNOWN, STATED, 1299.7),
    ("lives have become longer: whole seconds, again", KNOWN, LONGER, 1400 - 0.1 - 0.025),
    ("another client has asked for the token: halves", KNOWN, STRANGERS, (1279.1 + 1280.0 - 0.1) / 2),
    ("a second probe halves", evolve(NEW, probes=1), STATED, (1298.9 + 1300 - 0.1) / 2),
    ("up to the forecast", evolve(KNOWN, probes=1, floor=0.0), WIDE, (1298.9 + 1299.7 + 0.35 - 0.1) / 2),
    ("and down to the floor", evolve(KNOWN, probes=1), WIDE, (1299.2 + 1299.7 + 0.35 - 0.1) / 2),
    ("that shorter lives belie", evolve(KNOWN, probes=1, floor=1399.0), WIDE, (1298.9 + 1299.7 + 0.35 - 0.1) / 2),
)
def test_what_a_probe_asks_about(forecast: Forecast, proven: Bounds, asks_about: float) -> None:
    seconds = forecast.probe_in(proven, 1240.0)  # it leaves whole seconds before the time that it asks about
    assert seconds is not None
    assert (asks_about - 1240.0 - seconds) % 1 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("before", "seconds"), [(60.3, 1.3), (3.0, 1.0), (2.9, 0.9), (1.0, 0.0)])
def test_a_probe_has_a_second_to_connect_in_if_there_is_time(before: float, seconds: float) -> None:
    assert KNOWN.probe_in(STATED, 1299.7 - before) == pytest.approx(seconds)


@table(
    "forecast, proven, now",
    ("bounds within a gap", NEW, Bounds(1299.65, 1300.0), 1240.0),
    ("a lower bound within a gap of the forecast", KNOWN, Bounds(1299.7, 1300.5), 1240.0),
    ("three are enough", evolve(NEW, probes=PROBES), STATED, 1240.0),
    ("a second is left", KNOWN, STATED, 1298.8),
)
def test_no_probe(forecast: Forecast, proven: Bounds, now: float) -> None:
    assert forecast.probe_in(proven, now) is None


@table(
    "forecast, proven, latest",
    ("nothing is known", NEW, STATED, 1300.0),
    ("as foretold, and a gap", KNOWN, WIDE, 1299.7 + 0.35),
    ("another client has asked for the token", KNOWN, STRANGERS, 1280.0),
    ("lives have become longer", KNOWN, LONGER, 1400.0),
)
def test_when_a_token_has_expired(forecast: Forecast, proven: Bounds, latest: float) -> None:
    assert forecast.latest(proven) == pytest.approx(latest)


@table(
    "end, due",
    ("there is time", 1400.0, 1310.0),
    ("a gap before the end, for the answer", 1320.0, 1320 - 12.15),
    ("but not before the server finds it expired, if the way there takes as long as before", 1310.0, 1310.0 - 6),
)
def test_a_slow_server_is_asked_so_early_that_it_answers_in_time(end: float, due: float) -> None:
    assert Forecast(1000.0, 6.0).due(Bounds(1299.0, 1310.0), end) == pytest.approx(due)


@table(
    "forecast, lower, upper, least",
    ("a first life is learnt", NEW, 1299.6, 1299.9, 299.575),
    ("a longer one, too", KNOWN, 1299.8, 1300.0, 299.775),
    ("a shorter one is another client's", KNOWN, 1299.2, 1299.5, 299.7),
    ("a life that ends before the floor shows that all are shorter", KNOWN, 1199.0, 1199.2, 198.975),
)
def test_what_a_life_says_of_the_next(forecast: Forecast, lower: float, upper: float, least: float) -> None:
    following = forecast.for_next(Bounds(lower, upper), 1300.2, 0.3)
    assert following == Forecast(1300.2, 0.3, pytest.approx(least), pytest.approx(lower + least), 0)


@table(
    "forecast, proven, trip, probe, changes",
    ("a known life is learnt while the bounds are exact", KNOWN, EXACT, 0.1, True, {"least": 299.775, "probes": 1}),
    ("the first is not learnt before it has ended", NEW, EXACT, 0.1, True, {"probes": 1}),
    ("a faster round trip counts", KNOWN, STATED, 0.04, True, {"trip": 0.04, "probes": 1}),
    ("a slower one does not", KNOWN, STATED, 2.0, True, {"probes": 1}),
    ("a request that found the server sticky is no probe", NEW, STATED, 0.1, False, {}),
)
def test_what_an_answer_says(forecast: Forecast, proven: Bounds, trip: float, probe: bool, changes: dict) -> None:
    expected = {name: pytest.approx(value) for name, value in changes.items()}
    assert forecast.after_answer(proven, trip, probe=probe) == evolve(forecast, **expected)


def test_siblings_count_their_probes_together() -> None:
    ours, theirs = evolve(KNOWN, probes=2), evolve(KNOWN, first=1000.2, least=299.9)
    assert ours.merged(theirs) == evolve(theirs, first=1000.0, probes=2)
