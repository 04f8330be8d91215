"""A release as a maintainer and a service's team meet it: real builds, a real private index, clean environments."""

import os
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

import index as indexing
import release
from enkash_auth.testing import Sandbox
from indexes import KINDS, PASSWORD, READER, USER, Answer, Index, behind_tls, pypiserver, standing_in
from releasing import (
    BIN,
    CREDENTIALS,
    GUIDE,
    INHERITED,
    PLACEHOLDER,
    ROOT,
    SDIST,
    UV,
    VERSION,
    WHEEL,
    Done,
    digests,
    environment_with_pip,
    follow,
    git,
    installed,
    netrc,
    ok,
    one_line,
    publishing,
    releasing,
    run,
    script,
    sections,
    service,
)

pytest_plugins = ["releasing"]
README = ROOT / "README.md"
EXTRAS = metadata("enkash-auth").get_all("Provides-Extra") or []
JSON, HTML = "application/json", "text/html"
INDEX = "https://index.example/"


def refusal(call: Callable[[], object]) -> str:
    """Return what a call is refused with, "" if it is not; no secret is in it."""
    try:
        call()
    except (release.ReleaseError, indexing.Refused) as error:
        assert "canary" not in str(error)
        return str(error)
    return ""


# What is decided


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://index.example/team/", ""),
        ("http://127.0.0.1:8080", ""),
        ("http://[::1]:8080/", ""),
        ("http://localhost/", ""),
        ("http://index.example/", "index.example must be reached by https"),
        ("http://10.0.0.1/", "10.0.0.1 must be reached by https"),
        ("https://u:canary-pass@index.example/", "holds credentials"),
        ("https://canary-token@index.example/", "holds credentials"),
        ("u:canary-pass@index.example", "must look like"),
        ("https://index.example:port/", "is not a URL"),
        ("index.example", "must look like"),
        ("ftp://index.example/", "must look like"),
        ("https://index.example/?token=canary", "must look like"),
        ("https://index.example/simple/enkash-auth/", "is this package's page: give the URL above that"),
    ],
)
def test_an_index_is_an_https_url_without_secrets(url: str, wrong: str) -> None:
    said = refusal(lambda: release.check_url(url))
    assert wrong in said and bool(said) is bool(wrong)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ([INDEX, "--dry-run"], ""),
        ([INDEX, "--verify", "--simple", "https://index.example/s/"], ""),
        ([INDEX, "--simple=https://index.example/s/"], ""),
        ([INDEX, "--dryrun"], "there is no --dryrun: publish knows one URL, --simple URL, "),
        ([INDEX, "--password=canary"], "there is no --password: "),
        ([INDEX, "canary"], "there is no second URL: "),
        (["--simple=http://index.example/"], "must be reached by https"),
        ([], "which index? There is no default"),
    ],
)
def test_an_unknown_word_is_named_and_its_value_is_not(words: list[str], wrong: str) -> None:
    said = refusal(lambda: release.arguments(["publish", *words]))
    assert wrong in said and bool(said) is bool(wrong)


