"""make, nox and pytest in the shell of a person whose settings are for other projects."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from releasing import ROOT, ok, run

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@needs_make
def test_a_path_may_hold_blanks(tmp_path: Path) -> None:
    clone, beside = tmp_path / "my files & 'more'", tmp_path / "my"
    for folder in (clone / ".nox", clone / ".venv", clone / "requirements"):
        folder.mkdir(parents=True)
    for file in (beside, clone / "requirements" / "nox.txt", clone / ".venv" / "ready"):
        file.touch()
    shutil.copy(ROOT / "Makefile", clone)
    (clone / "nox").write_text('#!/bin/sh\n[ "$2" = types ] && echo "not checked: x" >> "$NOX_SKIPPED"; exit 0\n')
    (clone / "nox").chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "test", "NOX=./nox"], cwd=clone, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "not checked: x"), done.stderr
    assert beside.exists()


@needs_make
@pytest.mark.thorough
def test_pip_installs_uv_into_the_environment_whatever_is_set_elsewhere(tmp_path: Path) -> None:
    wheel = tmp_path / "uv-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        script = zipfile.ZipInfo("uv-1.data/scripts/uv")
        script.external_attr = 0o100755 << 16
        file.writestr(script, "#!/bin/sh\n")
        file.writestr("uv-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1\n")
        file.writestr("uv-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("uv-1.dist-info/RECORD", "")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "elsewhere")
    (tmp_path / "requirements").mkdir()
    pin = f"uv==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    (tmp_path / "requirements" / "nox.txt").write_text(pin)
    shutil.copy(ROOT / "Makefile", tmp_path)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PIP_"))}
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    env |= {"PIP_USER": "yes", "PYTHONPATH": str(tmp_path / "elsewhere")}
    command = ["make", ".venv/ready", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv" / "bin" / "uv").exists()


def test_nox_hides_what_a_shell_puts_before_the_wheel() -> None:
    script = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); import noxfile; print(sorted(os.environ))"
    done = run(sys.executable, "-c", script, cwd=ROOT, PYTHONPATH=str(ROOT / "wrapper"), PYTHONSAFEPATH="1")
    assert "'PATH'" in done.stdout and "PYTHONPATH" not in done.stdout and "PYTHONSAFEPATH" not in done.stdout


def test_tests_that_a_hook_starts_leave_its_repository_alone(tmp_path: Path) -> None:
    ok(run("git", "init", "--quiet", "--bare", cwd=tmp_path))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "tests/tools/test_judge.py",
        "-k",
        "cannot_be_read",
    ]
    ok(run(*command, cwd=ROOT, GIT_DIR=str(tmp_path)))
    assert run("git", "rev-parse", "HEAD^0", cwd=tmp_path).returncode != 0
