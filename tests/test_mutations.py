"""The table of rules that `nox -s mutations` breaks."""

import pytest

import mutations


@pytest.mark.once
def test_a_word_of_no_rule_is_an_error_and_not_a_success() -> None:
    with pytest.raises(SystemExit, match="no rule holds one of these words: nosuch"):
        mutations.main(["nosuch"])
