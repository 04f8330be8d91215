"""The shared sign-in in every order of steps, as far as a test has time; `nox -s explore` goes on."""

import pytest

import explore
from enkash_auth._policy import attempts, classification
from enkash_auth._policy.classification import Answer


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("fine", [False, True])
def test_without_a_fault_two_processes_keep_every_promise(proven: bool, fine: bool) -> None:
    found = explore.explore(explore.start(proven, spare=0), 20 if fine else 8, fine=fine)
    assert not found.counter


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dialect", explore.DIALECTS)
def test_in_each_dialect_a_fault_breaks_no_promise(dialect: Answer, strict: bool, proven: bool) -> None:
    assert not explore.explore(explore.start(proven, dialect, spare=1, strict=strict), 4).counter


def test_each_row_that_is_broken_is_found_in_less_than_ten_steps() -> None:
    found = dict(explore.broken_rows())
    assert len(found) == len(classification.ANSWERS) + len(attempts.UNPROVEN) + len(attempts.PROVEN)
    assert not [name for name, one in found.items() if not one.counter or one.depth >= 10]
