"""A fact that callers rely on, a change of one, how much of it breaks them, and the version bump that follows."""

from collections.abc import Iterable
from enum import IntEnum

from attrs import frozen


class Level(IntEnum):
    """How far a change reaches. The last three are named like the parts of a version."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@frozen
class Fact:
    """What is said of `item` of `owner`: its value, how a line shows that, and what it means if it is new."""

    owner: str
    item: str
    value: str
    shown: str = ""
    added: Level = Level.MINOR
    otherwise: Level = Level.MAJOR
    how: str = "added"


Facts = dict[tuple[str, ...], Fact]  # by a path: what a fact belongs to has the path without the last part


@frozen
class Change:
    """A change of `item` of `owner`; of the owner itself if `item` is empty."""

    level: Level
    owner: str
    item: str
    what: str
    old: str = ""
    new: str = ""


def compare(before: Facts, after: Facts, rest: list[Change]) -> list[Change]:
    """Return what changed, largest first, but what belongs to a thing that changed itself; if nothing did, `rest`."""
    old, new = ({path: one.value for path, one in facts.items()} for facts in (before, after))
    found = []
    for path in old.keys() | new.keys():
        if old.get(path) != new.get(path) and old.get(path[:-1]) == new.get(path[:-1]):
            was, now = before.get(path), after.get(path)
            one = now or before[path]
            level, what = (one.otherwise, "changed" if now else "removed") if was else (one.added, one.how)
            found.append(Change(level, one.owner, one.item, what, was.shown if was else "", now.shown if now else ""))
    return sorted(found, key=lambda change: (-change.level, change.owner, change.item, change.what)) or rest


def bump(changes: Iterable[Change]) -> Level:
    """Return the version bump that follows from the changes."""
    return max((change.level for change in changes), default=Level.NONE)


def code(text: str) -> str:
    """Return `text` as one line of Markdown code, whatever it holds: names in a spec may be hostile."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    fence = "`"
    while fence in shown:
        fence += "`"
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def line(change: Change) -> str:
    """Return a change as one line of a Markdown list."""
    breaks = "**breaks callers:** " if change.level is Level.MAJOR else ""
    where = ", ".join(code(name) for name in (change.owner, change.item) if name)
    values = " → ".join(code(value) for value in (change.old, change.new) if value)
    return f"- {breaks}{where} {change.what}{': ' if values else ''}{values}"