@pytest.mark.parametrize(
    ("tags", "demanded", "wrong"),
    [
        ([], False, None),
        ([], True, "HEAD has no tag v1.2.3"),
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


GITLAB = "https://gitlab.example/api/v4/projects/42/packages/pypi"
NEXUS = "https://nexus.example/repository/pypi-hosted"
AZURE = "https://pkgs.dev.azure.com/team/_packaging/feed"
ARTIFACTORY = "https://team.jfrog.io/artifactory/api/pypi/pypi-local"
AWS = "https://team-1.d.codeartifact.eu-west-1.amazonaws.com/pypi/prod"
GOOGLE = "https://europe-python.pkg.dev/project/team"
GITEA = "https://gitea.example/api/packages/team/pypi"


@pytest.mark.parametrize(
    ("given", "kind", "upload", "simple", "user"),
    [
        (GITLAB, "GitLab", GITLAB, f"{GITLAB}/simple/", ""),
        (f"{GITLAB}/simple/", "GitLab", GITLAB, f"{GITLAB}/simple/", ""),
        (ARTIFACTORY, "Artifactory", ARTIFACTORY, f"{ARTIFACTORY}/simple/", ""),
        ("https://team.jfrog.io/artifactory/pypi-local/", "Artifactory", ARTIFACTORY, f"{ARTIFACTORY}/simple/", ""),
        (f"{AZURE}/pypi/simple/", "Azure", f"{AZURE}/pypi/upload/", f"{AZURE}/pypi/simple/", "VssSessionToken"),
        (f"{NEXUS}/simple", "Nexus", f"{NEXUS}/", f"{NEXUS}/simple/", ""),
        (AWS, "CodeArtifact", f"{AWS}/", f"{AWS}/simple/", "aws"),
        (f"{GOOGLE}/simple/", "Google", f"{GOOGLE}/", f"{GOOGLE}/simple/", "oauth2accesstoken"),
        (GITEA, "Gitea", GITEA, f"{GITEA}/simple/", ""),
        (INDEX, "", INDEX, f"{INDEX}simple/", ""),
    ],
)
def test_a_known_index_s_urls_and_user_are_known(given: str, kind: str, upload: str, simple: str, user: str) -> None:
    found = indexing.shape(given)
    assert (found.kind, found.upload, found.simple, found.user) == (kind, upload, simple, user)


def test_the_page_has_a_row_for_every_kind_of_index() -> None:
    rows = set(re.findall(r"^\| (\w+)[^|]* \| `http", (ROOT / "docs" / "release.md").read_text(), re.MULTILINE))
    assert {row.kind for row in indexing.SHAPES if row.kind} <= rows


# Building


@pytest.mark.thorough
def test_a_build_elsewhere_and_later_makes_the_same_bytes(published: str, tagged: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a longer name" / "clone"
    git(tagged, "clone", "-q", "--no-tags", str(tagged), str(elsewhere))
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (0, 0))
    script = f"umask 077; exec '{sys.executable}' tools/release.py build"
    ok(run("sh", "-c", script, cwd=elsewhere, TZ="Asia/Kolkata", LC_ALL="C"))
    made = digests(elsewhere, "dist/*", "sbom/*")
    assert len(made) == 3
    assert made == digests(tagged, "dist/*", "sbom/*")


@pytest.fixture
def sdist(published: str, tagged: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(tagged / "dist" / SDIST) as files:
        yield files


@pytest.fixture
def wheel(published: str, tagged: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(tagged / "dist" / WHEEL) as files:
        yield files


def test_no_file_of_a_build_has_a_time_but_the_commit_s(
    sdist: tarfile.TarFile, wheel: zipfile.ZipFile, tagged: Path
) -> None:
    then = int(git(tagged, "log", "-1", "--format=%ct"))
    assert {file.mtime for file in sdist} == {then}
    moment = datetime.fromtimestamp(then - then % 2, UTC)
    assert {entry.date_time for entry in wheel.infolist()} == {moment.timetuple()[:6]}


def test_the_sdist_holds_what_is_listed_and_nothing_else(sdist: tarfile.TarFile) -> None:
    listed = {"wrapper", "generated", "spec", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"}
    assert {Path(file.name).parts[1] for file in sdist if file.isfile()} == {*listed, "PKG-INFO", ".gitignore"}


def test_the_wheel_s_metadata_names_both_versions(wheel: zipfile.ZipFile) -> None:
    info = f"enkash_auth-{VERSION}.dist-info"
    headers = wheel.read(f"{info}/METADATA").decode().splitlines()
    assert {f"Version: {VERSION}", "Classifier: Private :: Do Not Upload"} <= set(headers)
    provenance = tomllib.loads(wheel.read(f"{info}/extra_metadata/provenance.toml").decode())
    assert re.fullmatch(r"\d+\.\d+\.\d+", provenance["spec_version"])


def test_the_wheel_has_two_typed_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"enkash_auth", "enkash_auth_client"}
    assert {"enkash_auth/py.typed", "enkash_auth_client/py.typed"} <= set(names)


def test_the_bill_of_materials_names_every_dependency_and_no_machine(published: str, tagged: Path) -> None:
    (bill,) = (tagged / "sbom").iterdir()
    text = bill.read_text()
    assert all(f'"name": "{name}"' in text for name in ("enkash-auth", "attrs", "httpx", "starlette", "h11"))
    assert not [word for word in ("file:", str(tagged), '"serialNumber"') if word in text]


# Publishing


def test_what_was_built_is_what_the_index_holds_and_can_be_imported(
    published: str, internal: Index, tagged: Path
) -> None:
    assert digests(internal.folder, "enkash*") == digests(tagged, "dist/*")
    assert f"in a clean environment: import enkash_auth, {VERSION} of spec " in published


BUILD, PUBLISH = ["build"], ["publish", "http://127.0.0.1:9/"]
ANOTHER = f"HEAD is tagged v99.0, but pyproject.toml says {VERSION}"
UNTAG, COMMIT = (
    f"git tag -d v{VERSION}",
    "git add --all; git -c user.name=t -c user.email=t@t.example commit -qm change",
)
FRAGMENT = f"mkdir -p changes; echo Text. > changes/+word.added.md; {COMMIT}; git tag -f v{VERSION}"
NO_LOGIN = (
    "no credentials for 127.0.0.1:9: set TWINE_USERNAME and TWINE_PASSWORD, or: keyring set http://127.0.0.1:9/ USER"
)


@pytest.mark.parametrize(
    ("words", "spoilt", "says"),
    [
        (BUILD, "echo changed > README.md", "the tree is not clean, commit or remove: README.md"),
        (BUILD, f"{UNTAG}; git tag v99.0", ANOTHER),
        (BUILD, "rm -r .git", "git rev-parse: fatal: not a git repository"),
        (BUILD, "rm -r .git; git init -q ..", "is no git clone of its own, and a release is built from a commit: git"),
        (PUBLISH, "echo changed > README.md", "the tree is not clean, commit or remove: README.md"),
        (PUBLISH, f"{UNTAG}; git tag v99.0", ANOTHER),
        ([*PUBLISH, "--dry-run"], f"{UNTAG}; git tag v99.0", ANOTHER),
        (PUBLISH, f"{UNTAG}; git tag untagged", f"HEAD has no tag v{VERSION}"),
        (PUBLISH, FRAGMENT, "changes/ still holds +word.added.md: nox -s changelog -- --yes"),
        (PUBLISH, "", NO_LOGIN),
        (["publish"], "", "which index? There is no default: nox -s publish -- https://index.example/"),
    ],
)
def test_what_is_not_a_release_s_commit_for_a_named_index_is_refused_once(
    repository: Path, tmp_path: Path, words: list[str], spoilt: str, says: str
) -> None:
    ok(run("sh", "-euc", spoilt, cwd=repository))
    environment = {"TWINE_REPOSITORY_URL": INDEX, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = releasing(repository, *words, **environment)
    assert (says in one_line(done), done.stdout) == (True, "")


def test_a_machine_without_git_is_one_line(tagged: Path) -> None:
    said = one_line(releasing(tagged, "build", PATH=str(BIN)))
    assert said == "git is not installed, and a release is built from a commit: install git"


def test_an_index_out_of_reach_is_one_line(tagged: Path) -> None:
    said = one_line(releasing(tagged, *PUBLISH, **CREDENTIALS))
    assert said == "cannot connect to 127.0.0.1:9: [Errno 111] Connection refused"


@pytest.mark.parametrize(("error", "ended"), [(PermissionError(13, "no", "dist"), 1), (KeyboardInterrupt(), 130)])
def test_what_cuts_a_release_short_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, ended: int
) -> None:
    def cut_short(root: Path) -> list[str]:
        raise error

    monkeypatch.setattr(release, "check_commit", cut_short)
    assert release.main(BUILD) == ended
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen to sign with")
def test_a_signed_commit_is_built_where_git_shows_signatures(repository: Path, tmp_path: Path) -> None:
    ok(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key", cwd=tmp_path))
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "gpg.format", "ssh")
    git(repository, "config", "user.signingkey", str(tmp_path / "key"))
    git(repository, "commit", "--quiet", "--amend", "--no-edit", "-S")
    assert WHEEL in ok(releasing(repository, *BUILD))


def test_a_run_of_nox_ends_with_what_it_skipped() -> None:
    script = "import types, noxfile; noxfile._skip(types.SimpleNamespace(warn=print), 'a (no b)'); print('more')"
    done = run(sys.executable, "-c", script, cwd=ROOT, NOX_SKIPPED="")
    assert done.stderr == "not checked on this machine: a (no b)\n"


def test_nox_prints_no_password_of_a_url(tagged: Path) -> None:
    url = "https://u:canary-pass@index.example/"
    done = run(sys.executable, "-m", "nox", "-s", "publish", "--", url, cwd=tagged)
    assert done.returncode == 1
    assert "the index's URL" in done.stderr
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.thorough
def test_a_run_goes_on_where_the_last_one_stopped(prebuilt: Path, index: Index) -> None:
    usual = index.special
    index.special = lambda method, path, name: Answer(500, "disk full") if name == WHEEL else None
    said = one_line(publishing(prebuilt, index))
    assert f" answered 500 to the upload of {WHEEL} at " in said
    assert said.endswith(f": disk full. {SDIST} is stored: the same command goes on from there")
    assert one_line(publishing(prebuilt, index, "--verify")).endswith(f" lacks {WHEEL}: publish without --verify")
    index.special = usual
    assert f" lacks {WHEEL}\n" in ok(publishing(prebuilt, index))
    assert " lacks nothing\n" in ok(publishing(prebuilt, index, "--verify"))


@pytest.mark.parametrize("index", ["gitlab", "folder"], indirect=True)
def test_other_bytes_of_the_same_name_are_refused_with_and_without_hashes(prebuilt: Path, index: Index) -> None:
    (index.folder / SDIST).write_text("other")
    port = index.url.split("/")[2].partition(":")[2]
    moved = Answer(302, location=f"http://127.1:{port}/files/{SDIST}?signed")  # another host by its name
    index.special = lambda method, path, name: moved if path.endswith(".tar.gz") else None
    said = one_line(publishing(prebuilt, index))
    assert f" holds another {SDIST}: sha256 d9298a10d1b0... there, " in said


def test_the_check_takes_no_setting_of_the_caller_and_asks_for_this_package_only(prebuilt: Path, index: Index) -> None:
    settings = {"UV_EXCLUDE_NEWER": "2020-01-01", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/", "UV_OFFLINE": "1"}
    ok(publishing(prebuilt, index, **settings))
    pages = {seen.split()[1] for seen in index.seen if "/simple/" in seen}
    assert {page.rstrip("/").rpartition("/")[2] for page in pages} == {"simple", "enkash-auth"}


@pytest.mark.thorough
def test_a_check_that_fails_says_first_that_the_upload_is_done(prebuilt: Path, index: Index) -> None:
    index.special = lambda method, path, name: Answer(404) if path.startswith("/files/") else None
    done = publishing(prebuilt, index)
    assert len(digests(index.folder, "*")) == 2
    assert done.stderr.startswith("the upload is done, but its check failed; nox -s publish -- UPLOAD_URL --verify ")


@pytest.mark.parametrize("index", ["azure"], indirect=True)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", pytest.param("REQUESTS_CA_BUNDLE", marks=pytest.mark.thorough)])
def test_a_private_ca_named_once_serves_every_client(
    prebuilt: Path, tmp_path: Path, index: Index, variable: str
) -> None:
    with behind_tls(index, tmp_path) as (outside, authority):
        said = one_line(publishing(prebuilt, outside))
        assert "certificate verify failed" in said and said.endswith(": name a file with your CA in SSL_CERT_FILE")
        ok(publishing(prebuilt, outside, **{variable: str(authority)}))
    said = one_line(publishing(prebuilt, outside, **{variable: "/nosuch.pem"}))
    assert said == f"{variable} must name a file of PEM certificates: /nosuch.pem is none"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The upload's credentials, in this process."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


COMPARE = "Compare this URL with the table in docs/release.md"
FORBIDDEN = "These credentials may not do that, or the password is wrong"
AWAY = Answer(302, location="https://login.example/in?token=canary")
LOGIN = "it sends this on to login.example/in, maybe a login page"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(400, '{"message": "Failed: the name is taken"}', JSON), "400 {}: Failed: the name is taken"),
        (Answer(403, '{"errors": [{"message": "no quota"}]}', JSON), f"403 {{}}: no quota. {FORBIDDEN}"),
        (Answer(400, "<head><title>400</title></head><p>No updates<br>&amp; such", HTML), "400 {}: No updates & such"),
        (Answer(413), f"413 {{}}: {HTTPStatus(413).phrase}"),
        (Answer(400, f"you sent\n{PASSWORD}"), "400 {}: you sent ***"),
        (Answer(404), f"404 {{}}: Not Found. {COMPARE}"),
        (AWAY, f"302 {{}}: {LOGIN}. {COMPARE}"),
        (Answer(200, "Sign in <form>", HTML), f"200 {{}}: Sign in. {COMPARE}"),
    ],
)
def test_a_refused_upload_says_what_the_index_said(
    published: str, tagged: Path, index: Index, credentials: object, answer: Answer, says: str
) -> None:
    index.special = lambda method, path, name: answer
    said = refusal(lambda: indexing.Index(index.url, None, {}).upload([tagged / "dist" / SDIST]))
    assert said.partition(" answered ")[2] == says.format(f"to the upload of {SDIST} at {KINDS['gitlab'].upload}")


@pytest.mark.parametrize("index", ["nexus"], indirect=True)
def test_credentials_of_any_letters_are_sent_and_hidden(index: Index, credentials: pytest.MonkeyPatch) -> None:
    credentials.setenv("TWINE_USERNAME", "jürgen €")
    assert indexing.Index(index.url, None, {}).listed() == {}
    assert {seen.partition("simple/")[2] for seen in index.seen} == {" jürgen €", "enkash-auth/ jürgen €"}
    credentials.setenv("TWINE_PASSWORD", "pässword")
    index.special = lambda method, path, name: Answer(400, "you sent pässword")
    assert "you sent ***" in refusal(indexing.Index(index.url, None, {}).listed)


TRIED, FILES = "an upload without a file at", f"the list of files at {KINDS['azure'].simple}enkash-auth/"
ON_GITLAB, ON_AZURE = KINDS["gitlab"].upload, KINDS["azure"].upload


@pytest.mark.parametrize(
    ("index", "changed", "says"),
    [
        (
            "gitlab",
            {"path": "/simple/"},
            f"405 to {TRIED} {ON_GITLAB}/simple/: Method Not Allowed. On GitLab that is {{0}}",
        ),
        ("gitlab", {"simple": ""}, f"404 to the list of projects at {ON_GITLAB}/: not found. On GitLab that is {{1}}"),
        ("azure", {"path": "nosuch"}, f"404 to {TRIED} {ON_AZURE}nosuch: Not Found. On Azure that is {{0}}"),
        ("azure", {"answer": AWAY}, f"302 to the list of projects at {KINDS['azure'].simple}: {LOGIN}"),
        ("azure", {"answer": Answer(200, "<script src=in.js>", HTML)}, f"200 to {FILES}: "),
        ("azure", {"user": READER}, f"403 to {TRIED} {ON_AZURE}: User lacks permission to complete this"),
        ("azure", {"password": "canary-wrong"}, f"401 to {FILES}: Unauthorized. Set TWINE_"),
    ],
    indirect=["index"],
)
def test_a_dry_run_fails_where_the_real_one_would(
    index: Index, credentials: pytest.MonkeyPatch, changed: dict[str, Any], says: str
) -> None:
    credentials.setenv("TWINE_USERNAME", changed.get("user", USER))
    credentials.setenv("TWINE_PASSWORD", changed.get("password", PASSWORD))
    index.special = lambda method, path, name: changed.get("answer")
    listing = index.simple.removesuffix("simple/") + changed.get("simple", "simple/")
    wrong = indexing.Index(index.url + changed.get("path", ""), listing, {})
    said = refusal(lambda: wrong.listed() or wrong.try_upload())
    assert said.partition(" answered ")[2].startswith(says.format(index.url, index.simple))


@pytest.mark.thorough
def test_a_dry_run_does_all_but_upload(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "-d", f"v{VERSION}")
    with pypiserver(tmp_path / "empty") as empty:
        said = ok(releasing(repository, "publish", empty.url, "--dry-run", **CREDENTIALS))
        assert not list(empty.folder.iterdir())
    assert f"warning: HEAD has no tag v{VERSION}" in said
    assert f" lacks {SDIST} and {WHEEL}" in said
    assert "in a clean environment: import enkash_auth" in said


def team_keyring(folder: Path) -> dict[str, str]:
    """A keyring of the team's, elsewhere on the PATH."""
    program = folder / "keyring"
    program.write_text(f'#!/bin/sh\n[ "$3" = {USER} ] && echo {PASSWORD}\n')
    program.chmod(0o755)
    return {"PATH": os.pathsep.join([INHERITED["PATH"], str(folder)])}


def own_keyring(folder: Path) -> dict[str, str]:
    """A backend of the keyring that lies beside twine."""
    (folder / "ring.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n"
        "    priority = 1\n"
        f"    def get_password(self, service, user): return {{{USER!r}: {PASSWORD!r}}}.get(user)\n"
        "    def set_password(self, service, user, password): raise NotImplementedError\n"
    )
    return {"PYTHONPATH": str(folder), "PYTHON_KEYRING_BACKEND": "ring.Ring"}


@pytest.mark.parametrize("ring", [pytest.param(own_keyring, marks=pytest.mark.thorough), team_keyring])
def test_a_keyring_will_do(
    prebuilt: Path, tmp_path: Path, internal: Index, ring: Callable[[Path], dict[str, str]]
) -> None:
    assert " lacks nothing\n" in ok(publishing(prebuilt, internal, TWINE_PASSWORD="", **ring(tmp_path)))


def test_a_keyring_whose_backend_is_missing_is_one_line(prebuilt: Path, internal: Index) -> None:
    done = publishing(prebuilt, internal, TWINE_PASSWORD="", PYTHON_KEYRING_BACKEND="nosuch.Ring")
    assert one_line(done).startswith("no credentials for 127.0.0.1")
    assert done.stdout.startswith(f"{BIN / 'keyring'}: ModuleNotFoundError: No module named 'nosuch'\n")


@pytest.mark.parametrize("own", [pytest.param("", marks=pytest.mark.thorough), READER])
def test_a_list_on_another_host_gets_its_own_credentials_or_none(prebuilt: Path, tmp_path: Path, own: str) -> None:
    listing = KINDS["gitlab" if own else "folder"]
    files = tmp_path / "files"
    with standing_in(KINDS["azure"], files) as upload, standing_in(listing, files, "127.0.0.2") as simple:
        ok(publishing(prebuilt, Index(upload.url, simple.simple, files), NETRC=netrc(tmp_path, "127.0.0.2", own)))
    assert {seen.split(" ")[2] for seen in simple.seen} <= {own, ""}
    assert {seen.split(" ")[2] for seen in upload.seen} == {USER}


@pytest.mark.thorough
def test_an_index_that_sends_on_to_another_is_asked_no_further(prebuilt: Path, tmp_path: Path) -> None:
    with pypiserver(tmp_path / "other", ".") as other:
        (other.folder / WHEEL).touch()
        with pypiserver(tmp_path / "empty", "update", "--fallback-url", other.simple) as empty:
            ok(publishing(prebuilt, empty))


# The changelog's fragments


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("changes/+word.added.md", ""),
        ("changes/+word.surprise.md", "Invalid news fragment name: +word.surprise.md"),
        ("wrapper/enkash_auth/_new.py", "No new newsfragments found on this branch"),
        ("tests/test_new.py", ""),
    ],
)
def test_a_change_of_what_ships_brings_a_well_named_fragment(
    tagged: Path, tmp_path: Path, path: str, says: str
) -> None:
    clone = tmp_path / "clone"
    git(tagged, "clone", "-q", str(tagged), str(clone))
    # changes/ is empty after a release, and so unknown to git
    ok(run("sh", "-euc", f"git checkout -qb branch; mkdir -p changes; echo Text. > {path}; {COMMIT}", cwd=clone))
    done = releasing(clone, "fragments")
    assert says in done.stderr and done.returncode == bool(says), done.stderr


