"""A small fleet in the simulated world of `benchmarks/scale.py`; `nox -s scale` makes the table for large ones."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import scale
from scale import LATENCY, Run

GAP, GRANT, POLLS = 2 * LATENCY + 0.15, LATENCY, 0.3  # seconds; the last: of two looks at the store


@pytest.mark.parametrize(
    ("sticky", "first", "later", "longest"),
    [(False, 2, 2, GRANT + POLLS), (True, 5, 2.2, GAP + GRANT + POLLS)],
    ids=["fresh", "sticky"],
)
def test_a_fleet_costs_its_token_server_no_more_than_one_process(
    sticky: bool, first: int, later: float, longest: float
) -> None:
    """A sticky server is probed up to three times in the first life, and once in each that follows."""
    run = Run(30, sticky)
    run.go()
    assert run.failed == 0
    assert run.sign_ins()[0] <= first
    assert run.sign_ins()[1] <= later
    assert run.longest <= longest
    assert max(run.store.seconds.values()) <= 10 * 30


def test_a_slow_sticky_server_costs_a_fleet_no_failed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request under a lease has 5 s."""
    monkeypatch.setattr(scale, "LATENCY", 3.0)
    run = Run(3, sticky=True)
    run.go()
    assert run.failed == 0
    assert run.sign_ins() == (2, 1)
