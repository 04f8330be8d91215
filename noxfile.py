"""Every check and every step of the project: `nox -l` lists them.

All sessions install from the one hash-pinned file requirements-dev.txt, whose pins the generated client is also
bound to.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import codegen  # noqa: E402

os.environ["UV_PYTHON_DOWNLOADS"] = "never"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"


def _install(session: nox.Session) -> None:
    """Install the pinned tools."""
    session.install("--require-hashes", "-r", "requirements-dev.txt")


@nox.session
def generate(session: nox.Session) -> None:
    """Generate the client from the spec, unless it is up to date."""
    if codegen.is_current(ROOT):
        session.log("generated/ is up to date")
        return
    _install(session)
    try:
        codegen.regenerate(ROOT, Path(session.bin))
    except codegen.GenerationError as error:
        session.error(f"{error}\ngenerated/ is as it was")


@nox.session
def drift(session: nox.Session) -> None:
    """Fail if generated/ is not what the spec generates, byte by byte."""
    _install(session)
    fresh = Path(session.create_tmp()) / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        codegen.generate_into(ROOT, Path(session.bin), fresh)
    except codegen.GenerationError as error:
        session.error(str(error))
    if wrong := codegen.differences(fresh, ROOT / codegen.TARGET):
        session.error("generated/ is not what the spec generates:\n" + "\n".join(wrong))


@nox.session
def spec(session: nox.Session) -> None:
    """Validate and lint the spec."""
    _install(session)
    session.run("openapi-spec-validator", str(codegen.SPEC))
    if shutil.which("node") is None or shutil.which("npm") is None:
        session.warn("Redocly skipped: no node or no npm")
        return
    scratch = Path(session.create_tmp()) / "redocly"
    scratch.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "spec" / name, scratch)
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    session.run("npm", "ci", "--prefix", str(scratch), "--no-audit", "--no-fund", external=True)
    redocly = scratch / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"
    command = ["node", str(redocly), "lint", str(codegen.SPEC), "--config", "spec/redocly.yaml"]
    session.run(*command, env=quiet, external=True)
