"""What a reviewer needs to know: what changed since a git ref, what no longer fits, and which version follows."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from griffe import GriffeError

import facts
from changes import Change, Level, code, compare
from codegen import PACKAGE, SPEC, TARGET, GenerationError, differences

WRAPPER = Path("wrapper", "enkash_auth")
GATEWAY = WRAPPER / "_signin" / "gateway.py"  # the only importer of the generated client


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        raise GenerationError("git is not installed, and the report compares with a commit: install git") from None
    if "safe.directory" in done.stderr:  # in every language
        raise GenerationError(f"git refuses this clone: {' '.join(done.stderr.split())}")
    return done.stdout if done.returncode == 0 else None


def reference(root: Path, wanted: str | None) -> str | None:
    """Return the ref to compare with: the wanted one, else the last release's tag, else HEAD; None without a commit."""
    # the highest and not the nearest: a fix of an older release may have been merged since
    words = ("-c", "versionsort.suffix=rc", "tag", "--merged", "HEAD", "--sort=-version:refname", "--list", "v[0-9]*")
    ref = wanted or (_git(root, *words) or "HEAD").split()[0]
    if _git(root, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}") is not None:
        return ref
    if wanted:
        raise GenerationError(f"--against: there is no commit {wanted!r}")
    return None


def contract(root: Path, ref: str) -> tuple[list[Change], facts.Tree, facts.Tree]:
    """Return what changed in the spec since `ref`, the spec as it was, and as it is."""
    after = facts.load((root / SPEC).read_bytes())
    place = f"{ref}:./{SPEC.as_posix()}"  # from here, not from the top of a repository that holds this one
    held = _git(root, "show", place) if _git(root, "ls-tree", ref, SPEC.as_posix()) else "{}"
    if held is None:
        raise GenerationError(f"git does not give {SPEC} of {ref}: git show {place} says why")
    before = facts.load(held, f"{SPEC} of {ref}")
    found = compare(facts.of_spec(before), facts.of_spec(after))
    prose = Change(Level.PATCH, ("document",), "- `document` changed in its prose, examples or `info` only")
    return found or [prose] * (before != after), before, after


def wrapper(root: Path, ref: str) -> list[Change]:
    """Return what changed since `ref` in the wrapper's public API, and in how it is installed."""
    with tempfile.TemporaryDirectory() as scratch:
        _git(root, "archive", "--output", f"{scratch}/tree.zip", ref)
        shutil.unpack_archive(f"{scratch}/tree.zip", scratch)
        try:
            apis = [facts.of_python(tree / WRAPPER.parent, WRAPPER.name) for tree in (Path(scratch), root)]
        except GriffeError as error:
            raise GenerationError(f"no report: a Python file cannot be read: {error}") from None
        found = compare(*(api | facts.of_project(tree) for api, tree in zip(apis, (Path(scratch), root), strict=True)))
        inside = {WRAPPER: "changed inside; its API did not", TARGET: "changed: nox -s generate says how",
                  Path("pyproject.toml"): "changed; its extras, commands and Python did not"}  # fmt: skip
        other = [place for place in inside if differences(scratch / place, root / place)]
    return found or [Change(Level.PATCH, (), f"- `{place}` {inside[place]}") for place in other]


def type_errors(root: Path) -> list[str]:
    """Return the type errors between wrapper and client, each as `file:line: error: text`."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-color-output", "--no-pretty"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    errors = (done.stdout + done.stderr).splitlines() if done.returncode != 0 else []
    if done.returncode != 0 and not errors:
        errors = [f"mypy said nothing and ended with {done.returncode}"]  # killed, where memory was short
    # mypy overlooks a lost module where an older client is installed: it looks for each module by itself
    for number, line in enumerate((root / GATEWAY).read_text(encoding="utf-8").splitlines(), 1):
        name = line.split()[1] if line.startswith(f"from {PACKAGE}") else PACKAGE
        if not [*(root / TARGET).glob(f"{name.replace('.', '/')}*")]:
            errors.append(f"{GATEWAY.as_posix()}:{number}: error: {name} is gone")
    return errors


def report(root: Path, against: str | None, *, client: bool) -> tuple[str, bool]:
    """Return what there is to say of the spec (or of the wrapper's API), and whether the wrapper type-checks."""
    title, number = ("spec", "spec's `info.version`") if client else ("wrapper's public API", "package's `version`")
    ref = reference(root, against)
    found = [] if ref is None else contract(root, ref)[0] if client else wrapper(root, ref)
    last = "" if against else f"the last {'commit' if ref == 'HEAD' else 'release'}, "
    said = [f"## What changed {f'since {last}{code(ref)}' if ref else 'is not known: no commit to compare with'}"]
    said += [f"### The {title}", "\n".join(one.line for one in found) or "Nothing."] if ref else []
    errors = type_errors(root)
    said += ["### Does the wrapper type-check?", "**No**, fix these lines:" if errors else "Yes."]
    said += ["\n".join(f"    {error}" for error in errors)] if errors else []
    bump = max((one.level for one in found), default=Level.NONE).name.lower() if ref else "not known"
    return "\n\n".join([*said, f"### Bump of the {number}: {bump}"]), not errors


def gate(root: Path) -> tuple[bool, str]:
    """Return whether `info.version` allows what breaks callers since the last release, and what there is to say."""
    release = reference(root, None)
    if release in (None, "HEAD"):
        todo = "where there was a release, fetch its tag and the history: git fetch --tags (--unshallow)"
        return True, f"not checked: without a release's tag nobody knows whether info.version must be raised; {todo}"
    found, before, after = contract(root, release)
    if not before:
        return True, f"not checked: {release} has no {SPEC}"
    wrong = verdict(found, before, after, release)
    return not wrong, wrong or f"info.version fits what changed since {release}"


def verdict(found: list[Change], before: facts.Tree, after: facts.Tree, release: str) -> str:
    """Return why these changes of the spec must not pass; "" if the version or a person's word allows them."""
    old, new, allowed = before["info"]["version"], after["info"]["version"], []
    was, now = ([int(part) for part in re.findall(r"\d+", str(version))[:2]] for version in (old, new))
    match after["info"].get("x-overruled"):
        case {"since": since, "breaks": [*owners], "because": str(why)} if since == release and why:
            allowed = owners
    left = [one for one in found if one.level is Level.MAJOR and one.path[0] not in allowed]
    if not left or now[:1] > was[:1] or (was[:1] == [0] and now > was):  # below 1.0, a minor version may break callers
        return ""
    owners = json.dumps(list(dict.fromkeys(one.path[0] for one in left)))  # YAML, whatever a name holds
    return "\n".join([
        f"{SPEC}: info.version is {new}, and was {old} in {release}; since then callers break:",
        *(one.line for one in left),
        f"raise info.version; or let a person overrule this in the spec: info.x-overruled with `since: {release}`, "
        f"`breaks: {owners}` and `because`; then run nox -s generate",
    ])  # fmt: skip
