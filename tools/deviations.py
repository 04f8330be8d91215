"""Compares an answer with the spec, and names the lines of the spec that an observation changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types
from jsonschema import Draft202012Validator

from codegen import SPEC
from observations import Answered, Observation, issued

_CALL, _SCHEMAS = ("paths", "/oauth/token", "post"), ("components", "schemas")
Findings = list[tuple[int, str]]  # line of the spec, what to edit there


class Spec:
    """The spec, and which line says what."""

    def __init__(self, root: Path) -> None:
        text = (root / SPEC).read_text(encoding="utf-8")
        self._document, self._nodes = yaml.safe_load(text), yaml.compose(text)

    def find(self, *path: object) -> tuple[int, Any]:
        """Return the line of the key at a path, or of the last key on the way that the spec has; and what is there."""
        value, node, line = self._document, self._nodes, 1
        for part in map(str, path):
            value = value.get(part) or {} if isinstance(value, dict) else {}
            for key, inner in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.value == part:
                    node, line = inner, key.start_mark.line + 1
        return line, value

    def differences(self, answer: Answered, seen: Observation) -> Findings:
        """Return where an answer is not as the spec says."""
        place, status, media, body = (*_CALL, "responses"), str(answer.status), answer.media(), answer.json()
        line, responses = self.find(*place)
        if status not in responses:
            return [(line, f"status {status} is not in the spec")]
        line, content = self.find(*place, status, "content")
        if media not in content and (content or media != "none"):
            return [(line, f"a body of type {media} with status {status} is not in the spec")]
        if media != "application/json":
            return []
        if not isinstance(body, dict):
            line, _ = self.find(*place, status, "content", media)
            return [(line, f"the body with status {status} is no JSON object")]
        return sorted(self._in_body(body, content[media]["schema"], seen))

    def _in_body(self, body: dict[str, Any], schema: Any, seen: Observation) -> Iterator[tuple[int, str]]:
        names = [part["$ref"].rpartition("/")[2] for part in schema.get("anyOf", [schema])]
        found = [((*_SCHEMAS, name), self.find(*_SCHEMAS, name)[1]) for name in names]
        place, schema = max(found, key=lambda one: len(one[1]["properties"].keys() & body.keys()))
        for error in Draft202012Validator(schema).iter_errors(body):
            if error.validator == "required":
                says = f"{', '.join(sorted({*error.validator_value} - body.keys()))} is missing"
            else:
                name = str(next(iter(error.absolute_path), "the body"))
                kind = seen["fields"].get(name, "object")
                says = f"{name} ({kind}) is not of {error.validator} {error.validator_value!r}"
            yield self.find(*place, *error.absolute_schema_path)[0], says
        for name, kind in seen["fields"].items():
            if "." not in name and name not in schema["properties"]:
                yield self.find(*place, "properties")[0], f"{name} ({kind}) is not in the spec"

    def open_questions(self, seen: Observation) -> Findings:
        """Return the descriptions that do not say yet what was observed on this host."""
        first, host, says = seen["answers"][0], seen["host"], "so a sign-in was refused"
        if issued(seen):
            says = f"the names are in {first['casing']} case"
        life = "TokenResponse/expiresIn" if "expiresIn" in first["fields"] else "SnakeTokenResponse/expires_in"
        place = life.replace("/", "/properties/").split("/")
        same = {True: "the same token again", False: "a new token each time"}.get(seen.get("same_token"))
        rows = {
            ("info",): "a server of EnKash's own has answered",
            (*_CALL, "responses", str(first["status"])): says,
            _CALL: same and f"a second sign-in brings {same}",
            (*_SCHEMAS, *place): "unit" in seen and f"the unit of a life is {seen['unit']}",
        }
        found = [(*self.find(*path, "description"), what) for path, what in rows.items() if what]
        return [(line, what) for line, said, what in found if f"observed on {host}" not in str(said)]
