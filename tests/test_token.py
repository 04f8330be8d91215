"""What a server's text or number says of a token."""

import pytest

from enkash_auth._policy.token import read_life

TEN_YEARS = 10 * 365 * 86_400


@pytest.mark.parametrize("digits", [13, 400, 5000])
@pytest.mark.parametrize("kind", [int, str])
def test_a_life_of_many_digits_counts_as_ten_years(digits: int, kind: type) -> None:
    assert read_life(10**digits if kind is int else "9" * digits) == TEN_YEARS
