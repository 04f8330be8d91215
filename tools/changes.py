"""A change, how much of it breaks callers, and the version bump that follows."""

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
class Change:
    """A change of `item` of `owner`; of the owner itself if `item` is empty."""

    level: Level
    owner: str
    item: str
    what: str
    old: str = ""
    new: str = ""


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Return the changes, largest first."""
    return sorted(changes, key=lambda change: (-change.level, change.owner, change.item, change.what))


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