def test_without_a_branch_to_compare_with_the_names_are_checked_still(repository: Path) -> None:
    assert "was not checked" in ok(releasing(repository, "fragments"))
    (repository / "changes").mkdir(exist_ok=True)
    (repository / "changes" / "word.md").touch()
    assert releasing(repository, "fragments").returncode == 1


def test_a_clone_that_git_refuses_is_not_taken_for_one_without_a_branch(repository: Path) -> None:
    said = one_line(releasing(repository, "fragments", GIT_TEST_ASSUME_DIFFERENT_OWNER="1"))
    assert "git config --global --add safe.directory " in said


# Installing


@pytest.mark.parametrize("extra", ["", *(pytest.param(extra, marks=pytest.mark.thorough) for extra in EXTRAS)])
@pytest.mark.parametrize("tool", [pytest.param("pip", marks=pytest.mark.thorough), "uv"])
def test_the_example_runs_from_an_installed_release(
    published: str, internal: Index, tmp_path: Path, tool: str, extra: str
) -> None:
    python = environment_with_pip(tmp_path)
    install = {
        "pip": [python, "-m", "pip", "install", "--no-cache-dir", "--index-url"],
        "uv": [UV, "pip", "install", "--no-cache", "--python", python, "--default-index"],
    }[tool]
    what = f"enkash-auth[{extra}]=={VERSION}" if extra else f"enkash-auth=={VERSION}"
    ok(run(*install, internal.simple, what, cwd=tmp_path, NETRC=netrc(tmp_path), PIP_CONFIG_FILE=os.devnull))
    example, *_ = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    with Sandbox() as sandbox:
        assert "True" in ok(run(python, "-I", "example.py", cwd=tmp_path, **sandbox.environment()))


