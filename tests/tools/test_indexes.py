"""Every kind of index: publishing to it as it goes well and wrong, and installing from it.

One kind is tried in `make test`, the others by `nox -s indexes`.
"""

import re
import shutil
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

import index as indexing
from indexes import KINDS, Answer, Index, behind_tls
from releasing import (
    CREDENTIALS,
    SDIST,
    VERSION,
    WHEEL,
    digests,
    follow,
    installed,
    ok,
    one_line,
    publishing,
    run,
    script,
    sections,
    service,
)

pytest_plugins = ["releasing"]
STAND_INS = [name for name, kind in KINDS.items() if kind.upload]
TAKE_UPLOADS = ["devpi", "pypiserver", *STAND_INS]
FORM_FIRST = {"gitlab"}


def upload(index: Index, *paths: Path) -> None:
    """Put these files there as anybody would."""
    command = [sys.executable, "-m", "twine", "upload", "--repository-url", index.url]
    ok(run(*command, *paths, cwd=index.folder.parent, **CREDENTIALS))


def kinds(names: list[str], first: str = "gitlab") -> pytest.MarkDecorator:
    others = [pytest.param(name, marks=pytest.mark.indexes) for name in names if name != first]
    return pytest.mark.parametrize("index", [first, *others], indirect=True)


@kinds(TAKE_UPLOADS, first="codeartifact")  # which has no list of projects
def test_a_first_release_is_published_and_verified(prebuilt: Path, index: Index) -> None:
    said = ok(publishing(prebuilt, index))
    assert f"{index.simple} lists no enkash-auth yet: " in said
    assert said.endswith(f"enkash-auth {VERSION} is on {index.url.split('/')[2]}\n")
    assert " lacks nothing\n" in ok(publishing(prebuilt, index, "--verify"))


@pytest.mark.indexes
@kinds(TAKE_UPLOADS)
def test_a_duplicate_is_no_error_and_other_bytes_are(prebuilt: Path, index: Index, tmp_path: Path) -> None:
    other = Path(shutil.copy(prebuilt / "dist" / WHEEL, tmp_path))
    with zipfile.ZipFile(other, "a") as wheel:
        wheel.comment = b"other"
    upload(index, prebuilt / "dist" / SDIST, other)
    assert f" holds another {WHEEL}: sha256 " in one_line(publishing(prebuilt, index))


@pytest.mark.indexes
@kinds(STAND_INS)
def test_a_duplicate_that_the_list_does_not_show_is_refused_in_the_index_s_words(prebuilt: Path, index: Index) -> None:
    upload(index, prebuilt / "dist" / SDIST)
    index.special = lambda method, path, name: Answer(404) if method == "GET" else None
    said = one_line(publishing(prebuilt, index))
    assert re.search(r"(already|overwrite|exists|updating)", said), said


@pytest.mark.indexes
@kinds(TAKE_UPLOADS)
def test_a_half_published_release_is_completed(prebuilt: Path, index: Index) -> None:
    upload(index, prebuilt / "dist" / SDIST)
    assert f" lacks {WHEEL}: " in one_line(publishing(prebuilt, index, "--verify"))
    assert f" lacks {WHEEL}\n" in ok(publishing(prebuilt, index))


@kinds(TAKE_UPLOADS, first="pypiserver")
@pytest.mark.parametrize("dry", [(), pytest.param(("--dry-run",), marks=pytest.mark.indexes)])
def test_a_bad_password_is_one_line(prebuilt: Path, index: Index, dry: tuple[str, ...]) -> None:
    done = publishing(prebuilt, index, *dry, TWINE_PASSWORD="canary-wrong")
    assert "canary" not in done.stdout + done.stderr
    assert re.search(r" answered 40[13] to ", one_line(done))


@pytest.mark.indexes
@kinds(TAKE_UPLOADS)
def test_a_private_ca_is_named_once(prebuilt: Path, index: Index, tmp_path: Path) -> None:
    with behind_tls(index, tmp_path) as (outside, authority):
        assert "SSL_CERT_FILE" in one_line(publishing(prebuilt, outside))
        ok(publishing(prebuilt, outside, SSL_CERT_FILE=str(authority)))


@kinds(TAKE_UPLOADS)
def test_a_dry_run_uploads_nothing_and_says_what_it_could_not_try(
    prebuilt: Path, index: Index, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ok(publishing(prebuilt, index, "--dry-run"))
    first = request.node.callspec.params["index"] in FORM_FIRST
    untried = ", nor whether these credentials may upload" if first else "\n"
    assert f"dry run: nothing was uploaded. Not tried: the upload itself{untried}" in said
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert indexing.Index(index.url, index.simple, {}).listed() == {}


@pytest.mark.indexes
@pytest.mark.parametrize("index", ["folder"], indirect=True)
def test_a_folder_takes_no_upload_and_is_verified(prebuilt: Path, index: Index) -> None:
    assert " answered 405 to an upload " in one_line(publishing(prebuilt, index, "--dry-run"))
    for name in (SDIST, WHEEL):
        shutil.copy(prebuilt / "dist" / name, index.folder)
    assert " lacks nothing\n" in ok(publishing(prebuilt, index, "--verify"))


TOOLS = {
    "pip": ("pip, one index for everything", "requirements.txt"),
    "uv": ("uv", "uv.lock"),
    "poetry": ("Poetry, one index for everything", "poetry.lock"),
}
CASES = [(name, name, False) for name in [*TAKE_UPLOADS, "folder"]] + [("artifactory", "artifactory", True)]


@pytest.mark.indexes
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("name", "index", "private_ca"), CASES, indirect=["index"])
def test_the_guide_s_commands_pin_by_hash_and_install(
    prebuilt: Path, internal: Index, public: Index, tmp_path: Path, name: str, index: Index, private_ca: bool, tool: str
) -> None:
    if name == "devpi":
        upload(index, *internal.folder.iterdir())
    else:
        shutil.copytree(internal.folder, index.folder, dirs_exist_ok=True)
    title, lock = TOOLS[tool]
    folder = tmp_path / "service"
    folder.mkdir()
    with behind_tls(index, tmp_path) if private_ca else nullcontext((index, "")) as (outside, authority):
        environment = service(folder, sections()[title], outside, public)
        if private_ca:  # trusted by the guide's variables
            environment |= {name: str(authority) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
        follow(script(sections()[title], outside), folder, environment)
    assert installed(folder / ".venv") == VERSION
    hashed = digests(prebuilt, f"dist/{WHEEL}")[WHEEL] in (folder / lock).read_text()
    assert hashed == (name != "folder" or tool != "uv")  # uv lock takes an index's hashes and makes none
