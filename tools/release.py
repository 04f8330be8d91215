"""Builds a release of the commit at hand, and uploads it to one index. Run by `nox -s build` and `nox -s publish`."""

from __future__ import annotations

import argparse
import hashlib
import io
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from twine.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
NAME = "enkash-auth"
PACKAGES = ("enkash_auth", "enkash_auth_client")
APPEARS_WITHIN = 60.0  # seconds; some indexes list an upload only after a while


class ReleaseError(Exception):
    """What stands in the way of a release, in one line."""


# What is decided, and touches nothing


def check_url(url: str) -> str:
    """Return the URL with one slash at its end; no message repeats it, since it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ReleaseError("the index's URL is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ReleaseError("the index's URL holds credentials: they go in TWINE_USERNAME and TWINE_PASSWORD")
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ReleaseError("the index's URL must look like https://index.example/path/")
    if parts.scheme == "http" and not _loopback(host):
        raise ReleaseError(f"{parts.netloc} must be reached by https: credentials would go there in the clear")
    return url.rstrip("/") + "/"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wrong_tag(version: str, tags: list[str], *, demanded: bool) -> str | None:
    """Return why a commit with these tags is not this version, or None; without `demanded` it need not have any."""
    releases = [tag for tag in tags if re.match(r"v\d", tag)]
    if f"v{version}" in releases:
        return None
    if releases:
        return f"HEAD is tagged {' and '.join(releases)}, but pyproject.toml says {version}"
    return f"HEAD has no tag v{version}" if demanded else None


def check_words(words: list[str]) -> None:
    """Refuse what `publish` does not know, and a URL that is none, before nox prints the words."""
    for word in words:
        if word in ("--simple", "--dry-run"):
            continue
        if word.startswith("-") and not word.startswith("--simple="):
            raise ReleaseError(f"there is no {word.partition('=')[0]}: publish knows --simple URL and --dry-run")
        check_url(word.removeprefix("--simple="))


def unfinished(version: str, fragments: list[str], changelog: str) -> str | None:
    """Return what the changelog lacks before this version is released, or None."""
    if fragments:
        return f"changes/ still holds {', '.join(sorted(fragments))}: nox -s changelog -- --yes"
    if not re.search(rf"^## {re.escape(version)} ", changelog, re.MULTILINE):
        return f"CHANGELOG.md says nothing of {version}: nox -s changelog -- --yes"
    return None


def incomplete(names: list[str]) -> str | None:
    """Return what a wheel with these files lacks or has too much, or None."""
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != set(PACKAGES):
        return f"the wheel's top-level packages are {', '.join(sorted(tops))}, not {' and '.join(PACKAGES)}"
    missing = [name for package in PACKAGES if (name := f"{package}/py.typed") not in names]
    return f"the wheel lacks {', '.join(missing)}" if missing else None


# What the repository says


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"git {words[0]}: {_last_line(done.stderr)}")
    return done.stdout


def version(root: Path) -> str:
    """Return the one literal, in pyproject.toml."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def require_clean(root: Path) -> None:
    """Refuse a tree that is not its commit: what is released must be found again."""
    if dirty := _git(root, "status", "--porcelain").splitlines():
        names = ", ".join(line[3:] for line in dirty[:5]) + (", ..." if len(dirty) > 5 else "")
        raise ReleaseError(f"the tree is not clean, commit or remove: {names}")


def _tag_trouble(root: Path, *, demanded: bool) -> str | None:
    return wrong_tag(version(root), _git(root, "tag", "--points-at", "HEAD").split(), demanded=demanded)


def _check_tag(root: Path) -> None:
    if trouble := _tag_trouble(root, demanded=False):
        raise ReleaseError(trouble)


def _changelog_trouble(root: Path) -> str | None:
    fragments = [Path(name).name for name in _git(root, "ls-files", "changes").splitlines()]
    return unfinished(version(root), fragments, (root / "CHANGELOG.md").read_text(encoding="utf-8"))


# Building


def build(root: Path) -> list[Path]:
    """Fill dist/ from the commit at HEAD, and return the sdist and the wheel that was built from it."""
    require_clean(root)
    _check_tag(root)
    environment = _environment(SOURCE_DATE_EPOCH=_git(root, "log", "-1", "--format=%ct").strip())
    with tempfile.TemporaryDirectory() as scratch:
        # From the commit, not from the tree, where files lie that git ignores. Twice: what differs between two
        # folders would differ between two machines.
        first, second = (_build_commit(root, Path(scratch, name), environment) for name in ("once", "once/more"))
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise ReleaseError(f"{one.name} is not the same when it is built twice")
        _check(root, first)
        bill = Path(scratch, f"{first[0].name.removesuffix('.tar.gz')}.cdx.json")
        _write_bill(root, Path(scratch, "environment"), bill, environment)
        dist = root / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        made = [Path(shutil.copy(path, dist)) for path in (*first, bill)]
    for path in made:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  dist/{path.name}")
    return made[:2]


