"""What of an OpenAPI document callers rely on, and what changed of it between two texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types, and its stubs are one package more

from changes import Change, Level, in_order

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
    """Return the document; raises `SpecError` for invalid YAML and for a dangling `$ref`."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the latter: a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(f"invalid YAML: {where}{getattr(error, 'problem', None) or error}") from None
    if not isinstance(document, dict):
        raise SpecError("the document is not a mapping")
    try:
        dangling = [f"{where}: $ref {ref!r} names nothing" for where, ref in _refs(document) if not _at(document, ref)]
    except RecursionError:
        raise SpecError("the document is nested too deeply, or in itself") from None
    if dangling:
        raise SpecError("\n".join(dangling))
    named: dict[str, str] = {}  # one operation would take the module of another whose name is spelt like its own
    for path, item in _parts(document.get("paths")).items():
        for method, operation in _parts(item).items():
            name, owner = _parts(operation).get("operationId"), f"{method} {path}"
            other = named.setdefault(re.sub(r"[\W_]", "", str(name)).lower(), owner) if name else owner
            if other != owner:
                raise SpecError(f"operationId {name!r} of {owner!r} is taken by {other!r}: choose another")
    return document


def _refs(node: Any, where: str = "#") -> Iterator[tuple[str, str]]:
    ref = node.get("$ref") if isinstance(node, dict) else None
    if isinstance(ref, str) and ref.startswith("#"):
        yield where, ref
    for key, value in _parts(node).items():
        yield from _refs(value, f"{where}/{key}")


def _at(document: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _parts(node: Any) -> dict[str, Any]:
    """Return what a node holds, by name; what a list holds has its own name, else its text or its place."""
    if isinstance(node, list):
        named = {True: lambda i, one: str(one.get("name") or one.get("url") or i), False: lambda i, one: repr(one)}
        return {named[isinstance(one, dict)](i, one): one for i, one in enumerate(node)}
    return node if isinstance(node, dict) else {}


def _owners(document: dict[str, Any]) -> dict[str, Any]:
    """Return the operations, the components, and the document without these."""
    found = {"document": {name: node for name, node in document.items() if name not in ("paths", "components")}}
    for path, item in (document.get("paths") or {}).items():
        shared = {name: node for name, node in item.items() if name not in _METHODS}
        for method, node in ((method, item[method] or {}) for method in _METHODS if method in item):
            own = {"tags": (node.get("tags") or ["default"])[0]}  # the first one is a name in the client
            if both := [one for part in (shared, node) for one in part.get("parameters") or []]:
                own["parameters"] = both
            found[f"{method.upper()} {path}"] = {**shared, **node, **own}
    for kind, components in (document.get("components") or {}).items():
        found |= {f"{kind.removesuffix('s')} {name}": node for name, node in _parts(components).items()}
    return found


def changes(old: str, new: str) -> list[Change]:
    """Return what changed between two texts of the spec; raises `SpecError` for an invalid one."""
    before, after = _owners(load(old)) if old else {}, _owners(load(new))
    found = [Change(Level.MAJOR, owner, "", "removed") for owner in before.keys() - after.keys()]
    found += [Change(Level.MINOR, owner, "", "added") for owner in after.keys() - before.keys()]
    for owner in before.keys() & after.keys():
        found += _compared(owner, (), before[owner], after[owner])
    if not found and old != new:
        found = [Change(Level.PATCH, "document", "", "changed in its prose or examples only")]
    return in_order(found)


def _compared(owner: str, path: tuple[str, ...], old: Any, new: Any) -> Iterator[Change]:
    if not (isinstance(old, dict | list) and type(old) is type(new)):
        if old != new:
            yield Change(_level(path), owner, ".".join(path), "changed", _short(old), _short(new))
        return
    before, after = _parts(old), _parts(new)
    for name in dict.fromkeys([*before, *after]):
        here = (*path, str(name))
        if name in _PROSE and path[-1:] != ("properties",):  # a field may have such a name
            continue
        if name not in after:
            yield Change(_level(here), owner, ".".join(here), "removed", old=_short(before[name]))
        elif name not in before:
            yield Change(_level(here, after[name]), owner, ".".join(here), "added", new=_short(after[name]))
        else:
            yield from _compared(owner, here, before[name], after[name])


def _level(path: tuple[str, ...], added: Any = None) -> Level:
    if path[:1] == ("info",):
        return Level.PATCH
    above, last = ("", *path)[-2:]
    limits = above in {"required", *_SHAPES} or (last in _LIMITS and above != "properties")
    sent = [added] if above == "parameters" or last == "requestBody" else added if last == "parameters" else []
    needed = any(isinstance(one, dict) and (one.get("required") is True or "$ref" in one) for one in sent or [])
    return Level.MINOR if added is not None and not limits and not needed else Level.MAJOR


def _short(node: Any) -> str:
    """Return a node as one line, without what lies inside."""
    if isinstance(node, dict):
        return ", ".join(str(node[key]) for key in ("type", "$ref", "format") if key in node)
    return ", ".join(map(str, node)) if isinstance(node, list) else str(node)


def risks(old: str, new: str) -> list[Change]:
    """Return where an answer takes fixed values and took others before, which no type check finds."""
    document = load(new)
    asked = {ref.rpartition("/")[2] for where, ref in _refs(document) if "/requestBody/" in where}
    before = {(owner, path): values for owner, path, values in _closed(load(old) if old else document)}
    found = []
    for owner, path, values in _closed(document):
        kind, _, name = owner.partition(" ")
        answers = name not in asked if kind == "schema" else path.startswith("responses.")
        if answers and not (values >= before.get((owner, path), {""})):
            found.append(Change(Level.MAJOR, owner, path, "takes only", new=", ".join(sorted(values))))
    return found


def _closed(document: dict[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield each place with fixed values: owner, path, values."""
    for owner, node in _owners(document).items():
        for path, values in _fixed((), node):
            yield owner, ".".join(path), values


def _fixed(path: tuple[str, ...], node: Any) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    values = node.get("enum", [node["const"]] if "const" in node else []) if isinstance(node, dict) else []
    if isinstance(values, list) and values:
        yield path, {repr(value) for value in values}
    for name, part in _parts(node).items():
        if name not in _PROSE or path[-1:] == ("properties",):
            yield from _fixed((*path, str(name)), part)
