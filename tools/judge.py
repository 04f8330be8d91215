"""Reports what changed since a git ref: `python tools/judge.py [--against REF]`, for the wrapper's public API."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from attrs import evolve
from griffe import GriffeError

import api_facts
import changes
import spec_facts
from changes import Change, Level
from codegen import PACKAGE, SPEC, TARGET

ROOT = Path(__file__).resolve().parents[1]
WRAPPER = "enkash_auth"
SPECS_NUMBER, PACKAGES_NUMBER = "the spec's `info.version`", "the package's `version`"


class JudgementError(Exception):
    """The tree to compare with is missing."""


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def reference(root: Path, wanted: str | None) -> str | None:
    """Return the ref to compare with: the wanted one, else the last release's tag, else HEAD; None without a commit."""
    ref = wanted
    if ref is None:
        tag = _git(root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
        ref = tag.decode().strip() if tag else "HEAD"
    if _git(root, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}") is None:
        if wanted is None:
            return None
        raise JudgementError(f"--against: there is no commit {wanted!r}")
    return ref


def unpack(root: Path, ref: str, folder: Path) -> None:
    """Put the tree of `ref` into `folder`."""
    archive = _git(root, "archive", "--format=tar", ref)
    if archive is None:
        raise JudgementError(f"git cannot give the tree of {ref!r}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 brought filters; git wrote this
        tar.extractall(folder)


def _texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}


def api_changes(old: Path, new: Path, package: str) -> list[Change]:
    """Return what changed in the public API of a package between two source roots."""
    found = api_facts.compare(api_facts.load(old, package), api_facts.load(new, package))
    if not found and _texts(old / package) != _texts(new / package):
        found = [Change(Level.PATCH, package, "", "changed inside; its API did not")]
    return found


def spec_changes(old: str, new: str) -> list[Change]:
    """Return what changed between two texts of the spec; raises `SpecError` for an invalid one."""
    before = spec_facts.facts(spec_facts.load(old)) if old else {}
    found = changes.diff(before, spec_facts.facts(spec_facts.load(new)))
    if not found and old != new:
        found = [Change(Level.PATCH, str(SPEC), "", "changed in its prose or examples only")]
    return found


def spec_risks(old: str, new: str) -> list[str]:
    """Return the fields of answers that now have fixed values and had more before: no type check finds these."""
    if not old:
        return []
    before, after = (spec_facts.closed(spec_facts.load(text)) for text in (old, new))
    return [
        f"- {', '.join(map(changes.code, filter(None, place)))} takes only {changes.code(', '.join(sorted(values)))}: "
        "an answer with any other value would be rejected"
        for place, values in after.items()
        if place not in before or before[place] - values
    ]


def type_errors(root: Path) -> list[str]:
    """Return the type errors between wrapper and client, each as `file:line: error: text`."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-color-output", "--no-pretty"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    errors = (done.stdout + done.stderr).splitlines() if done.returncode != 0 else []
    client, wrapper = api_facts.load(root / TARGET, PACKAGE), api_facts.load(root / "wrapper", WRAPPER)
    for path, number, name in api_facts.lost_imports(wrapper, client) if client and wrapper else []:
        where = f"{path.relative_to(root).as_posix()}:{number}:"
        if not any(error.startswith(where) for error in errors):
            errors.append(f"{where} error: there is no {name}")
    return errors


def since(ref: str, wanted: str | None) -> str:
    """Return what a report compares with, in the words of docs/release.md."""
    if wanted is not None:
        return f"since {changes.code(ref)}"
    return f"since the last {'commit' if ref == 'HEAD' else 'release'}, {changes.code(ref)}"


def render(
    compared: str | None,
    sections: dict[str, list[Change]],
    errors: list[str],
    number: str,
    risks: list[str] | None = None,
) -> str:
    """Return the report in Markdown; `number` is the version whose bump follows from the first section."""
    lines = [f"## What changed {compared or 'is not known: there is no commit to compare with'}"]
    for title, found in sections.items():
        lines += ["", f"### {title}", "", *(map(changes.line, found) if found else ["Nothing."])]
    lines += ["", "### Does the wrapper type-check?", "", "**No**, fix these lines:" if errors else "Yes."]
    if errors:
        lines += ["", *(f"    {error}" for error in errors)]
    if risks:
        lines += ["", "### Risky, though it type-checks", "", *risks]
    level = changes.bump(next(iter(sections.values()), []))
    return "\n".join([*lines, "", f"### Bump of {number}: {level.name.lower() if compared else 'not known'}", ""])


def _client(old: Path, new: Path) -> tuple[dict[str, list[Change]], list[str]]:
    before = (old / SPEC).read_text(encoding="utf-8") if (old / SPEC).is_file() else ""
    after = (new / SPEC).read_text(encoding="utf-8")
    try:
        of_spec, risks = spec_changes(before, after), spec_risks(before, after)
    except spec_facts.SpecError as error:  # the new document is valid: a client was generated from it
        raise JudgementError(f"{SPEC} as it was: {error}") from None
    return {"The spec": of_spec, "The generated Python API": client_changes(old / TARGET, new / TARGET)}, risks


def client_changes(old: Path, new: Path) -> list[Change]:
    """Return what changed in the generated API; the order of a model's fields does not count: the spec has none."""
    found = api_changes(old, new, PACKAGE)
    return changes.in_order(evolve(one, level=Level.PATCH) if one.what == api_facts.MOVED else one for one in found)


def report(root: Path, against: str | None, *, client: bool) -> tuple[str, bool]:
    """Return the report on the generated client (or on the wrapper) and whether the wrapper type-checks."""
    ref = reference(root, against)
    sections: dict[str, list[Change]] = {}
    risks: list[str] = []
    if ref is not None:
        with tempfile.TemporaryDirectory() as scratch:
            unpack(root, ref, old := Path(scratch))
            if client:
                sections, risks = _client(old, root)
            else:
                sections = {"The wrapper's public API": api_changes(old / "wrapper", root / "wrapper", WRAPPER)}
    errors = type_errors(root)
    compared = since(ref, against) if ref else None
    return render(compared, sections, errors, SPECS_NUMBER if client else PACKAGES_NUMBER, risks), not errors


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all reports share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--against",
        metavar="REF",
        help="default: the last release's tag; before the first release the last commit, HEAD",
    )
    return made


def tell(root: Path, against: str | None, *, client: bool) -> int:
    """Print the report; return 1 if the wrapper does not type-check or the tree to compare with is missing."""
    try:
        text, sound = report(root, against, client=client)
    except JudgementError as error:
        print(error, file=sys.stderr)
        return 1
    except GriffeError as error:
        print(f"no report: a Python file cannot be read: {error}", file=sys.stderr)
        return 1
    print(text, flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(tell(ROOT, parser(__doc__).parse_args().against, client=False))