def _build_commit(root: Path, folder: Path, environment: dict[str, str]) -> list[Path]:
    archive = subprocess.run(["git", "-C", str(root), "archive", "HEAD"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 brought filters; git wrote this
        tree.extractall(folder / "tree")
    command = ["uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    _run([*command, "--out-dir", str(folder / "dist"), str(folder / "tree")], environment)
    return [next((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl")]


def _check(root: Path, paths: list[Path]) -> None:
    _run([sys.executable, "-m", "twine", "check", "--strict", *map(str, paths)])
    _run([sys.executable, "-m", "check_wheel_contents", "--config", str(root / "pyproject.toml"), str(paths[1])])
    with zipfile.ZipFile(paths[1]) as wheel:
        if trouble := incomplete(wheel.namelist()):
            raise ReleaseError(trouble)


def _write_bill(root: Path, folder: Path, path: Path, environment: dict[str, str]) -> None:
    """List the dependencies, those of every extra too, at the versions that the tests ran with."""
    _run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)])
    command = ["uv", "pip", "install", "--quiet", "--python", str(folder), "-r", str(root / "pyproject.toml")]
    _run([*command, "--all-extras", "--constraint", str(root / "requirements-dev.txt")])
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(root / "pyproject.toml")]
    _run([*command, "--mc-type", "library", "--output-reproducible", "-o", str(path), str(folder)], environment)


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    environment = environment or _environment()
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise ReleaseError(f"{command[0]} is not installed beside {sys.executable}")
    done = subprocess.run([program, *command[1:]], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}".rstrip())


def _environment(**more: str) -> dict[str, str]:
    found = {**os.environ, **more}  # noqa: TID251  (a build step, not the library)
    # uv lies beside this Python, whether or not the environment is active.
    return {**found, "PATH": os.pathsep.join([str(Path(sys.executable).parent), found.get("PATH", os.defpath)])}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


# Publishing


def publish(root: Path, index: str, simple: str, *, dry_run: bool) -> None:
    """Build, upload exactly that to `index`, then install it from `simple` into a clean environment."""
    host = urlsplit(index).netloc
    require_clean(root)
    _check_tag(root)  # another version's tag is refused at once, in a dry run too
    for trouble in filter(None, (_tag_trouble(root, demanded=True), _changelog_trouble(root))):
        if not dry_run:
            raise ReleaseError(trouble)
        print(f"warning: {trouble}: without --dry-run this is refused")
    settings = _settings(index)
    mine = version(root)
    if mine in _published(simple, settings):
        raise ReleaseError(f"{NAME} {mine} exists on {host}: a version is published once")
    paths = build(root)
    if dry_run:
        print(f"would upload {' and '.join(path.name for path in paths)} to {host}")
        _install(str(paths[1]), [], _environment())
        print("dry run: nothing was uploaded")
        return
    _upload(settings, paths, host)
    _wait_for(mine, simple, settings)
    # uv looks for a package on the named index first and stays there: no other index can slip one in.
    credentials = _environment(
        UV_INDEX_PUBLISHED_USERNAME=settings.username, UV_INDEX_PUBLISHED_PASSWORD=settings.password
    )
    options = ["--index", f"published={simple}", "--refresh-package", NAME]
    _install(f"{NAME}=={mine}", options, credentials)
    print(f"{NAME} {mine} is on {host}")


def _settings(index: str) -> Settings:
    """Return twine's view of its ordinary variables and the keyring; ~/.pypirc has no say."""
    from twine.exceptions import TwineException
    from twine.settings import Settings

    parser = argparse.ArgumentParser()
    Settings.register_argparse_arguments(parser)
    options = ["--non-interactive", "--disable-progress-bar", "--config-file", os.devnull]
    settings = Settings.from_argparse(parser.parse_args([*options, "--repository-url", index]))
    try:
        if settings.username and settings.password:
            return settings
    except TwineException:
        pass
    raise ReleaseError(
        f"no credentials for {urlsplit(index).netloc}: set TWINE_USERNAME and TWINE_PASSWORD, or a keyring"
    )


def _published(simple: str, settings: Settings) -> set[str]:
    """Return the versions that the index has. Uploaders are no judges: uv skips a duplicate with exit 0."""
    import requests
    from packaging.utils import canonicalize_version
    from pypi_simple import NoSuchProjectError, PyPISimple, UnsupportedContentTypeError

    class Session(requests.Session):
        # Some indexes send those who ask for an unknown name on to the public one: that is another index.
        def get_redirect_target(self, answer: requests.Response) -> str | None:
            target = super().get_redirect_target(answer)
            here, there = urlsplit(answer.url), urlsplit(urljoin(answer.url, target or ""))
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                raise NoSuchProjectError(NAME, answer.url)
            return target

    host = urlsplit(simple).netloc
    try:
        with PyPISimple(simple, auth=(settings.username, settings.password), session=Session()) as client:
            try:
                page = client.get_project_page(NAME, timeout=30.0)
            except NoSuchProjectError:  # as it is before the first release; and where there is no index at all
                client.s.get(simple, timeout=30.0, stream=True).raise_for_status()
                return set()
    except NoSuchProjectError:
        raise ReleaseError(f"{host} sends those who ask for its index on to another") from None
    except (requests.RequestException, UnsupportedContentTypeError) as error:
        raise ReleaseError(_refusal(error, host)) from None
    return {
        canonicalize_version(package.version, strip_trailing_zero=False) for package in page.packages if package.version
    }


def _refusal(error: Exception, host: str) -> str:
    answer = getattr(error, "response", None)
    if answer is None:
        return f"{host} cannot be reached, or is no index ({type(error).__name__})"
    if answer.status_code in (401, 403):
        return (
            f"{host} refused the credentials (status {answer.status_code}): TWINE_USERNAME, TWINE_PASSWORD or keyring"
        )
    if answer.status_code == 404:
        return f"{host} has no index at {urlsplit(answer.url).path} (status 404)"
    return f"{host} answered with status {answer.status_code}"


def _upload(settings: Settings, paths: list[Path], host: str) -> None:
    import requests
    from twine.commands.upload import upload
    from twine.exceptions import TwineException

    try:
        upload(settings, [str(path) for path in paths])
    except requests.RequestException as error:
        raise ReleaseError(_refusal(error, host)) from None
    except TwineException as error:
        raise ReleaseError(f"{host} did not take the upload ({type(error).__name__})") from None


def _wait_for(mine: str, simple: str, settings: Settings) -> None:
    end = time.monotonic() + APPEARS_WITHIN
    while mine not in _published(simple, settings):
        if time.monotonic() > end:
            host = urlsplit(simple).netloc
            raise ReleaseError(f"uploaded, but {host} does not list {NAME} {mine} after {APPEARS_WITHIN:.0f} s")
        time.sleep(1)


def _install(what: str, options: list[str], environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _run(["uv", "venv", "--quiet", "--python", sys.executable, scratch])
        _run(["uv", "pip", "install", "--quiet", "--python", scratch, *options, what], environment)
        code = "import enkash_auth as e, enkash_auth_client; print(f'{e.__version__} of spec {e.__spec_version__}')"
        python = Path(scratch, "Scripts" if os.name == "nt" else "bin", "python")
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ReleaseError(f"installed, but: {_last_line(done.stderr)}")
        print(f"in a clean environment: import enkash_auth, {done.stdout.strip()}")


# The changelog's fragments


def check_fragments(root: Path) -> None:
    """Refuse a misnamed fragment, and a branch that changes what ships without one."""
    _run([sys.executable, "-m", "towncrier", "build", "--draft", "--version", version(root), "--dir", str(root)])
    try:  # a checkout for CI may have no other branch, or no history
        changed = _git(root, "diff", "--name-only", "origin/HEAD...", "--", "wrapper", "generated", "spec")
    except ReleaseError:
        print("no origin/HEAD to compare with: whether this branch needs a fragment was not checked")
        return
    if changed:
        command = [sys.executable, "-m", "towncrier", "check", "--compare-with", "origin/HEAD", "--dir", str(root)]
        _run(command)


def main(arguments: list[str]) -> int:
    """Do what is asked; return 1 after one line on stderr if it cannot be done."""
    parser = argparse.ArgumentParser(prog="release", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("fragments")
    to = commands.add_parser("publish", allow_abbrev=False)
    to.add_argument("index", nargs="?", help="where to upload, for example https://index.example/")
    to.add_argument("--simple", help="where pip would look, if that is not INDEX_URL/simple/")
    to.add_argument("--dry-run", action="store_true", help="all but the upload")
    given = parser.parse_args(arguments)
    try:
        if given.command == "build":
            build(ROOT)
        elif given.command == "fragments":
            check_fragments(ROOT)
        elif given.index is None:
            raise ReleaseError("which index? There is no default: nox -s publish -- https://index.example/")
        else:
            index = check_url(given.index)
            simple = check_url(given.simple) if given.simple else f"{index}simple/"
            publish(ROOT, index, simple, dry_run=given.dry_run)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
