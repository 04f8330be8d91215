"""Builds a release of the commit at hand, and uploads it to one index. Run by `nox -s build` and `nox -s publish`."""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
NAME = "enkash-auth"


class ReleaseError(Exception):
    """What stands in the way of a release, and what to do."""


# What is asked for


def check_url(url: str) -> str:
    """Return the URL; no message repeats it, since it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ReleaseError("the index's URL is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ReleaseError("the index's URL holds credentials: set TWINE_USERNAME and TWINE_PASSWORD instead")
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ReleaseError("the index's URL must look like https://index.example/path/")
    if parts.scheme == "http" and not re.fullmatch(r"localhost|127(\.\d{1,3}){3}|::1", host):
        raise ReleaseError(f"{parts.netloc} must be reached by https: credentials would go there in the clear")
    if parts.path.rstrip("/").endswith(f"/{NAME}"):
        raise ReleaseError(f"{parts.path} is this package's page: give the URL above that")
    return url if parts.path else url + "/"


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what is asked for; a refusal repeats no value, since nox calls this before it prints the words."""
    parser = argparse.ArgumentParser(prog="release", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("fragments")
    to = commands.add_parser("publish", allow_abbrev=False)
    to.add_argument("index", nargs="?", type=check_url, help="where to upload, for example https://index.example/")
    to.add_argument("--simple", type=check_url, help="where pip would look, unless docs/release.md lists it")
    mode = to.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="all but the upload")
    mode.add_argument("--verify", action="store_true", help="check what the index holds; upload nothing")
    given, unknown = parser.parse_known_args(words)
    if unknown:
        word = unknown[0].partition("=")[0] if unknown[0].startswith("-") else "second URL"
        raise ReleaseError(f"there is no {word}: publish knows one URL, --simple URL, --dry-run and --verify")
    if given.command == "publish" and given.index is None:
        raise ReleaseError("which index? There is no default: nox -s publish -- https://index.example/")
    return given


# What the repository says


def wrong_tag(version: str, tags: list[str], *, demanded: bool) -> str | None:
    """Return why a commit with these tags is not this version, or None; without `demanded` it need not have any."""
    releases = [tag for tag in tags if re.match(r"v\d", tag)]
    if f"v{version}" in releases:
        return None
    if releases:
        return f"HEAD is tagged {' and '.join(releases)}, but pyproject.toml says {version}"
    return f"HEAD has no tag v{version}" if demanded else None


def unfinished(version: str, fragments: list[str], changelog: str) -> str | None:
    """Return what the changelog lacks before this version is released, or None."""
    if fragments:
        return f"changes/ still holds {', '.join(sorted(fragments))}: nox -s changelog -- --yes"
    if not re.search(rf"^## {re.escape(version)} ", changelog, re.MULTILINE):
        return f"CHANGELOG.md says nothing of {version}: nox -s changelog -- --yes"
    return None


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed, and a release is built from a commit: install git") from None
    if done.returncode != 0:
        raise ReleaseError(f"git {words[0]}: {_last_line(done.stderr)}")
    return done.stdout


