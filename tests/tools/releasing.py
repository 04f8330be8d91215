"""What the tests of releases share: a tagged repository, a private index and what stands for the public one, commands.

Environments get their dependencies from the machine's ordinary index; all else is on the loopback.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import pytest
import truststore

import release
from indexes import KINDS, PASSWORD, USER, Index, Kind, devpi, pypiserver, sha256, standing_in

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "consume.md"
PLACEHOLDER = "https://index.example/simple/"
VERSION = release.version(ROOT)
WHEEL, SDIST = f"enkash_auth-{VERSION}-py3-none-any.whl", f"enkash_auth-{VERSION}.tar.gz"
CREDENTIALS = {"TWINE_USERNAME": USER, "TWINE_PASSWORD": PASSWORD}
BIN = Path(sys.executable).parent
UV = shutil.which("uv", path=str(BIN)) or "uv"
Done = subprocess.CompletedProcess[str]

# The active environment is left out too: Poetry would take it for the service's and empty it.
FOREIGN = ("PIP_", "TWINE_", "POETRY_", "ENKASH_", "VIRTUAL_ENV", "CONDA_", "PYTHON")
INHERITED = {
    **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
    "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "UV_PYTHON_DOWNLOADS": "never",
}


def run(*command: object, cwd: Path, only: dict[str, str] | None = None, **more: str) -> Done:
    """Run with the environment `only`, or with this machine's (but for its secrets and settings), and `more`."""
    words = [str(word) for word in command]
    environment = {**(INHERITED if only is None else only), **more}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def ok(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def one_line(done: Done) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false")
    return ok(run("git", *identity, *words, cwd=repository))


def releasing(repository: Path, *words: str, **environment: str) -> Done:
    """Do what tools/release.py of a repository does, in this process and at a second less."""
    out, err = io.StringIO(), io.StringIO()
    settings = patch.dict(os.environ, {**INHERITED, **environment}, clear=True)
    with settings, patch.object(release, "ROOT", repository), redirect_stdout(out), redirect_stderr(err):
        ended = release.main(list(words))
    truststore.extract_from_ssl()
    return Done(words, ended, out.getvalue(), err.getvalue())


def publishing(repository: Path, index: Index, *words: str, **environment: str) -> Done:
    """Publish what `prebuilt` built; `simple` of the index is said too."""

    def build(root: Path, scratch: Path) -> list[Path]:
        environment = repository.parent / "environment"
        shutil.copytree(environment, scratch / "environment", symlinks=True, copy_function=os.link)
        return [repository / "dist" / SDIST, repository / "dist" / WHEEL]

    with patch.object(release, "build", build):
        to = ("publish", index.url, "--simple", index.simple)
        return releasing(repository, *to, *words, **{**CREDENTIALS, **environment})


@pytest.fixture(scope="session")
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


@pytest.fixture
def repository(tagged: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tagged, tmp_path / "repository", ignore=shutil.ignore_patterns("dist")))


@pytest.fixture(scope="session")
def internal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The team's index, protected throughout: it has the dependencies, and this package once it was published."""
    folder = tmp_path_factory.mktemp("internal")
    pins, packages = folder / "pins.txt", folder / "packages"
    command = [UV, "pip", "compile", "--quiet", "pyproject.toml", "--all-extras", "--generate-hashes"]
    ok(run(*command, "--constraint", "requirements/constraints.txt", "-o", pins, cwd=ROOT))
    # pip alone can download; where from is this machine's affair.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    ok(run(*command, "--require-hashes", "-r", pins, "-d", packages, cwd=ROOT, only=dict(os.environ)))
    with pypiserver(packages) as served:
        yield served


@pytest.fixture(scope="session")
def published(internal: Index, tagged: Path) -> str:
    """What `publish` said about the real thing."""
    command = [sys.executable, "tools/release.py", "publish", internal.url]
    return ok(run(*command, cwd=tagged, **CREDENTIALS, UV_EXCLUDE_NEWER="2020-01-01"))


