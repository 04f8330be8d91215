"""Breaks each rule of the engine on purpose, one at a time, and checks that a test fails.

Run by `nox -s mutations`, which prints a Markdown table.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wrapper" / "enkash_auth"
TESTS = {path.stem.removeprefix("test_"): path for path in (ROOT / "tests").rglob("test_*.py")}


def rows() -> list[dict[str, Any]]:
    """Return the table."""
    return list(tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["mutation"])


def survives(module: str, old: str, new: str, tests: list[str]) -> bool:
    """Return whether the tests pass on a copy of the package in which `new` replaces `old`."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch, "enkash_auth")
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{module}.py holds {text.count(old)} times: {old}")
        path.write_text(text.replace(old, new), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: TID251
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        profile = "short" if new == old else "mutation"  # that one searches for a quarter of an hour if all is well
        command += [f"--hypothesis-profile={profile}", *(str(TESTS[name]) for name in tests)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{module}: {old}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode == 0


def main(only: list[str]) -> int:
    """Print the table; return 1 if no test failed for a broken rule."""
    unnoticed = 0
    chosen = [mutation for mutation in rows() if not only or any(word in mutation["rule"] for word in only)]
    if not chosen:
        raise SystemExit(f"no rule holds one of these words: {', '.join(only)}")
    tests, one = sorted({name for mutation in chosen for name in mutation["tests"]}), chosen[0]
    if not survives(one["module"], one["old"], one["old"], tests):
        raise SystemExit(f"a test fails with no rule broken, so it can notice nothing: pytest {' '.join(tests)}")
    print("| rule broken | in | noticed by |\n| --- | --- | --- |")
    for mutation in chosen:
        rule = mutation.pop("rule")
        alive = survives(**mutation)
        unnoticed += alive
        noticed = "**nothing**" if alive else " or ".join(f"test_{name}" for name in mutation["tests"])
        print(f"| {rule} | `{mutation['module']}.py` | {noticed} |", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
