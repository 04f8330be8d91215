"""What breaks callers raises `info.version`, unless a person has said in the spec why not."""

from __future__ import annotations

from typing import Any

import pytest

import gate
from changes import Change, Level

pytestmark = pytest.mark.once
GONE = Change(Level.MAJOR, "schema A", "field b", "removed")
MOVED = Change(Level.MAJOR, "client.A", "(b)", "removed")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1.1.0", "2.0.0", True),
        ("1.1.0", "1.2.0", False),
        ("1.1.0", "1.1.0", False),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "1.0.0", True),
        ("draft", "draft", False),
        ("draft", "final", True),
    ],
)
def test_a_breaking_change_needs_the_next_major_and_below_one_the_next_minor(
    old: str, new: str, expected: bool
) -> None:
    assert gate.raised(old, new) is expected


def _said(**changed: Any) -> dict[str, Any]:
    return {"x-overruled": {"since": "v1", "breaks": ["schema A", "client.A"], "because": "x", **changed}}


@pytest.mark.parametrize(
    ("found", "info", "wrong"),
    [
        ([], {}, ""),
        ([GONE], {"version": "2.0.0"}, ""),
        ([GONE], {}, "breaks: [schema A]"),
        ([GONE, GONE, MOVED], {}, "`since: v1`, `breaks: [schema A, client.A]`"),
        ([GONE, MOVED], _said(), ""),
        ([GONE, MOVED], _said(breaks=["schema A"]), "breaks: [client.A]"),
        ([GONE], _said(since="v0"), "breaks: [schema A]"),
        ([GONE], _said(because=""), "info.x-overruled needs `since`"),
        ([GONE], _said(breaks="schema A"), "info.x-overruled needs `since`"),
        ([GONE], {"x-overruled": True}, "info.x-overruled needs `since`"),
    ],
)
def test_a_person_overrules_named_changes_since_one_release(
    found: list[Change], info: dict[str, Any], wrong: str
) -> None:
    said = gate.verdict(found, "v1", "1.0.0", {"version": "1.1.0", **info})
    assert wrong in said and bool(said) is bool(wrong)
