"""What changed between two trees of what callers rely on, and what of it breaks them."""

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

Level = IntEnum("Level", "NONE PATCH MINOR MAJOR", start=0)  # the last three are the parts of a version
Path = tuple[str, ...]
_PROSE = "description|summary|examples?|externalDocs|info|x-(?!enum-varnames).*"  # that one names an enum's members
_MAPS = "properties|parameters|responses|headers|content|servers|tags"  # with names that an author chooses
# What is gone or changed breaks callers; of what is new says the first that fits `owner/part/part = value`.
_RULES = {
    r"[^/]+ = ": Level.MINOR,  # an operation, a component, a module, a class, a function
    r"[^/]+/(\.|base |overload |@\S*deprecated|extra |command )": Level.MINOR,  # of Python: an attribute, …
    r"[^/]+/\((\*|.* = .* = )": Level.MINOR,  # a parameter with a default
    r".*/parameters(/[^/]+)? = (.*'required': True|(\[|.*, )?\{'\$ref')": Level.MAJOR,
    r".*/properties/[^/]+/(?!deprecated)[^/]+ = ": Level.MAJOR,  # a limit of a field
    r".*/(deprecated|enum/(?!None = )[^/]+|x-enum-varnames/[^/]+) = ": Level.MINOR,
    r"(.*/requestBody|requestBodie [^/]+)/content/[^/]+ = ": Level.MAJOR,  # the client sends the last that fits
    rf".*/({_MAPS})(/[^/]+)? = ": Level.MINOR,
    "": Level.MAJOR,
}
# These leave fewer values than there were: it type-checks, and an answer with any other is rejected.
_RISKY = (
    r"added [^=]*/(enum|const) = ",
    r"added [^=]* = .*'(enum|const)': ",
    r"removed .*/enum/[^/]+ = ",
    r"changed .*/const = ",
)


class Change(NamedTuple):
    """A change at a path, whose first part is the owner."""

    level: Level
    path: Path
    line: str  # of the report


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return what changed between two trees, by their owners; largest first, nothing inside of what changed itself."""
    old, new = dict(walk(before)), dict(walk(after))
    changed = {path for path in old.keys() | new.keys() if _itself(old, path) != _itself(new, path)}
    found = []
    for path in (path for path in changed if (path[:-1] or (path[0].rpartition(".")[0],)) not in changed):
        what = "added" if path not in old else "changed" if path in new else "removed"
        text = f"{'/'.join(part.replace('/', '~1') for part in path)} = {new.get(path)}"
        rule = next(level for pattern, level in _RULES.items() if re.match(pattern, text, re.DOTALL))
        level = rule if what == "added" else Level.MAJOR
        where = ", ".join(code(name) for name in (path[0], ".".join(path[1:])) if name)
        values = [_shown(facts[path]) for facts in (old, new) if path in facts and (path[1:] or what == "changed")]
        line = f"- {'**breaks callers:** ' * (level is Level.MAJOR)}{where} {what}"
        line += ": " * any(values) + " → ".join(code(value) for value in values if value)
        risky = any(re.match(pattern, f"{what} {text}", re.DOTALL) for pattern in _RISKY)
        found.append(Change(level, path, line + " (risky: any other value would be rejected)" * risky))
    return sorted(found, key=lambda one: (-one.level, one.path))


def walk(node: Any, path: Path = (), named: bool = True) -> Iterator[tuple[Path, Any]]:
    """Yield what a tree holds, at any depth, but prose; a part of a list has its own name, else its text or place."""
    match node:
        case {"enum": [*values], "x-enum-varnames": [*names]}:
            node = {**node, "x-enum-varnames": dict(zip(map(str, values), names, strict=False))}
    if isinstance(node, list):  # two of one name, in a query and a header, have both other names in the client
        names = [_name(place, part) for place, part in enumerate(node)]
        node = {name if names.count(name) == 1 else f"{name}.{at}": node[at] for at, name in enumerate(names)}
    for name, part in node.items() if isinstance(node, dict) else ():
        if named or not re.fullmatch(_PROSE, str(name)):
            yield (at := (*path, str(name))), part
            yield from walk(part, at, not named and bool(re.fullmatch(_MAPS, str(name))))


def _name(place: int, part: Any) -> str:
    return str(part.get("name", part.get("url", place)) if isinstance(part, dict) else repr(part))


def _itself(facts: dict[Path, Any], path: Path) -> Any:
    """Return what a node is, without what lies inside."""
    node, around = facts.get(path), facts.get(path[:-1])
    media = isinstance(around, dict) and path[-2:-1] == ("content",) and path[-3:-2] != ("properties",)
    first = media and path[-1] == next(iter(around), "")  # of these the client reads one only
    inside = [node.get(key) for key in ("type", "$ref", "format")] if isinstance(node, dict) else repr(node)
    return path in facts, type(node), first, isinstance(node, list) or inside


def _shown(node: Any) -> str:
    if isinstance(node, dict):
        node = [node[key] for key in ("type", "$ref", "format", "enum", "const") if key in node]
    return ", ".join(map(str, node)) if isinstance(node, list) else str(node)


def code(text: str) -> str:
    """Return `text` as one line of Markdown code, whatever it holds: names in a spec may be hostile."""
    return f"`{ascii(text)[1:-1].replace('`', ' ')}`"