def version(root: Path) -> str:
    """Return the one literal, in pyproject.toml."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def check_commit(root: Path) -> list[str]:
    """Refuse a tree that is not its commit, and another version's tag; return what a release lacks besides."""
    if Path(_git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root.resolve():
        raise ReleaseError(f"{root} is no git clone of its own, and a release is built from a commit: git clone it")
    if dirty := _git(root, "status", "--porcelain").splitlines():
        names = ", ".join(line[3:] for line in dirty[:5]) + (", ..." if len(dirty) > 5 else "")
        raise ReleaseError(f"the tree is not clean, commit or remove: {names}")
    mine, tags = version(root), _git(root, "tag", "--points-at", "HEAD").split()
    if trouble := wrong_tag(mine, tags, demanded=False):
        raise ReleaseError(trouble)
    fragments = [Path(name).name for name in _git(root, "ls-files", "changes").splitlines()]
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    return [t for t in (wrong_tag(mine, tags, demanded=True), unfinished(mine, fragments, changelog)) if t]


def check_fragments(root: Path) -> None:
    """Refuse a misnamed fragment, and a branch that changes what ships without one."""
    _run([sys.executable, "-m", "towncrier", "build", "--draft", "--version", version(root), "--dir", str(root)])
    try:  # a checkout for CI may have no other branch, or no history
        _git(root, "rev-parse", "--git-dir")  # git diff does not say that git refuses the clone of another user
        changed = _git(root, "diff", "--name-only", "origin/HEAD...", "--", "wrapper", "generated", "spec")
    except ReleaseError as error:
        if "safe.directory" in str(error):
            raise
        print("no origin/HEAD to compare with: whether this branch needs a fragment was not checked")
        return
    if changed:
        _run([sys.executable, "-m", "towncrier", "check", "--compare-with", "origin/HEAD", "--dir", str(root)])


# Building


def build(root: Path, scratch: Path) -> list[Path]:
    """Fill dist/ and sbom/ from the commit at HEAD; return sdist and wheel. The dependencies are in `environment`."""
    environment = _environment(SOURCE_DATE_EPOCH=_git(root, "log", "-1", "--no-show-signature", "--format=%ct").strip())
    # From the commit, not from the tree, where files lie that git ignores. Twice: what differs between two folders
    # would differ between two machines.
    made, again = (_build_commit(root, scratch / name, environment) for name in ("once", "once/more"))
    for one, other in zip(made, again, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise ReleaseError(f"{one.name} is not the same when it is built twice")
    _run([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)])
    config = str(scratch / "once" / "tree" / "pyproject.toml")
    _run([sys.executable, "-m", "check_wheel_contents", "--config", config, str(made[1])])
    bill = scratch / f"{made[0].name.removesuffix('.tar.gz')}.cdx.json"
    _write_bill(root, scratch / "environment", bill, environment)
    kept = []
    for folder, paths in (("dist", made), ("sbom", [bill])):  # apart: `twine upload dist/*` takes all that lies there
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir()
        kept += [Path(shutil.copy(path, root / folder)) for path in paths]
    for path in kept:
        print(f"{_digest(path)}  {path.relative_to(root)}")
    return kept[:2]


def _build_commit(root: Path, folder: Path, environment: dict[str, str]) -> list[Path]:
    folder.mkdir()
    _git(root, "archive", "--output", str(folder / "tree.zip"), "HEAD")
    shutil.unpack_archive(folder / "tree.zip", folder / "tree")
    command = ["uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    _run([*command, "--out-dir", str(folder / "dist"), str(folder / "tree")], environment)
    return [next((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl")]


def _write_bill(root: Path, folder: Path, path: Path, environment: dict[str, str]) -> None:
    """List the dependencies, those of every extra too, at the versions that the tests ran with."""
    _run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)])
    command = ["uv", "pip", "install", "--quiet", "--python", str(folder), "-r", str(root / "pyproject.toml")]
    _run([*command, "--all-extras", "--constraint", str(root / "requirements" / "constraints.txt")])
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(root / "pyproject.toml")]
    options = ("--mc-type", "library", "--no-validate", "--output-reproducible")
    _run([*command, *options, "-o", str(path), str(folder)], environment)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    environment = environment or _environment()
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise ReleaseError(f"{command[0]} is not installed beside {sys.executable}")
    done = subprocess.run([program, *command[1:]], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def _environment(**more: str) -> dict[str, str]:
    found = {**os.environ, **more}  # noqa: TID251  (a build step, not the library)
    found.pop("UV_EXCLUDE_NEWER", None)  # a cooldown is for what is not pinned yet
    # uv lies beside this Python, whether or not the environment is active.
    return {**found, "PATH": os.pathsep.join([str(Path(sys.executable).parent), found.get("PATH", os.defpath)])}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Publishing


def publish(root: Path, given: argparse.Namespace, scratch: Path) -> None:
    """Build, upload what the index lacks of exactly that, then install it from there into a clean environment."""
    from requests import RequestException  # not at the top: nox imports this module, and has none of these

    from index import Index, Refused, trust

    lacks = check_commit(root)
    if lacks and not given.dry_run:
        raise ReleaseError(lacks[0])
    for trouble in lacks:
        print(f"warning: {trouble}: without --dry-run this is refused")
    done = ""
    try:
        index = Index(given.index, given.simple, trust(scratch / "certificates.pem"))
        if not given.verify:
            index.check_login()
        if not index.listed():
            print(f"{index.simple} lists no {NAME} yet: right before the first release, else look at that URL again")
        untried = index.try_upload() if given.dry_run else ""
        paths = build(root, scratch)
        lacking = index.lacks(paths)
        names = " and ".join(path.name for path in lacking) or "nothing"
        print(f"{index.host} lacks {names}")
        if given.dry_run:
            _install(scratch, ["--no-deps", str(paths[1])], _environment())
            print(f"dry run: nothing was uploaded. Not tried: the upload itself{untried}")
            return
        if given.verify and lacking:
            raise ReleaseError(f"{index.host} lacks {names}: publish without --verify")
        index.upload(lacking)
        done = "the upload is done, but its check failed; nox -s publish -- UPLOAD_URL --verify repeats that. "
        index.wait_for(paths)
        pins = scratch / "requirements.txt"
        pins.write_text(f"{NAME}=={version(root)} {' '.join(f'--hash=sha256:{_digest(path)}' for path in paths)}\n")
        options = ["--no-config", "--system-certs", "--no-cache", "--no-deps", "--require-hashes", "-r", str(pins)]
        _install(scratch, [*options, "--default-index", f"published={index.simple}"], index.settings(_environment()))
        print(f"{NAME} {version(root)} is on {index.host}")
    except RequestException as error:
        host = urlsplit(error.request.url).netloc if error.request else urlsplit(given.index).netloc
        raise ReleaseError(f"{done}cannot connect to {host}: {_cause(error)}") from None
    except (Refused, ReleaseError) as error:
        raise ReleaseError(f"{done}{error}") from None


def _cause(error: BaseException) -> str:
    while inner := error.__cause__ or error.__context__:
        error = inner
    todo = ": name a file with your CA in SSL_CERT_FILE" if "CERTIFICATE_VERIFY" in str(error) else ""
    return f"{error or type(error).__name__}{todo}"


def _install(scratch: Path, words: list[str], environment: dict[str, str]) -> None:
    """Install into the environment that has the dependencies already, so that only this package can fail."""
    folder = scratch / "environment"
    _run(["uv", "pip", "install", "--quiet", "--python", str(folder), *words], environment)
    _run(["uv", "pip", "check", "--quiet", "--python", str(folder)], environment)
    python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    code = "import enkash_auth as e, enkash_auth_client; print(f'{e.__version__} of spec {e.__spec_version__}')"
    print(f"in a clean environment: import enkash_auth, {_run([python, '-I', '-c', code]).strip()}")


def main(words: list[str]) -> int:
    """Do what is asked; return 1 after one line on stderr if it cannot be done, 130 after Ctrl-C."""
    try:
        given = arguments(words)
        with tempfile.TemporaryDirectory() as scratch:
            if given.command == "fragments":
                check_fragments(ROOT)
            elif given.command == "publish":
                publish(ROOT, given, Path(scratch))
            else:
                check_commit(ROOT)
                build(ROOT, Path(scratch))
    except (ReleaseError, OSError) as error:  # the latter: a read-only folder, a full disk
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
