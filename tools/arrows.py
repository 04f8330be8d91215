"""Checks that imports between the wrapper's rooms point one way: down this list. Run by `nox -s lint`.

`python tools/arrows.py --picture` draws them, for CONTRIBUTING.md.
"""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "wrapper" / "enkash_auth"
# a room may use those below it; rooms of one line do not use each other
ROOMS = (
    ("cli",),
    ("testing",),
    ("_auth", "adapters"),
    ("_calls",),
    ("_provider",),
    ("_engine",),
    ("_held",),
    ("_fleet", "_flight"),
    ("_signin",),
    ("_settings", "_runtime", "otel"),
    ("events", "stores", "_versions"),
    ("_policy", "_forks", "_machine"),
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


def imports(package: Path = PACKAGE) -> dict[str, dict[str, set[str]]]:
    """Return, for each room and each of its files, the other rooms that it imports from."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.parent != package:  # a relative import there names a neighbour
            tree = ast.Module([node for node in ast.walk(tree) if getattr(node, "level", 0) != 1], [])
        if room != "__init__":
            found.setdefault(room, {})[str(path.relative_to(package))] = used(tree) - {room}
    return found


def against(package: Path = PACKAGE) -> list[str]:
    """Return what points up or sideways, and the rooms that have no place."""
    wrong = []
    for room, files in imports(package).items():
        if room not in FLOORS:
            wrong.append(f"the room {room} stands in no line of tools/arrows.py")
            continue
        for name, others in files.items():
            wrong += [f"{name} imports {other}" for other in sorted(others) if FLOORS[other] <= FLOORS[room]]
    return wrong


def picture(package: Path = PACKAGE) -> str:
    """Return the rooms and their imports as a Mermaid flowchart; an arrow that others imply is left out."""
    direct = {room: set().union(*files.values()) for room, files in imports(package).items()}

    def reached(room: str) -> set[str]:
        return direct.get(room, set()).union(*map(reached, direct.get(room, ())))

    lines = ["flowchart TB"]
    for room in sorted(direct, key=lambda room: (FLOORS[room], room)):
        implied = set().union(*map(reached, direct[room]))
        lines += [f"  {room} --> {other}" for other in sorted(direct[room] - implied, key=lambda o: (FLOORS[o], o))]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--picture"]:
        print(picture())
    else:
        sys.exit("\n".join(against()) or 0)
