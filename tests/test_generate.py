"""The generated tree: bound to its inputs, compared both ways, replaced as a whole or not at all."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def _load() -> ModuleType:
    # By path: tools/ is no package, and a build step has no business on the import path of the tests.
    found = importlib.util.spec_from_file_location("codegen", ROOT / "tools" / "codegen.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


codegen: Any = _load()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all that the generated tree depends on, and of the tree."""
    copy = tmp_path / "root"
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "spec", copy / "spec", ignore=ignore)
    shutil.copytree(ROOT / "generated", copy / "generated", ignore=ignore)
    shutil.copy(ROOT / "requirements-dev.txt", copy)
    return copy


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def _stand_in(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    def generate_into(root: Path, bin_dir: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "new").touch()
        if error is not None:
            raise error

    monkeypatch.setattr(codegen, "generate_into", generate_into)


def test_the_committed_tree_came_from_the_committed_spec() -> None:
    assert codegen.is_current(ROOT)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("spec/enkash-auth.yaml", "Password@123", "Password@124"),
        ("spec/generator.yaml", "--select I,F401", "--select I"),
        ("requirements-dev.txt", "\nopenapi-python-client==", "\nopenapi-python-client==9"),
        ("requirements-dev.txt", "\nruff==", "\nruff==9"),
    ],
)
def test_any_changed_input_makes_the_tree_out_of_date(root: Path, path: str, old: str, new: str) -> None:
    before = codegen.fingerprint(root)
    _edit(root / path, old, new)
    assert codegen.fingerprint(root) != before
    assert not codegen.is_current(root)


def test_line_endings_are_not_a_change(root: Path) -> None:
    path = root / "spec" / "enkash-auth.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert codegen.is_current(root)


@pytest.mark.parametrize("gone", ["enkash_auth_client", "provenance.toml", "enkash_auth_client/py.typed"])
def test_provenance_alone_is_no_tree(root: Path, gone: str) -> None:
    path = root / "generated" / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert not codegen.is_current(root)


def test_a_missing_pin_is_an_error(root: Path) -> None:
    (root / "requirements-dev.txt").write_text("ruff-lsp==1\n", encoding="utf-8")
    with pytest.raises(codegen.GenerationError, match="does not pin"):
        codegen.fingerprint(root)


def test_differences_are_found_both_ways(root: Path) -> None:
    package = root / "generated" / "enkash_auth_client"
    (package / "stale.py").touch()
    (package / "types.py").unlink()
    with (package / "errors.py").open("ab") as file:
        file.write(b" ")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "errors.pyc").touch()
    assert codegen.differences(ROOT / "generated", root / "generated") == [
        "missing: enkash_auth_client/types.py",
        "extra: enkash_auth_client/stale.py",
        "edited: enkash_auth_client/errors.py",
    ]


def test_a_new_tree_replaces_the_whole_old_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch)
    codegen.regenerate(root, BIN)
    assert [path.name for path in (root / "generated").iterdir()] == ["new"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError()])
def test_a_run_cut_short_leaves_the_tree(root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    _stand_in(monkeypatch, error)
    with pytest.raises(type(error)):
        codegen.regenerate(root, BIN)
    assert codegen.differences(ROOT / "generated", root / "generated") == []


def test_an_interrupt_between_the_two_renames_brings_the_tree_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "fresh":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        codegen.regenerate(root, BIN)
    assert codegen.differences(ROOT / "generated", root / "generated") == []


def test_without_the_tools_nothing_is_generated(root: Path, tmp_path: Path) -> None:
    with pytest.raises(codegen.GenerationError, match="not installed"):
        codegen.generate_into(root, tmp_path, tmp_path / "fresh")


@pytest.mark.generator
def test_the_committed_tree_is_what_the_generator_makes(root: Path, tmp_path: Path) -> None:
    codegen.generate_into(root, BIN, tmp_path / "fresh")
    assert codegen.differences(tmp_path / "fresh", ROOT / "generated") == []


@pytest.mark.generator
def test_the_output_does_not_depend_on_where_it_is_made(root: Path, tmp_path: Path) -> None:
    # ruff formats nothing in an ignored folder, unless told to.
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text(".nox/\n", encoding="utf-8")
    codegen.generate_into(root, BIN, tmp_path / ".nox" / "fresh")
    assert codegen.differences(tmp_path / ".nox" / "fresh", ROOT / "generated") == []


SCOPE = """        scope:
          description: documented (api-24480514, api-21984747).
          type: string
          examples:
            - read write trust
"""


@pytest.mark.generator
@pytest.mark.parametrize(
    ("old", "new", "in_code"),
    [
        # The generated code does not hold this example; the recorded hash still tells.
        pytest.param("- CEKFOWV7UQ", "- CEKFOWV7UR", False, id="changed-example"),
        pytest.param(SCOPE, SCOPE + "        jti:\n          type: string\n", True, id="added-property"),
        pytest.param(SCOPE, "", True, id="removed-property"),
    ],
)
def test_an_edited_spec_is_drift(root: Path, tmp_path: Path, old: str, new: str, in_code: bool) -> None:
    _edit(root / "spec" / "enkash-auth.yaml", old, new)
    codegen.generate_into(root, BIN, tmp_path / "fresh")
    wrong = codegen.differences(tmp_path / "fresh", ROOT / "generated")
    assert "edited: provenance.toml" in wrong
    if in_code:
        assert "edited: enkash_auth_client/models/snake_token_response.py" in wrong


@pytest.mark.generator
def test_a_spec_that_the_generator_drops_a_part_of_leaves_the_tree(root: Path) -> None:
    _edit(root / "spec" / "enkash-auth.yaml", "application/x-www-form-urlencoded:", "application/xml:")
    with pytest.raises(codegen.GenerationError, match="application/xml"):
        codegen.regenerate(root, BIN)
    assert codegen.differences(ROOT / "generated", root / "generated") == []
    assert sorted(path.name for path in root.iterdir()) == ["generated", "requirements-dev.txt", "spec"]
