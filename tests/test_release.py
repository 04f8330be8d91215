"""A release as a maintainer and a service's team meet it: real builds, a real private index, clean environments.

Environments get their dependencies from the machine's ordinary index; all else is on the loopback.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import metadata, version
from pathlib import Path

import httpx
import pytest

import release
from enkash_auth.testing import Sandbox

pytestmark = pytest.mark.release

ROOT = Path(__file__).parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "consume.md"
PLACEHOLDER = "https://index.example/simple/"
VERSION = release.version(ROOT)
EXTRAS = metadata("enkash-auth").get_all("Provides-Extra") or []
USER, PASSWORD = "publisher", "canary-index-pass"
CREDENTIALS = {"TWINE_USERNAME": USER, "TWINE_PASSWORD": PASSWORD}
BIN = Path(sys.executable).parent
UV = shutil.which("uv", path=str(BIN)) or "uv"


# The active environment is left out too: Poetry would take it for the service's and empty it.
FOREIGN = ("PIP_", "TWINE_", "POETRY_", "ENKASH_", "VIRTUAL_ENV", "CONDA_", "PYTHON")
INHERITED = {
    **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
    "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "UV_PYTHON_DOWNLOADS": "never",
}


def run(
    *command: object, cwd: Path, only: dict[str, str] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run with the environment `only`, or with this machine's (but for its secrets and settings), and `more`."""
    words = [str(word) for word in command]
    environment = {**(INHERITED if only is None else only), **more}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(repository: Path, *words: str) -> str:
    return ok(run("git", "-c", "user.name=t", "-c", "user.email=t@t.example", *words, cwd=repository))


def releasing(repository: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "tools/release.py", *words, cwd=repository, **environment)


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@dataclass
class Index:
    """A pypiserver: its URL, and the folder that it serves."""

    url: str
    folder: Path


@contextmanager
def index(folder: Path, protected: str, *fallback: str) -> Iterator[Index]:
    """Serve a folder; `protected` names the actions that want the password, `.` none."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    passwords = folder.with_suffix(".htpasswd")
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    passwords.write_text(f"{USER}:{{SHA}}{digest}\n")
    command = [sys.executable, "-W", "ignore", "-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", str(port)]
    command += ["--hash-algo", "sha256", "--backend", "simple-dir", "-a", protected]
    command += fallback or ["--disable-fallback"]
    command += ["-P", str(passwords) if protected != "." else ".", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while server.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield Index(f"http://127.0.0.1:{port}/", folder)
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one commit is the tree at hand, tagged as its version."""
    repository = tmp_path_factory.mktemp("tagged") / "repository"
    for name in ok(run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT)).splitlines():
        if (ROOT / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repository / name)
    git(repository, "init", "-q")
    git(repository, "add", "--all")
    ok(run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", VERSION, cwd=repository))
    git(repository, "commit", "-q", "-m", "release")
    git(repository, "tag", f"v{VERSION}")
    return repository


@pytest.mark.parametrize("command", ["uv cache dir", "pip cache dir", "npm config get cache"])
def test_what_the_sessions_download_stays_below_the_clone(command: str) -> None:
    if shutil.which(command.split()[0], path=INHERITED["PATH"]) is None:
        pytest.skip("not on this machine")
    script = "import noxfile, subprocess, sys; subprocess.run(sys.argv[1:], check=True)"
    outside = {name: value for name, value in INHERITED.items() if name not in ("XDG_CACHE_HOME", "UV_CACHE_DIR")}
    told = ok(run(sys.executable, "-c", script, *command.split(), cwd=ROOT, only=outside))
    assert Path(told.strip()).is_relative_to(ROOT / ".nox" / "cache")


def test_a_run_that_passes_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    which = "tests/test_judge.py", "-k", "told_once"  # makes files
    assert "1 passed" in ok(
        run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *which, cwd=ROOT, TMPDIR=str(tmp_path))
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def repository(tagged: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tagged, tmp_path / "repository", ignore=shutil.ignore_patterns("dist")))


