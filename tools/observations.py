"""What a token server answered, without a value of it: in spec/observations/, and from there on docs/server.md."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from enkash_auth._signin.answers import read_body

FOLDER, PAGE = Path("spec", "observations"), Path("docs", "server.md")
_BEGIN = "<!-- observations: `nox -s contract` writes what follows -->\n\n"
_END = "\n<!-- end of the observations -->\n"
_NONE = """Nothing yet: of EnKash's own server nothing was observed on the wire. Whoever has an account runs this:

```bash
nox -s contract -- https://ekpayout-uat.enkash.in
```
"""
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
_MEDIA = ("application/json", "application/problem+json", "text/html", "text/plain")
_SCHEMES = r"(?:^|,)\s*(basic|bearer|digest|negotiate)\b"
Observation = dict[str, Any]


@frozen
class Answered:
    """An answer as it came; only `describe` looks at its values."""

    status: int
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    def media(self) -> str:
        media = self.header("content-type").partition(";")[0].strip().lower()
        return "none" if not self.body else media if media in _MEDIA else "other"


def describe(answer: Answered, secrets: Iterable[str]) -> Observation:
    """Return status, media type, OAuth error code, challenges, names, types and life; no name that holds a secret."""
    body = answer.json()
    hidden = [*secrets, *(text for _, text in _walk([body]) if isinstance(text, str) and len(text) > 15)]
    named = [(path, part) for path, part in _walk(body) if all(isinstance(name, str) for name in path)]
    fields = {".".join(_name(name, hidden) for name in path): _TYPES.get(type(part), "null") for path, part in named}
    life = next((body[name] for name in ("expires_in", "expiresIn") if name in fields), None)
    found = {
        "status": answer.status,
        "media": answer.media(),
        "error": read_body(answer.body)[1],
        "challenges": sorted(set(re.findall(_SCHEMES, answer.header("www-authenticate").lower()))) or None,
        "casing": _casing(fields),
        "life": int(life) if re.fullmatch(r"-?\d{1,18}", str(life)) else None,
        "headers": sorted({_name(name.lower(), hidden) for name, _ in answer.headers}),
        "fields": fields,
    }
    return {name: value for name, value in found.items() if value is not None}


def _walk(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for name, part in node.items() if isinstance(node, dict) else enumerate(node, 1) if isinstance(node, list) else ():
        yield (*path, name), part
        yield from _walk(part, (*path, name))


def _name(name: str, hidden: Iterable[str]) -> str:
    """Return a name unless it is, or holds, a value: a server may use a user's name or a token as a key."""
    plain = re.fullmatch(r"[A-Za-z_][\w-]{0,39}", name, re.ASCII) and not any(text in name for text in hidden)
    drawn = len(name) > 15 and re.search(r"\d", name)  # as a token is, that is no value of another field
    return name if plain and not drawn else "(hidden)"


def _casing(names: Iterable[str]) -> str | None:
    kinds = {"snake" if "_" in name else "camel" for name in names if re.search(r"_|[a-z][A-Z]", name)}
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else None


def to_toml(seen: Observation) -> str:
    """Return an observation as TOML: scalars first, then each answer and its fields."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in seen.items() if name != "answers"]
    for answer in seen["answers"]:
        lines += ["", "[[answers]]", *(f"{name} = {json.dumps(v)}" for name, v in answer.items() if name != "fields")]
        lines += [
            "[answers.fields]",
            *(f"{json.dumps(name)} = {json.dumps(v)}" for name, v in answer["fields"].items()),
        ]
    return "\n".join(lines) + "\n"


def read(root: Path) -> list[Observation]:
    """Return the saved observations, by host, oldest first."""
    found = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (root / FOLDER).glob("*.toml")]
    return sorted(found, key=lambda one: (one["host"], one["date"], issued(one)))


def issued(seen: Observation) -> bool:
    """Whether the first sign-in brought a token; a refusal is an observation beside it."""
    return bool({"access_token", "accessToken"} & seen["answers"][0]["fields"].keys())


def save(root: Path, seen: Observation) -> Path:
    """Write an observation into its file, and all of them into docs/server.md."""
    refused = "" if issued(seen) else "-refused"
    path = root / FOLDER / f"{seen['host'].replace(':', '_')}-{seen['date']}{refused}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(to_toml(seen), encoding="utf-8")
    page = (root / PAGE).read_text(encoding="utf-8")
    (root / PAGE).write_text(on_page(page, read(root)), encoding="utf-8")
    return path.relative_to(root)


def on_page(page: str, observed: list[Observation]) -> str:
    """Return docs/server.md with these observations in their place."""
    before, _, rest = page.partition(_BEGIN)
    rows = ["| host | date | answered | fields | next answer |", "| --- | --- | --- | --- | --- |"]
    for seen in observed:
        first = seen["answers"][0]
        answered = " ".join(str(first[name]) for name in ("status", "error", "media") if name in first)
        fields = ", ".join(f"`{name}` {kind}" for name, kind in first["fields"].items()) or "none"
        rows.append(f"| `{seen['host']}` | {seen['date']} | {answered} | {fields} | {second(seen)} |")
    return before + _BEGIN + ("\n".join([*rows, ""]) if observed else _NONE) + _END + rest.partition(_END)[2]


def second(seen: Observation) -> str:
    """Return in words what the second sign-in brought."""
    if len(seen["answers"]) < 2:
        return "none: not asked for, or not answered"
    if "same_token" not in seen:
        return "not comparable: the first token was about to expire, or no token came"
    token = "the same token: sticky" if seen["same_token"] else "a new token"
    lives = [str(answer.get("life", "none said")) for answer in seen["answers"]]
    return f"{token}, life {' then '.join(lives)}" + (f", in {seen['unit']}" if "unit" in seen else "")


def changes(old: Observation, new: Observation) -> list[str]:
    """Return what is not as it was observed before."""
    before, after = _flat(old), _flat(new)
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{name}: {before.get(name, 'nothing')} -> {after.get(name, 'nothing')}" for name in names]


def _flat(seen: Observation) -> dict[str, Any]:
    said = [(path, part) for path, part in _walk(seen) if path[0] not in ("date", "client")]
    ends = [(path, part) for path, part in said if path[-1] == "headers" or not isinstance(part, dict | list)]
    ends = [(path, part) for path, part in ends if "headers" not in path[:-1]]
    return {" ".join(map(str, path)).replace("answers", "answer"): part for path, part in ends}
