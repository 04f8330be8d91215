"""What of an OpenAPI document callers rely on, and what changed of it between two texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types, and its stubs are one package more

from changes import Change, Fact, Facts, Level, compare

_PROSE = {"description", "summary", "example", "examples", "externalDocs", "contact", "license"}
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# what is added here forbids something that was allowed
_LIMITS = {"required", "enum", "const", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "type"}
_LIMITS |= {"additionalProperties", "default", "$ref"}
# and here it changes a type or a name in the client
_SHAPES = {"allOf", "anyOf", "oneOf"}
_LIMITS |= {"nullable", "title", *_SHAPES}


class SpecError(Exception):
    """No client can be generated from the document; the message says why and where."""


def read(path: Path) -> dict[str, Any]:
    """Return the document in a file; raises `SpecError` as `load` does, and for a file that is not text."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SpecError("it cannot be read as a text file") from None
    return load(text)


def load(text: str) -> dict[str, Any]:
    """Return the document; raises `SpecError` for invalid YAML, a dangling `$ref` and two operations of one name."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the latter: a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(f"invalid YAML: {where}{getattr(error, 'problem', None) or error}") from None
    if not isinstance(document, dict):
        raise SpecError("the document is not a mapping")
    try:
        found, wrong, named = dict(_nodes(document)), [], dict[str, str]()
    except RecursionError:
        raise SpecError("the document is nested too deeply, or in itself") from None
    for path, node in found.items():
        if path[-1] == "$ref" and str(node).startswith("#") and not _at(document, node):
            wrong.append(f"#/{'/'.join(path[:-1])}: $ref {node!r} names nothing")
        if path[0] == "paths" and path[3:] == ("operationId",):
            other = named.setdefault(re.sub(r"[\W_]", "", str(node)).lower(), owner := f"{path[2]} {path[1]}")
            if other != owner:  # it would take the other's module
                wrong.append(f"operationId {node!r} of {owner!r} is taken by {other!r}: choose another")
    if wrong:
        raise SpecError("\n".join(wrong))
    return document


def _nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what a node holds, at any depth, but prose; a part of a list has its own name, else its text or place."""
    if isinstance(node, list):
        named = {True: lambda i, one: str(one.get("name") or one.get("url") or i), False: lambda i, one: repr(one)}
        node = {named[isinstance(one, dict)](i, one): one for i, one in enumerate(node)}
    by_name = path[-1:] in {("properties",), ("parameters",)} or (path[:1] == ("components",) and len(path) == 2)
    for name, part in node.items() if isinstance(node, dict) else ():
        if name not in _PROSE or by_name:
            yield (*path, str(name)), part
            yield from _nodes(part, (*path, str(name)))


def _at(document: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        document = document.get(name) if isinstance(document, dict) else None
    return document


def facts(text: str) -> Facts:
    """Return what a text of the spec says, but of paths and components as a whole: theirs are the owners."""
    found = {}
    for path, node in _nodes(load(text)):
        if len(path) > 2 or path[0] not in ("paths", "components"):
            if path[0] == "paths" and path[3:] == ("tags",):
                node = (node or ["default"])[0]  # the first one is a name in the client
            where, value = _place(path), type(node).__name__ if isinstance(node, dict | list) else repr(node)
            shown = _short(node) if where[1] else ""
            patch = {"otherwise": Level.PATCH} if path[0] == "info" else {}
            found[path] = Fact(*where, value, shown, _if_added(path, node), **patch)
    return found


def _place(path: tuple[str, ...]) -> tuple[str, str]:
    """Return an operation, all of a path, a component or the document, and where in it `path` leads."""
    if path[0] == "components":
        return f"{path[1].removesuffix('s')} {path[2]}", ".".join(path[3:])
    if path[0] == "paths" and path[2] in _METHODS:
        return f"{path[2].upper()} {path[1]}", ".".join(path[3:])
    return (path[1], ".".join(path[2:])) if path[0] == "paths" else ("document", ".".join(path))


def _if_added(path: tuple[str, ...], node: Any) -> Level:
    if path[0] == "info":
        return Level.PATCH
    above, last = ("", *path)[-2:]
    limits = above in {"required", *_SHAPES} or (last in _LIMITS and above != "properties")
    limits |= last == "tags" and len(path) == 4
    sent = [node] if above == "parameters" or last == "requestBody" else node if last == "parameters" else []
    needed = any(isinstance(one, dict) and (one.get("required") is True or "$ref" in one) for one in sent or [])
    return Level.MAJOR if limits or needed else Level.MINOR


def _short(node: Any) -> str:
    """Return a node as one line, without what lies inside."""
    if isinstance(node, dict):
        return ", ".join(str(node[key]) for key in ("type", "$ref", "format") if key in node)
    return ", ".join(map(str, node)) if isinstance(node, list) else str(node)


def changes(old: str, new: str) -> list[Change]:
    """Return what changed between two texts of the spec; raises `SpecError` for an invalid one."""
    prose = [Change(Level.PATCH, "document", "", "changed in its prose or examples only")]
    return compare(facts(old) if old else {}, facts(new), prose if old != new else [])


def risks(old: str, new: str) -> list[Change]:
    """Return where an answer takes fixed values and took others before, which no type check finds."""
    after = facts(new)
    asked = {
        one.shown.rpartition("/")[2] for path, one in after.items() if path[-1] == "$ref" and "requestBody" in path
    }
    before, found = _closed(facts(old) if old else after), []
    for path, values in _closed(after).items():
        answers = path[2] not in asked if path[:2] == ("components", "schemas") else "responses" in path
        if answers and not values >= before.get(path, {""}):
            found.append(Change(Level.MAJOR, *_place(path), "takes only", new=", ".join(sorted(values))))
    return found


def _closed(found: Facts) -> dict[tuple[str, ...], set[str]]:
    """Return the fixed values of each place that has some."""
    closed: dict[tuple[str, ...], set[str]] = {}
    for path, one in found.items():
        if path[-1] == "const" and path[-2] != "properties":
            closed.setdefault(path[:-1], set()).add(one.value)
        if path[-2:-1] == ("enum",) and found[path[:-1]].value == "list":
            closed.setdefault(path[:-2], set()).add(path[-1])
    return closed
