"""Compares an answer with the spec, and names the lines of the spec that an observation changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types
from jsonschema import Draft202012Validator

import spec_facts
from codegen import SPEC
from observations import Answered, Observation, issued

_CALL = ("paths", "/oauth/token", "post")
_SCHEMAS = ("components", "schemas")
_SNAKE_LIFE = ("SnakeTokenResponse", "properties", "expires_in")
Findings = list[tuple[int, str]]  # line of the spec, what to edit there


class Spec:
    """The spec, and which line says what."""

    def __init__(self, root: Path) -> None:
        text = (root / SPEC).read_text(encoding="utf-8")
        self.document, self._tree = spec_facts.load(text), yaml.compose(text)

    def line(self, *path: object) -> int:
        """Return the line of the key at a path, or of the last key on the way that the spec has."""
        node, line = self._tree, 1
        for part in map(str, path):
            for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.value == part:
                    node, line = value, key.start_mark.line + 1
        return line

    def at(self, *path: str) -> Any:
        node = self.document
        for part in path:
            node = node.get(part) or {}
        return node

    def differences(self, answer: Answered, seen: Observation) -> Findings:
        """Return where an answer is not as the spec says."""
        responses = (*_CALL, "responses")
        content = (*responses, str(answer.status), "content")
        if content[-2] not in self.at(*responses):
            return [(self.line(*responses), f"status {answer.status} is not in the spec")]
        if (media := answer.media()) not in self.at(*content):
            if media == "none" and not self.at(*content):
                return []
            return [(self.line(*content), f"a body of type {media} with status {answer.status} is not in the spec")]
        body = answer.json()
        if media != "application/json":
            return []
        if not isinstance(body, dict):
            return [(self.line(*content, media), f"the body with status {answer.status} is no JSON object")]
        return sorted(self._in_body(body, self.at(*content, media, "schema"), seen))

    def _in_body(self, body: dict[str, Any], schema: Any, seen: Observation) -> Iterator[tuple[int, str]]:
        names = [part["$ref"].rpartition("/")[2] for part in schema.get("anyOf", [schema])]
        schemas = {name: (*_SCHEMAS, name) for name in names}
        place = max(schemas.values(), key=lambda path: len(self.at(*path, "properties").keys() & body.keys()))
        for error in Draft202012Validator(self.at(*place)).iter_errors(body):
            line = self.line(*place, *error.absolute_schema_path)
            if error.validator == "required":
                yield line, f"{', '.join(sorted(set(error.validator_value) - body.keys()))} is missing"
            else:
                name = str(next(iter(error.absolute_path), "the body"))
                kind = seen["fields"].get(name, "object")
                yield line, f"{name} ({kind}) is not of {error.validator} {error.validator_value!r}"
        known = self.at(*place, "properties")
        for name, kind in seen["fields"].items():
            if "." not in name and name not in known:
                yield self.line(*place, "properties"), f"{name} ({kind}) is not in the spec"

    def open_questions(self, seen: Observation) -> Findings:
        """Return the descriptions that do not say yet what was observed on this host."""
        first = seen["answers"][0]
        found: list[tuple[tuple[str, ...], str]] = [(("info", "description"), "a server of EnKash's own has answered")]
        says = f"the names are in {first['casing']} case" if issued(seen) else "so a sign-in was refused"
        found.append(((*_CALL, "responses", str(first["status"]), "description"), says))
        if "same_token" in seen:
            says = "the same token again" if seen["same_token"] else "a new token each time"
            found.append(((*_CALL, "description"), f"a second sign-in brings {says}"))
        if "unit" in seen:
            camel = "expiresIn" in first["fields"]
            place = ("TokenResponse", "properties", "expiresIn") if camel else _SNAKE_LIFE
            found.append(((*_SCHEMAS, *place, "description"), f"the unit of a life is {seen['unit']}"))
        news = f"observed on {seen['host']}"
        return [(self.line(*path), what) for path, what in found if news not in str(self.at(*path))]
