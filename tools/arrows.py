"""Checks that imports between the wrapper's rooms point one way: down this list. Run by `nox -s lint`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "wrapper" / "enkash_auth"
# a room may use those below it; rooms of one line do not use each other
ROOMS = (
    ("cli",),
    ("testing", "adapters"),
    ("_auth",),
    ("_provider",),
    ("_engine",),
    ("_fleet", "_flight"),
    ("_signin",),
    ("_settings", "_runtime", "otel"),
    ("events", "stores", "_versions"),
    ("_policy",),
    ("errors",),
)
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def used(tree: ast.AST) -> set[str]:
    """Return the rooms that a module imports from, wherever in it: `from . import`, too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"enkash_auth.{node.module or ''}".rstrip(".") if node.level == 1 else node.module or ""
            found |= {f"{module}.{name.name}" for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("enkash_auth.")} & FLOORS.keys()


def against(package: Path = PACKAGE) -> list[str]:
    """Return the imports that point up or sideways; relative ones inside a folder stay inside it."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        if room not in FLOORS:
            wrong.append(f"{path.name}: the room {room} stands in no line of tools/arrows.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.parent != package:  # a relative import there names a neighbour
            tree = ast.Module([node for node in ast.walk(tree) if getattr(node, "level", 0) != 1], [])
        wrong += [
            f"{path.relative_to(package)} imports {other}"
            for other in sorted(used(tree))
            if other != room and FLOORS[other] <= FLOORS[room]
        ]
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(against()) or 0)
