"""What changed between two tables of facts, how much of it breaks callers, and the version bump that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """One thing that callers rely on, as text. `required`: a caller must pass it.

    `reach` is the level of a change of this text.
    """

    text: str
    required: bool = False
    reach: Level = Level.MAJOR


@frozen
class Change:
    """A change of `item` of `owner`; of the owner itself if `item` is empty."""

    level: Level
    owner: str
    item: str
    what: str
    old: str = ""
    new: str = ""
    others: tuple[str, ...] = ()  # further owners with the same change, for the same reason


Facts = Mapping[str, Mapping[str, Fact]]  # owner (an operation, a schema, a function, a class), item, fact


def diff(old: Facts, new: Facts) -> list[Change]:
    """Return the changes, largest first. Additions are minor unless callers must pass them; the rest is major."""
    found = [Change(Level.MAJOR, owner, "", "removed") for owner in old.keys() - new.keys()]
    found += [Change(Level.MINOR, owner, "", "added") for owner in new.keys() - old.keys()]
    for owner in old.keys() & new.keys():
        before, after = old[owner], new[owner]
        for item in before.keys() | after.keys():
            if item not in after:
                found.append(Change(Level.MAJOR, owner, item, "removed", old=before[item].text))
            elif item not in before:
                level = Level.MAJOR if after[item].required else Level.MINOR
                what = "added, and required" if after[item].required else "added"
                found.append(Change(level, owner, item, what, new=after[item].text))
            elif before[item] != after[item]:
                found.append(Change(after[item].reach, owner, item, "changed", before[item].text, after[item].text))
    return in_order(found)


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


_WORD = {Level.MAJOR: "**breaks callers:** ", Level.MINOR: "", Level.PATCH: "", Level.NONE: ""}


def line(change: Change) -> str:
    """Return a change as one line of a Markdown list."""
    where = f"{code(change.owner)}, {code(change.item)}" if change.item else code(change.owner)
    what = f"{change.what}:" if change.old or change.new else change.what
    values = " → ".join(code(value) for value in (change.old, change.new) if value)
    others = f" (also as {', '.join(map(code, change.others))})" if change.others else ""
    return f"- {_WORD[change.level]}{where} {what} {values}".rstrip() + others
