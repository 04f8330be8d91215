"""Whether what breaks callers has raised the spec's `info.version`, or a person has said in the spec why not."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import changes
import judge
import spec_facts
from changes import Change, Level
from codegen import SPEC

FIELD = "x-overruled"  # of the spec's `info`: {since: v1.2.3, breaks: [owner, …], because: …}


def raised(old: str, new: str) -> bool:
    """Return whether the step from one version to the next allows breaking changes; below 1.0 a minor one does."""
    before, after = ([int(part) for part in re.findall(r"\d+", text)[:2]] for text in (old, new))
    if not before or not after:  # a word, not a number
        return old != new
    return after > before if before[0] == 0 else after[0] > before[0]


def verdict(found: list[Change], release: str, old: str, info: dict[str, Any]) -> str:
    """Return why what breaks callers since a release, whose spec had the version `old`, must not pass; "" if it may."""
    if not found or raised(old, str(info["version"])):
        return ""
    said = info.get(FIELD)
    keys = isinstance(said, dict) and {"since", "breaks", "because"} <= said.keys()
    if said is not None and (not keys or not isinstance(said["breaks"], list) or not said["because"]):
        return f"{SPEC}: info.{FIELD} needs `since` (a release's tag), `breaks` (a list of owners) and `because`"
    allowed = said["breaks"] if said and said["since"] == release else []
    left = [change for change in found if change.owner not in allowed]
    if not left:
        return ""
    owners = json.dumps(list(dict.fromkeys(change.owner for change in left)))  # YAML, whatever a name holds
    return "\n".join([
        f"{SPEC}: info.version is {info['version']}, and was {old} in {release}; since then callers break:",
        *map(changes.line, left),
        f"raise info.version; or let a person overrule this in the spec: info.{FIELD} with `since: {release}`, "
        f"`breaks: {owners}` and `because`; then run nox -s generate",
    ])  # fmt: skip


def check(root: Path) -> tuple[bool, str]:
    """Return whether the tree may pass, compared with the last release, and what there is to say."""
    release = judge.reference(root, None)
    if release in (None, "HEAD"):
        todo = "where there was a release, fetch its tag and the history: git fetch --tags --unshallow"
        return True, f"not gated: without a release's tag nobody knows whether info.version must be raised; {todo}"
    with tempfile.TemporaryDirectory() as scratch:
        judge.unpack(root, release, old := Path(scratch))
        try:
            before = spec_facts.read(old / SPEC)["info"]["version"]
            found = spec_facts.changes(*((tree / SPEC).read_text(encoding="utf-8") for tree in (old, root)))
            found = [change for change in found if change.level is Level.MAJOR]
            wrong = verdict(found, release, str(before), spec_facts.read(root / SPEC)["info"])
        except spec_facts.SpecError as error:  # the new tree is valid: it was generated just now
            return True, f"not gated: {SPEC} of {release}: {error}"
    return not wrong, wrong or f"info.version fits what changed since {release}"