def test_the_guide_names_every_extra() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE)) == set(EXTRAS)


def marked(title: str) -> object:
    """One page's way for each tool is tried in `make test`, the others in `make check`."""
    rest = title.startswith("pip") or title == "Poetry, one index for everything"  # the first page has pip
    return pytest.param(title, marks=pytest.mark.thorough) if rest else title


@pytest.mark.parametrize("title", [marked(title) for title in sections() if title not in ("Upgrading", "Cooldowns")])
def test_the_guide_s_commands_run_and_take_our_package(
    published: str, internal: Index, public: Index, tmp_path: Path, title: str
) -> None:
    environment = service(tmp_path, sections()[title], internal, public)
    said = follow(script(sections()[title] + sections()["Upgrading"], internal), tmp_path, environment)
    assert said.splitlines()[-1].split()[0] == VERSION


COOLED = {
    "pip": ("pip, an index of your own packages only", "does not provide upload-time metadata"),
    "uv": ("uv", "enkash-auth"),
    "poetry": ("Poetry, an index of your own packages only", ""),
}


@pytest.mark.thorough
@pytest.mark.parametrize("tool", COOLED)
def test_a_cooldown_hides_the_package_until_the_guide_s_way_out(
    published: str, internal: Index, public: Index, tmp_path: Path, tool: str
) -> None:
    (title, trouble), cooldowns = COOLED[tool], sections()["Cooldowns"]
    environment = service(tmp_path, sections()[title], internal, public)
    environment |= {"PIP_UPLOADED_PRIOR_TO": "P7D", "POETRY_SOLVER_MIN_RELEASE_AGE": "7"}
    project = tmp_path / "pyproject.toml"
    before = project.read_text() if project.exists() else ""

    def tried(toml: str, text: str) -> Done:
        if tool == "uv":
            project.write_text(before + toml)
        return run("bash", "-euc", script(text, internal), cwd=tmp_path, only=environment)

    (exempt,) = re.findall(r"```toml\n(.*?)```", cooldowns, re.DOTALL)
    done = tried(exempt.replace("exclude-newer-package", "#"), sections()[title])
    assert (done.returncode, trouble in done.stderr) == (tool != "poetry", True), done.stderr
    if tool != "poetry":
        ok(tried(exempt, cooldowns if tool == "pip" else sections()[title]))
    assert installed(tmp_path / ".venv") == VERSION


