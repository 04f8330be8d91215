"""Reports what changed since a git ref: `python tools/judge.py [--against REF]`, for the wrapper's public API."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from griffe import GriffeError

import api_facts
import changes
import spec_facts
from changes import Change, Level
from codegen import PACKAGE, SPEC, TARGET, differences

ROOT = Path(__file__).resolve().parents[1]
WRAPPER = "enkash_auth"
GATEWAY = Path("wrapper", WRAPPER, "_signin", "gateway.py")  # the only importer of the generated client
NUMBERS = {"The spec": "the spec's `info.version`", "The wrapper's public API": "the package's `version`"}


class JudgementError(Exception):
    """The tree to compare with is missing, or git refuses to give it."""


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if b"safe.directory" in done.stderr:  # in every language
        todo = f"git config --global --add safe.directory {root.resolve()}"
        raise JudgementError(f"git refuses this clone, because another user owns it: {todo}")
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
    if _git(root, "archive", "--output", str(folder / "tree.zip"), ref) is None:
        raise JudgementError(f"git cannot give the tree of {ref!r}")
    shutil.unpack_archive(folder / "tree.zip", folder)


def type_errors(root: Path) -> list[str]:
    """Return the type errors between wrapper and client, each as `file:line: error: text`."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-color-output", "--no-pretty"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    errors = (done.stdout + done.stderr).splitlines() if done.returncode != 0 else []
    # mypy overlooks a lost module where an older client is installed: it looks for each module by itself
    for number, line in enumerate((root / GATEWAY).read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(rf"from ({PACKAGE}[\w.]*) import ", line):
            path = root / TARGET / found[1].replace(".", "/")
            if not (path.is_dir() or path.with_suffix(".py").is_file()):
                errors.append(f"{GATEWAY.as_posix()}:{number}: error: {line.split()[1]} is gone")
    return errors


def since(ref: str, wanted: str | None) -> str:
    """Return what a report compares with, in the words of docs/release.md."""
    if wanted is not None:
        return f"since {changes.code(ref)}"
    return f"since the last {'commit' if ref == 'HEAD' else 'release'}, {changes.code(ref)}"


def render(compared: str | None, title: str, found: list[Change], errors: list[str], risks: list[Change]) -> str:
    """Return the report in Markdown."""
    lines = [f"## What changed {compared or 'is not known: there is no commit to compare with'}"]
    if compared:
        lines += ["", f"### {title}", "", *(map(changes.line, found) if found else ["Nothing."])]
    lines += ["", "### Does the wrapper type-check?", "", "**No**, fix these lines:" if errors else "Yes."]
    if errors:
        lines += ["", *(f"    {error}" for error in errors)]
    if risks:
        lines += ["", "### Risky, though it type-checks: an answer with any other value would be rejected", ""]
        lines += map(changes.line, risks)
    level = changes.bump(found).name.lower() if compared else "not known"
    return "\n".join([*lines, "", f"### Bump of {NUMBERS[title]}: {level}", ""])


def report(root: Path, against: str | None, *, client: bool) -> tuple[str, bool]:
    """Return the report on the spec (or on the wrapper) and whether the wrapper type-checks."""
    ref, title = reference(root, against), "The spec" if client else "The wrapper's public API"
    found, risks = list[Change](), list[Change]()
    if ref is not None:
        with tempfile.TemporaryDirectory() as scratch:
            unpack(root, ref, old := Path(scratch))
            if client:
                before = (old / SPEC).read_text(encoding="utf-8") if (old / SPEC).is_file() else ""
                after = (root / SPEC).read_text(encoding="utf-8")
                try:
                    found, risks = spec_facts.changes(before, after), spec_facts.risks(before, after)
                except spec_facts.SpecError as error:  # the new document is valid: a client was generated from it
                    raise JudgementError(f"{SPEC} as it was: {error}") from None
            else:
                found = api_facts.changes(old / "wrapper", root / "wrapper", WRAPPER)
                if not found and differences(old / TARGET, root / TARGET):  # a wheel with another client in it
                    found = [Change(Level.PATCH, PACKAGE, "", "changed: nox -s generate says how")]
    errors = type_errors(root)
    return render(since(ref, against) if ref else None, title, found, errors, risks), not errors


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all reports share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--against", metavar="REF", help="default: the last release's tag; before the first, HEAD")
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