@pytest.fixture(scope="module")
def internal(tmp_path_factory: pytest.TempPathFactory, tagged: Path) -> Iterator[Index]:
    """The team's index, protected throughout: it has the dependencies, and this package once it was published."""
    folder = tmp_path_factory.mktemp("internal")
    pins = folder / "pins.txt"
    command = [UV, "pip", "compile", "--quiet", "pyproject.toml", "--all-extras", "--generate-hashes"]
    ok(run(*command, "--constraint", "requirements-dev.txt", "-o", pins, cwd=ROOT))
    packages = folder / "packages"
    # pip alone can download; where from is this machine's affair.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(pins), "-d", str(packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with index(packages, "update,list,download") as served:
        yield served


@pytest.fixture(scope="module")
def published(internal: Index, tagged: Path) -> str:
    """What `publish` said about the real thing."""
    return ok(releasing(tagged, "publish", internal.url, **CREDENTIALS))


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, internal: Index) -> Iterator[Index]:
    """What stands for the public index: the same dependencies, and a stranger's package of our name."""
    folder = tmp_path_factory.mktemp("public") / "packages"
    shutil.copytree(internal.folder, folder, ignore=shutil.ignore_patterns("enkash*"))
    info = "enkash_auth-99.0.dist-info"
    with zipfile.ZipFile(folder / "enkash_auth-99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: enkash-auth\nVersion: 99.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    with index(folder, ".") as served:
        yield served


def environment_with_pip(folder: Path) -> Path:
    ok(run(UV, "venv", "--quiet", "--python", sys.executable, folder / ".venv", cwd=folder))
    command = [UV, "pip", "install", "--quiet", "--python", folder / ".venv", f"pip=={version('pip')}"]
    ok(run(*command, cwd=folder))
    return folder / ".venv" / "bin" / "python"


def installed(python: Path) -> str:
    return ok(run(python, "-c", "import importlib.metadata as m; print(m.version('enkash-auth'))", cwd=ROOT)).strip()


# What is decided


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://index.example/team/", None),
        ("http://127.0.0.1:8080", None),
        ("http://[::1]:8080/", None),
        ("http://localhost/", None),
        ("http://index.example/", "index.example must be reached by https"),
        ("http://10.0.0.1/", "10.0.0.1 must be reached by https"),
        ("https://u:canary-pass@index.example/", "holds credentials"),
        ("https://canary-token@index.example/", "holds credentials"),
        ("https://index.example:port/", "is not a URL"),
        ("index.example", "must look like"),
        ("ftp://index.example/", "must look like"),
        ("https://index.example/?token=canary", "must look like"),
    ],
)
def test_an_index_is_an_https_url_without_secrets(url: str, wrong: str | None) -> None:
    if wrong is None:
        assert release.check_url(url) == url.rstrip("/") + "/"
        return
    with pytest.raises(release.ReleaseError, match=wrong) as raised:
        release.check_url(url)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("tags", "demanded", "wrong"),
    [
        ([], False, None),
        ([], True, "HEAD has no tag v1.2.3"),
        (["v1.2.3"], True, None),
        (["nightly", "v1.2.3"], True, None),
        (["nightly"], True, "HEAD has no tag v1.2.3"),
        (["v1.2.4"], False, "HEAD is tagged v1.2.4, but pyproject.toml says 1.2.3"),
        (["v1.2.4"], True, "HEAD is tagged v1.2.4, but pyproject.toml says 1.2.3"),
    ],
)
def test_the_tag_is_the_version(tags: list[str], demanded: bool, wrong: str | None) -> None:
    assert release.wrong_tag("1.2.3", tags, demanded=demanded) == wrong


