"""The facts of an OpenAPI document that callers rely on: operations, fields, types, what is required."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from changes import Fact, Level

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_NARROWING = (
    *("format", "enum", "const", "default", "pattern", "nullable"),
    *("minimum", "maximum", "minLength", "maxLength", "additionalProperties"),
)
_COMPOSED = {"anyOf": " or ", "oneOf": " xor ", "allOf": " and "}


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
    except yaml.YAMLError as error:
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
    return document


def _refs(node: Any, where: str = "#") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(ref := node.get("$ref"), str) and ref.startswith("#"):
            yield where, ref
        for key, value in node.items():
            yield from _refs(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _refs(value, f"{where}/{index}")


def _at(document: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        document = document.get(name) if isinstance(document, dict) else None
    return document


def facts(document: dict[str, Any]) -> dict[str, dict[str, Fact]]:
    """Return what each operation and each schema promises."""
    found: dict[str, dict[str, Fact]] = {}
    for path, item in (document.get("paths") or {}).items():
        for method in _METHODS:
            if method in item:
                found[f"{method.upper()} {path}"] = dict(_operation(item, item[method]))
    components = document.get("components") or {}
    for name, schema in (components.get("schemas") or {}).items():
        found[f"schema {name}"] = {"": Fact(_type(schema)), **dict(_fields(schema))}
    for name, scheme in (components.get("securitySchemes") or {}).items():
        found[f"security scheme {name}"] = {"": Fact(" ".join(str(scheme.get(k, "")) for k in ("type", "scheme")))}
    found["document"] = {f"server {server['url']}": Fact("") for server in document.get("servers") or []}
    found["document"]["security"] = Fact(_security(document))
    if number := (document.get("info") or {}).get("version"):
        found["document"]["info.version"] = Fact(str(number), reach=Level.PATCH)
    return found


def closed(document: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Return the fields of answers that have fixed values, as owner and item (see `facts`), with these values."""
    found: dict[tuple[str, str], set[str]] = {}

    def look(owner: str, item: str, schema: Any) -> None:
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            if (name := f"schema {_type(schema)}") not in seen:
                seen.add(name)
                look(name, "", _at(document, schema["$ref"]))
            return
        if values := [schema["const"]] if "const" in schema else schema.get("enum"):
            found[owner, item] = {repr(value) for value in values}
        for name, field in (schema.get("properties") or {}).items():
            look(owner, f"{item}, field {name}".removeprefix(", "), field)
        for part in [schema.get("items"), *(part for word in _COMPOSED for part in schema.get(word) or [])]:
            look(owner, item, part)

    seen: set[str] = set()
    for path, item in (document.get("paths") or {}).items():
        for method in _METHODS:
            for status, answer in ((item.get(method) or {}).get("responses") or {}).items():
                if "$ref" in answer:
                    answer = _at(document, answer["$ref"]) or {}
                for media, content in (answer.get("content") or {}).items():
                    look(f"{method.upper()} {path}", f"answer {status} {media}", content.get("schema"))
    return found


def _security(node: dict[str, Any]) -> str:
    return " or ".join("+".join(map(str, one)) or "none" for one in node.get("security") or [])


def _operation(item: dict[str, Any], operation: dict[str, Any]) -> Iterator[tuple[str, Fact]]:
    yield "operationId", Fact(str(operation.get("operationId")))
    yield "tags", Fact(", ".join(map(str, operation.get("tags") or [])))
    if "security" in operation:
        yield "security", Fact(_security(operation))
    for parameter in [*(item.get("parameters") or []), *(operation.get("parameters") or [])]:
        if "$ref" in parameter:
            yield f"parameter {_type(parameter)}", Fact("")
            continue
        required = bool(parameter.get("required"))
        yield f"{parameter.get('in')} parameter {parameter.get('name')}", _fact(parameter.get("schema"), required)
    body = operation.get("requestBody") or {}
    for media, content in (body.get("content") or {}).items():
        yield f"body {media}", _fact(content.get("schema"), bool(body.get("required")))
        yield from _fields(content.get("schema"), f"body {media}, ")
    for status, answer in (operation.get("responses") or {}).items():
        yield f"answer {status}", Fact(_type(answer) if "$ref" in answer else "")
        for media, content in (answer.get("content") or {}).items():
            yield f"answer {status} {media}", Fact(_type(content.get("schema")))
            yield from _fields(content.get("schema"), f"answer {status} {media}, ")


def _fields(schema: Any, inside: str = "") -> Iterator[tuple[str, Fact]]:
    """Yield the fields of a schema, inline ones at any depth. A field inside another is never required by itself."""
    if not isinstance(schema, dict) or "$ref" in schema:
        return
    for name, field in (schema.get("properties") or {}).items():
        fact = _fact(field, name in (schema.get("required") or []))
        yield f"{inside}field {name}", Fact(fact.text, fact.required and not inside)
        yield from _fields(field, f"{inside}field {name}, ")
    for part in [schema.get("items"), *(part for word in _COMPOSED for part in schema.get(word) or [])]:
        yield from _fields(part, inside)


def _fact(schema: Any, required: bool) -> Fact:
    return Fact(f"{_type(schema)}, {'required' if required else 'optional'}", required)


def _type(schema: Any) -> str:
    """Return a schema as one line: its type and its limits, without prose and examples."""
    if not isinstance(schema, dict):
        return "anything"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for word, sign in _COMPOSED.items():
        if word in schema:
            return sign.join(map(_type, schema[word]))
    kind = schema.get("type", "anything")
    text = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    if "items" in schema:
        text += f" of {_type(schema['items'])}"
    return text + "".join(f", {word} {schema[word]}" for word in _NARROWING if word in schema)
