"""The table of rules that `nox -s mutations` breaks."""

from pathlib import Path
from typing import Any

import pytest

import mutations

ROOT = Path(__file__).parents[2]


def test_a_word_of_no_rule_is_an_error_and_not_a_success() -> None:
    with pytest.raises(SystemExit, match="no rule holds one of these words: nosuch"):
        mutations.main(["nosuch"])


def test_a_test_that_fails_anyway_has_noticed_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutations, "survives", lambda module, old, new, tests: False)
    with pytest.raises(SystemExit, match=r"a test fails with no rule broken, .*: pytest \w+"):
        mutations.main([])
    assert capsys.readouterr().out == ""


def test_each_row_still_finds_the_line_that_it_breaks() -> None:
    def found(row: dict[str, Any]) -> int:
        return (mutations.PACKAGE / f"{row['module']}.py").read_text("utf-8").count(row["old"])

    assert [row["rule"] for row in mutations.rows() if found(row) != 1] == []


def test_the_engine_s_page_has_each_row() -> None:
    page = (ROOT / "docs" / "engine.md").read_text("utf-8").splitlines()
    named = [line.split(" | ")[0].removeprefix("| ") for line in page if line.endswith("|") and ".py` | test_" in line]
    assert named == [row["rule"] for row in mutations.rows()]