@pytest.mark.parametrize(
    ("page", "place"),
    [pytest.param(README, ".venv", marks=pytest.mark.thorough), (ROOT / "docs" / "index.md", "venv")],
)
def test_the_first_page_installs_from_an_index_of_own_packages_only(
    published: str, tagged: Path, internal: Index, public: Index, tmp_path: Path, page: Path, place: str
) -> None:
    commands = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)[1]
    environment = service(tmp_path, "pip", internal, public)
    with standing_in(KINDS["folder"], tagged / "dist") as own:
        follow(commands.replace(PLACEHOLDER, own.simple), tmp_path, environment)
    assert installed(tmp_path / place) == VERSION


def test_the_guide_s_warning_is_true(published: str, internal: Index, public: Index, tmp_path: Path) -> None:
    (command,) = re.findall(r"`(pip install --extra-index-url .*?)`", GUIDE.read_text())
    environment = service(tmp_path, "pip", internal, public)
    follow(command.replace(PLACEHOLDER, internal.simple), tmp_path, environment)
    assert installed(tmp_path / ".venv") == "99.0"


def test_the_guide_s_dockerfile_is_clean(tmp_path: Path) -> None:
    (dockerfile,) = re.findall(r"```dockerfile\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "Dockerfile").write_text(dockerfile)
    assert ok(run("hadolint", "--no-color", "Dockerfile", cwd=tmp_path)) == ""
