"""A small fleet in the simulated world of `benchmarks/scale.py`; `nox -s scale` makes the table for large ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from scale import LATENCY, LIVES, Run


@pytest.mark.once
@pytest.mark.parametrize(("sticky", "requests"), [(False, 2), (True, 3.5)], ids=["fresh", "sticky"])
def test_a_fleet_costs_its_token_server_no_more_than_one_process(sticky: bool, requests: float) -> None:
    """A sticky server is looked at up to three times a life until its lives are known."""
    run = Run(30, sticky)
    run.go()
    assert run.failed == 0
    assert run.grants / LIVES <= requests
    assert run.longest <= (1 if sticky else 0) + 2 * LATENCY + 0.5  # the last: half a second between two looks
    assert max(run.store.seconds.values()) <= 10 * 30