@pytest.mark.parametrize(
    ("fragments", "changelog", "wrong"),
    [
        ([], "# Changelog\n\n## 1.2.3 (2026-01-01)\n", None),
        (["+b.added.md", "+a.fixed.md"], "## 1.2.3 (2026-01-01)\n", "changes/ still holds +a.fixed.md, +b.added.md: "),
        ([], "# Changelog\n", "CHANGELOG.md says nothing of 1.2.3: "),
        ([], "## 1.2.30 (2026-01-01)\n## 11.2.3 (2026-01-01)\n## 1.2x3 (-)\n", "CHANGELOG.md says nothing of 1.2.3: "),
    ],
)
def test_a_release_has_its_place_in_the_changelog(fragments: list[str], changelog: str, wrong: str | None) -> None:
    expected = wrong and f"{wrong}nox -s changelog -- --yes"
    assert release.unfinished("1.2.3", fragments, changelog) == expected


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["https://index.example/", "--dry-run"], None),
        (["https://index.example/", "--simple", "https://index.example/s/"], None),
        (["https://index.example/", "--simple=https://index.example/s/"], None),
        (["https://index.example/", "--dryrun"], "there is no --dryrun: publish knows --simple URL and --dry-run"),
        (["--password=canary"], "there is no --password: publish knows"),
        (["--simple=http://index.example/"], "must be reached by https"),
    ],
)
def test_an_unknown_word_is_named(words: list[str], wrong: str | None) -> None:
    if wrong is None:
        return release.check_words(words)
    with pytest.raises(release.ReleaseError, match=wrong) as raised:
        release.check_words(words)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["enkash_auth/py.typed", "enkash_auth_client/py.typed", "enkash_auth-1.dist-info/METADATA"], None),
        (["enkash_auth/py.typed", "enkash_auth_client/__init__.py"], "lacks enkash_auth_client/py.typed"),
        (["enkash_auth/py.typed"], "top-level packages are enkash_auth, not"),
        (["enkash_auth/py.typed", "enkash_auth_client/py.typed", "tests/x.py"], "enkash_auth_client, tests, not"),
    ],
)
def test_a_wheel_has_two_typed_packages(names: list[str], wrong: str | None) -> None:
    found = release.incomplete(names)
    assert found is None if wrong is None else wrong in str(found)


# Building


def test_a_build_elsewhere_and_later_makes_the_same_bytes(published: str, tagged: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a longer name" / "clone"
    git(tagged, "clone", "-q", "--no-tags", str(tagged), str(elsewhere))
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (0, 0))
    script = f"umask 077; exec '{sys.executable}' tools/release.py build"
    ok(run("sh", "-c", script, cwd=elsewhere, TZ="Asia/Kolkata", LC_ALL="C"))
    made = digests(elsewhere / "dist", "*")
    assert len(made) == 3
    assert made == digests(tagged / "dist", "*")