@pytest.fixture(scope="session")
def prebuilt(published: str, tagged: Path) -> Path:
    """The tagged repository with what a publish leaves behind; beside it an environment with the dependencies."""
    environment = tagged.parent / "environment"
    ok(run(UV, "venv", "--quiet", "--python", sys.executable, environment, cwd=tagged))
    command = [UV, "pip", "install", "--quiet", "--python", environment, "-r", "pyproject.toml", "--all-extras"]
    ok(run(*command, "--constraint", "requirements/constraints.txt", cwd=tagged))
    ok(run(environment / "bin" / "python", "-c", "import httpx", cwd=tagged))  # compiled once
    return tagged


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory, internal: Index) -> Iterator[Index]:
    """What stands for the public index: the dependencies, uploaded in 2020, and a stranger's package of our name."""
    folder = tmp_path_factory.mktemp("public") / "packages"
    shutil.copytree(internal.folder, folder, ignore=shutil.ignore_patterns("enkash*"))
    info = "enkash_auth-99.0.dist-info"
    with zipfile.ZipFile(folder / "enkash_auth-99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: enkash-auth\nVersion: 99.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    with standing_in(Kind("public", "", times=True), folder) as served:
        yield served


@pytest.fixture(scope="session")
def devpis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Index]]:
    """One devpi server for all tests; each gets an index of its own."""
    with devpi(Path(os.environ["DEVPI"]) / "bin", tmp_path_factory.mktemp("devpi")) as create:
        yield create


@pytest.fixture
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """An empty index, of the kind that the test is parametrized with."""
    kind, files = getattr(request, "param", "gitlab"), tmp_path / "files"
    if kind == "devpi":
        yield request.getfixturevalue("devpis")(re.sub(r"\W", "", tmp_path.name))
        return
    with pypiserver(files) if kind == "pypiserver" else standing_in(KINDS[kind], files) as found:
        yield found


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    return {path.name: sha256(path) for pattern in patterns for path in folder.glob(pattern)}


def environment_with_pip(folder: Path) -> Path:
    ok(run(UV, "venv", "--quiet", "--python", sys.executable, folder / ".venv", cwd=folder))
    command = [UV, "pip", "install", "--quiet", "--python", folder / ".venv", f"pip=={version('pip')}"]
    ok(run(*command, cwd=folder))
    return folder / ".venv" / "bin" / "python"


def installed(folder: Path) -> str:
    """Return the version of this package in the environment in a folder."""
    (info,) = folder.glob("lib/python*/site-packages/enkash_auth-*.dist-info")
    return info.name.removeprefix("enkash_auth-").removesuffix(".dist-info")


def script(text: str, index: Index) -> str:
    """Return the commands of a page's text, for this index."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace(PLACEHOLDER, index.simple)


def follow(commands: str, folder: Path, environment: dict[str, str]) -> str:
    assert PLACEHOLDER not in commands
    return ok(run("bash", "-euc", commands, cwd=folder, only=environment))


def netrc(folder: Path, host: str = "127.0.0.1", login: str = USER) -> str:
    path = folder / "netrc"
    path.write_text(f"machine {host} login {login} password {PASSWORD}\n" if login else "")
    path.chmod(0o600)
    return str(path)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", GUIDE.read_text(), flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if "```bash" in text}


def service(folder: Path, text: str, internal: Index, public: Index) -> dict[str, str]:
    """Prepare the folder that the section's text starts from; return what its commands find in the environment."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("uv", "poetry"):
        (tools / name).symlink_to(BIN / name)
    toml = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    if toml:
        (folder / "pyproject.toml").write_text(toml[1].replace(PLACEHOLDER, internal.simple))
    elif "poetry" in text:
        project = '[project]\nname = "service"\nversion = "1"\nrequires-python = ">=3.11,<4"\n'
        project += "[tool.poetry]\npackage-mode = false\n"
        if "explicit" in text:  # no setting moves Poetry's public index: a source of its own stands for it
            project += f'[[tool.poetry.source]]\nname = "public"\nurl = "{public.simple}"\n'
        (folder / "pyproject.toml").write_text(project)
    else:
        environment_with_pip(folder)
    path = [folder / ".venv" / "bin", tools, Path(getattr(sys, "_base_executable", sys.executable)).parent]
    return {
        "PATH": os.pathsep.join([*map(str, path), "/usr/bin", "/bin"]),
        "HOME": str(folder),
        "NETRC": netrc(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": public.simple,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_COMPILE": "1",
        "UV_DEFAULT_INDEX": public.simple,
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
