"""Imports between the wrapper's rooms point one way."""

from pathlib import Path

import pytest

from arrows import against, picture

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("room", "line", "found"),
    [
        ("_policy/cache.py", "from enkash_auth._runtime import Runtime", 1),
        ("_policy/cache.py", "import enkash_auth._engine", 1),
        ("_settings/origin.py", "def f():\n    from enkash_auth import _runtime", 1),
        ("_engine.py", "from ._provider import TokenProvider", 1),
        ("_engine.py", "from . import _auth", 1),
        ("_new.py", "", 1),
        ("_fleet/shared.py", "from .sealed import Sealed\nfrom enkash_auth._policy.cache import Result", 0),
    ],
)
def test_a_room_may_import_a_neighbour_and_a_lower_room_only(tmp_path: Path, room: str, line: str, found: int) -> None:
    (tmp_path / room).parent.mkdir(exist_ok=True)
    (tmp_path / room).write_text(line)
    assert len(against(tmp_path)) == found


def test_the_picture_in_contributing_is_drawn_from_the_source() -> None:
    assert f"```mermaid\n{picture()}\n```" in CONTRIBUTING.read_text(encoding="utf-8")