def test_no_file_of_a_build_has_a_time_but_the_commit_s(published: str, tagged: Path) -> None:
    then = int(git(tagged, "log", "-1", "--format=%ct"))
    (sdist,), (wheel,) = (list((tagged / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    with tarfile.open(sdist) as files:
        assert {file.mtime for file in files} == {then}
    moment = datetime.fromtimestamp(then - then % 2, UTC)
    with zipfile.ZipFile(wheel) as entries:
        assert {entry.date_time for entry in entries.infolist()} == {moment.timetuple()[:6]}


def test_the_sdist_holds_what_is_listed_and_nothing_else(published: str, tagged: Path) -> None:
    (sdist,) = (tagged / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        tops = {Path(file.name).parts[1] for file in files if file.isfile()}
    listed = {"wrapper", "generated", "spec", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"}
    assert tops == {*listed, "PKG-INFO", ".gitignore"}


def test_the_wheel_s_metadata_names_both_versions(published: str, tagged: Path) -> None:
    (wheel,) = (tagged / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        info = f"enkash_auth-{VERSION}.dist-info"
        headers = files.read(f"{info}/METADATA").decode()
        provenance = tomllib.loads(files.read(f"{info}/extra_metadata/provenance.toml").decode())
    assert f"\nVersion: {VERSION}\n" in headers
    assert "\nClassifier: Private :: Do Not Upload\n" in headers
    assert re.fullmatch(r"\d+\.\d+\.\d+", provenance["spec_version"])


def test_the_bill_of_materials_names_every_dependency_and_no_machine(published: str, tagged: Path) -> None:
    (bill,) = (tagged / "dist").glob("*.cdx.json")
    text = bill.read_text()
    assert all(f'"name": "{name}"' in text for name in ("enkash-auth", "attrs", "httpx", "starlette", "h11"))
    assert "file:" not in text
    assert str(tagged) not in text


# Publishing


def test_what_was_built_is_what_the_index_holds(published: str, internal: Index, tagged: Path) -> None:
    assert digests(internal.folder, "enkash*") == digests(tagged / "dist", "*.whl", "*.tar.gz")


def test_publishing_ends_with_an_import_from_the_index(published: str) -> None:
    assert f"in a clean environment: import enkash_auth, {VERSION} of spec " in published


def test_a_dry_run_does_all_but_upload(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "-d", f"v{VERSION}")
    with index(tmp_path / "empty", "update,list,download") as empty:
        said = ok(releasing(repository, "publish", empty.url, "--dry-run", **CREDENTIALS))
        assert not list(empty.folder.iterdir())
    assert f"warning: HEAD has no tag v{VERSION}" in said
    assert f"would upload enkash_auth-{VERSION}.tar.gz and enkash_auth-{VERSION}-py3-none-any.whl to 127.0.0.1" in said
    assert "in a clean environment: import enkash_auth" in said


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("command", "says"),
    [("build", "the tree is not clean, commit or remove: stray.py"), ("tag", "HEAD is tagged v99.0, but")],
)
def test_a_commit_that_is_not_the_release_is_not_built(repository: Path, command: str, says: str) -> None:
    if command == "tag":
        git(repository, "tag", "-d", f"v{VERSION}")
        git(repository, "tag", "v99.0")
    else:
        (repository / "stray.py").touch()
    assert one_line(releasing(repository, "build")).startswith(says)


def test_there_is_no_default_index(repository: Path) -> None:
    said = one_line(releasing(repository, "publish", TWINE_REPOSITORY_URL="https://index.example/", **CREDENTIALS))
    assert said.startswith("which index? There is no default")


def test_a_dirty_tree_is_not_published(repository: Path) -> None:
    (repository / "README.md").write_text("changed")
    said = one_line(releasing(repository, "publish", "http://127.0.0.1:9/", **CREDENTIALS))
    assert said == "the tree is not clean, commit or remove: README.md"


def test_a_commit_without_its_tag_is_not_published(repository: Path) -> None:
    git(repository, "tag", "-d", f"v{VERSION}")
    said = one_line(releasing(repository, "publish", "http://127.0.0.1:9/", **CREDENTIALS))
    assert said == f"HEAD has no tag v{VERSION}"


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_another_version_s_tag_is_refused_once(repository: Path, dry: tuple[str, ...]) -> None:
    git(repository, "tag", "-d", f"v{VERSION}")
    git(repository, "tag", "v99.0")
    done = releasing(repository, "publish", "http://127.0.0.1:9/", *dry, **CREDENTIALS)
    assert one_line(done) == f"HEAD is tagged v99.0, but pyproject.toml says {VERSION}"
    assert done.stdout == ""


def test_an_unfinished_changelog_is_not_published(repository: Path) -> None:
    (repository / "changes").mkdir(exist_ok=True)
    (repository / "changes" / "+word.added.md").write_text("Text.\n")
    git(repository, "add", "--all")
    git(repository, "commit", "-q", "--amend", "-m", "release")
    git(repository, "tag", "-f", f"v{VERSION}")
    trouble = "changes/ still holds +word.added.md: nox -s changelog -- --yes"
    assert one_line(releasing(repository, "publish", "http://127.0.0.1:9/", **CREDENTIALS)) == trouble
    said = releasing(repository, "publish", "http://127.0.0.1:9/", "--dry-run", **CREDENTIALS).stdout
    assert f"warning: {trouble}: without --dry-run this is refused" in said


def test_a_url_without_an_index_is_refused(tagged: Path, internal: Index) -> None:
    said = one_line(releasing(tagged, "publish", f"{internal.url}nosuch/", "--dry-run", **CREDENTIALS))
    assert re.fullmatch(r"127\.0\.0\.1:\d+ has no index at /nosuch/simple/ \(status 404\)", said)


def test_without_credentials_nothing_is_sent(tagged: Path) -> None:
    said = one_line(releasing(tagged, "publish", "http://127.0.0.1:9/"))
    assert said.startswith("no credentials for 127.0.0.1:9: set TWINE_USERNAME and TWINE_PASSWORD")


def test_an_index_out_of_reach_is_one_line(tagged: Path) -> None:
    said = one_line(releasing(tagged, "publish", "http://127.0.0.1:9/", **CREDENTIALS))
    assert said == "127.0.0.1:9 cannot be reached, or is no index (ConnectionError)"


def test_wrong_credentials_are_one_line(tagged: Path, internal: Index) -> None:
    wrong = {**CREDENTIALS, "TWINE_PASSWORD": "canary-wrong"}
    done = releasing(tagged, "publish", internal.url, **wrong)
    assert "canary-wrong" not in done.stdout + done.stderr
    assert re.match(r"127\.0\.0\.1:\d+ refused the credentials \(status 40[13]\)", one_line(done))


def test_wrong_credentials_that_only_the_upload_meets_are_one_line(
    published: str, tagged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINE_USERNAME", USER)
    monkeypatch.setenv("TWINE_PASSWORD", "canary-wrong")
    with index(tmp_path / "open", "update") as readable:
        settings = release._settings(readable.url)
        assert release._published(f"{readable.url}simple/", settings) == set()
        with pytest.raises(release.ReleaseError, match=r"^here refused the credentials \(status 403\)"):
            release._upload(settings, list((tagged / "dist").glob("*.whl")), "here")


def test_a_version_is_published_once_and_a_keyring_will_do(
    published: str, tagged: Path, internal: Index, tmp_path: Path
) -> None:
    (tmp_path / "ring.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n"
        "    priority = 1\n"
        f"    def get_password(self, service, user): return {{{USER!r}: {PASSWORD!r}}}.get(user)\n"
        "    def set_password(self, service, user, password): raise NotImplementedError\n"
    )
    ring = {"TWINE_USERNAME": USER, "PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "ring.Ring"}
    said = one_line(releasing(tagged, "publish", internal.url, **ring))
    assert re.fullmatch(rf"enkash-auth {VERSION} exists on 127\.0\.0\.1:\d+: a version is published once", said)


def test_an_index_that_sends_on_to_another_is_asked_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / f"enkash_auth-{VERSION}-py3-none-any.whl").touch()
    with index(folder, ".") as other:
        settings = release._settings(other.url)
        assert release._published(f"{other.url}simple/", settings) == {VERSION}
        with index(tmp_path / "empty", ".", "--fallback-url", f"{other.url}simple/") as empty:
            assert httpx.get(f"{empty.url}simple/enkash-auth/").is_redirect
            assert release._published(f"{empty.url}simple/", settings) == set()


@pytest.mark.parametrize("url", ["https://u:canary-pass@index.example/", "u:canary-pass@index.example"])
def test_nox_prints_no_password_of_a_url(tagged: Path, url: str) -> None:
    done = run(sys.executable, "-m", "nox", "-s", "publish", "--", url, cwd=tagged)
    assert done.returncode == 1
    assert "the index's URL" in done.stderr
    assert "canary" not in done.stdout + done.stderr


# The changelog's fragments


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("changes/+word.added.md", None),
        ("changes/+word.surprise.md", "Invalid news fragment name: +word.surprise.md"),
        ("wrapper/enkash_auth/_new.py", "No new newsfragments found on this branch"),
        ("tests/test_new.py", None),
    ],
)
def test_a_change_of_what_ships_brings_a_well_named_fragment(
    tagged: Path, tmp_path: Path, path: str, says: str | None
) -> None:
    clone = tmp_path / "clone"
    git(tagged, "clone", "-q", str(tagged), str(clone))
    git(clone, "checkout", "-q", "-b", "branch")
    (clone / "changes").mkdir(exist_ok=True)  # empty after a release, and so unknown to git
    (clone / path).write_text("Text.\n")
    git(clone, "add", "--all")
    git(clone, "commit", "-q", "-m", "change")
    done = releasing(clone, "fragments")
    assert (done.returncode == 0) == (says is None), done.stderr
    assert says is None or says in done.stderr


def test_without_a_branch_to_compare_with_the_names_are_checked_still(repository: Path) -> None:
    assert "was not checked" in ok(releasing(repository, "fragments"))
    (repository / "changes").mkdir(exist_ok=True)
    (repository / "changes" / "word.md").touch()
    assert releasing(repository, "fragments").returncode == 1


# Installing


@pytest.mark.parametrize("extra", ["", *EXTRAS])
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_example_runs_from_an_installed_release(
    published: str, internal: Index, tmp_path: Path, tool: str, extra: str
) -> None:
    python = environment_with_pip(tmp_path) if tool == "pip" else None
    what = f"enkash-auth[{extra}]=={VERSION}" if extra else f"enkash-auth=={VERSION}"
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    if python is None:
        python = tmp_path / ".venv" / "bin" / "python"
        ok(run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / ".venv", cwd=tmp_path))
        install = [UV, "pip", "install", "--quiet", "--no-cache", "--python", python]
        install += ["--default-index", f"{internal.url}simple/"]
    else:
        install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--index-url", f"{internal.url}simple/"]
    ok(run(*install, what, cwd=tmp_path, NETRC=str(netrc), PIP_CONFIG_FILE=os.devnull))
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[:1]
    (tmp_path / "example.py").write_text(example)
    with Sandbox() as sandbox:
        assert "True" in ok(run(python, "-I", "example.py", cwd=tmp_path, **sandbox.environment()))


def test_the_guide_names_every_extra() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE)) == set(EXTRAS)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", GUIDE.read_text(), flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if "```bash" in text}


def service(folder: Path, text: str, internal: Index, public: Index) -> dict[str, str]:
    """Prepare the folder that the section's text starts from; return what its commands find in the environment."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("uv", "poetry"):
        (tools / name).symlink_to(BIN / name)
    (folder / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    (folder / "netrc").chmod(0o600)
    toml = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    if toml:
        (folder / "pyproject.toml").write_text(toml[1].replace(PLACEHOLDER, f"{internal.url}simple/"))
    elif "poetry" in text:
        project = '[project]\nname = "service"\nversion = "1"\nrequires-python = ">=3.11,<4"\n'
        project += "[tool.poetry]\npackage-mode = false\n"
        if "explicit" in text:  # no setting moves Poetry's public index: a source of its own stands for it
            project += f'[[tool.poetry.source]]\nname = "public"\nurl = "{public.url}simple/"\n'
        (folder / "pyproject.toml").write_text(project)
    else:
        environment_with_pip(folder)
    path = [folder / ".venv" / "bin", tools, Path(getattr(sys, "_base_executable", sys.executable)).parent]
    return {
        "PATH": os.pathsep.join([*map(str, path), "/usr/bin", "/bin"]),
        "HOME": str(folder),
        "NETRC": str(folder / "netrc"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{public.url}simple/",
        "PIP_NO_CACHE_DIR": "1",
        "UV_DEFAULT_INDEX": f"{public.url}simple/",
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_PYTHON": sys.executable,
        "POETRY_CACHE_DIR": str(folder / "cache"),
        "POETRY_CONFIG_DIR": str(folder / "config"),
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "POETRY_HTTP_BASIC_INTERNAL_USERNAME": USER,
        "POETRY_HTTP_BASIC_INTERNAL_PASSWORD": PASSWORD,
        "UV_INDEX_INTERNAL_USERNAME": USER,
        "UV_INDEX_INTERNAL_PASSWORD": PASSWORD,
    }


@pytest.mark.parametrize("title", [title for title in sections() if title != "Upgrading"])
def test_the_guide_s_commands_run_and_take_our_package(
    published: str, internal: Index, public: Index, tmp_path: Path, title: str
) -> None:
    environment = service(tmp_path, sections()[title], internal, public)
    blocks = re.findall(r"```bash\n(.*?)```", sections()[title], re.DOTALL)
    blocks += re.findall(r"```bash\n(.*?)```", sections()["Upgrading"], re.DOTALL)
    script = "\n".join(blocks).replace(PLACEHOLDER, f"{internal.url}simple/")
    assert PLACEHOLDER not in script
    said = ok(run("bash", "-euc", script, cwd=tmp_path, only=environment))
    assert said.splitlines()[-1].split()[0] == VERSION


def test_the_guide_s_warning_is_true(published: str, internal: Index, public: Index, tmp_path: Path) -> None:
    (command,) = re.findall(r"`(pip install --extra-index-url .*?)`", GUIDE.read_text())
    environment = service(tmp_path, "pip", internal, public)
    ok(run("bash", "-euc", command.replace(PLACEHOLDER, f"{internal.url}simple/"), cwd=tmp_path, only=environment))
    assert installed(tmp_path / ".venv" / "bin" / "python") == "99.0"


def test_the_guide_s_dockerfile_is_clean(tmp_path: Path) -> None:
    (dockerfile,) = re.findall(r"```dockerfile\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "Dockerfile").write_text(dockerfile)
    assert ok(run("hadolint", "--no-color", "Dockerfile", cwd=tmp_path)) == ""
