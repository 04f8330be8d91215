"""Imports between the wrapper's rooms point one way."""

from pathlib import Path

import pytest

from arrows import against, picture

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("_policy/cache.py", "from enkash_auth._runtime import Runtime"),
        ("_policy/cache.py", "import enkash_auth._engine"),
        ("_settings/sources.py", "def f():\n    from enkash_auth import _runtime"),
        ("_engine.py", "from ._provider import TokenProvider"),
        ("_engine.py", "from . import _auth"),
        ("_new.py", ""),
    ],
)
def test_an_import_against_the_arrows_is_found(tmp_path: Path, room: str, line: str) -> None:
    path = tmp_path / room
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert len(against(tmp_path)) == 1


def test_a_neighbour_and_a_lower_room_may_be_imported(tmp_path: Path) -> None:
    (tmp_path / "_fleet").mkdir()
    (tmp_path / "_fleet/shared.py").write_text(
        "from .sealed import Sealed\nfrom enkash_auth._policy.cache import Result"
    )
    assert against(tmp_path) == []


@pytest.mark.once
def test_the_picture_in_contributing_is_drawn_from_the_source() -> None:
    assert f"```mermaid\n{picture()}\n```" in CONTRIBUTING.read_text(encoding="utf-8")
