"""The generated tree: bound to its inputs, compared both ways, replaced as a whole or not at all."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import codegen
import generate
import judge
from conftest import wait_until
from enkash_auth.testing import Sandbox
from releasing import BIN, ROOT, git

SPEC = "spec/enkash-auth.yaml"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all that the generated tree depends on, and of the tree."""
    copy = tmp_path / "root"
    for name in ("spec", "generated"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    (copy / "requirements").mkdir()
    shutil.copy(ROOT / codegen.PINS, copy / codegen.PINS)
    return copy


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def _unchanged(root: Path) -> bool:
    """Whether generated/ is as committed, and nothing lies beside it."""
    return codegen.differences(ROOT / "generated", root / "generated") == [] and not list(root.glob(".generated-*"))


CHANGES: dict[str, tuple[str, bytes, bytes | None, bool]] = {
    "line endings": (SPEC, b"\n", b"\r\n", True),
    "what Python caches": ("generated/enkash_auth_client/__pycache__/errors.pyc", b"", b"", True),
    "an example in the spec": (SPEC, b"Password@123", b"Password@124", False),
    "the generator's settings": ("spec/generator.yaml", b"--select I,F401", b"--select I", False),
    "the generator": ("requirements/generate.txt", b"\nopenapi-python-client==", b"\nopenapi-python-client==9", False),
    "the formatter": ("requirements/generate.txt", b"\nruff==", b"\nruff==9", False),
    "an edit by hand": ("generated/enkash_auth_client/types.py", b"", b"# by hand\n", False),
    "a conflict in the provenance": ("generated/provenance.toml", b"", b"<<<<<<< HEAD\n", False),
    "a provenance that is no text": ("generated/provenance.toml", b"", b"\xff", False),
    "a stale file": ("generated/enkash_auth_client/stale.py", b"", b"", False),
    "no tree": ("generated", b"", None, False),
    "no package": ("generated/enkash_auth_client", b"", None, False),
    "no provenance": ("generated/provenance.toml", b"", None, False),
    "no file": ("generated/enkash_auth_client/types.py", b"", None, False),
    "no empty file": ("generated/enkash_auth_client/py.typed", b"", None, False),
}


@pytest.mark.parametrize(("name", "old", "new", "current"), CHANGES.values(), ids=CHANGES)
def test_a_changed_input_or_file_makes_the_tree_out_of_date(
    root: Path, name: str, old: bytes, new: bytes | None, current: bool
) -> None:
    path = root / name
    if new is None:
        path.rename(root / "elsewhere")
    else:
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        assert old in before
        path.write_bytes(before.replace(old, new) if old else before + new)
    assert codegen.is_current(root) is current


def test_a_comment_before_the_version_hides_nothing(root: Path) -> None:
    before = codegen.fingerprint(root).splitlines()[0]
    _edit(root / SPEC, "\n  version: ", "\n# raised\n  version: ")
    assert codegen.fingerprint(root).splitlines()[0] == before


def test_a_missing_pin_is_an_error(root: Path) -> None:
    (root / codegen.PINS).write_text("ruff-lsp==1\n", encoding="utf-8")
    with pytest.raises(codegen.GenerationError, match="does not pin"):
        codegen.fingerprint(root)


def test_differences_are_found_both_ways(root: Path) -> None:
    package = root / "generated" / "enkash_auth_client"
    (package / "stale.py").touch()
    (package / "types.py").unlink()
    _edit(package / "errors.py", "\n", " \n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "errors.pyc").touch()
    assert codegen.differences(ROOT / "generated", root / "generated") == [
        "missing: enkash_auth_client/types.py",
        "extra: enkash_auth_client/stale.py",
        "differs: enkash_auth_client/errors.py",
    ]


def _generates(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """In place of the generator, make an empty folder, and then fail with the error."""

    def generate_into(root: Path, bin_dir: Path, folder: Path) -> None:
        folder.mkdir()
        if error is not None:
            raise error

    monkeypatch.setattr(codegen, "generate_into", generate_into)


@pytest.mark.parametrize(
    ("error", "at_the_swap"),
    [(KeyboardInterrupt(), False), (OSError(), False), (KeyboardInterrupt(), True)],
    ids=["by Ctrl-C", "by a full disk", "between the two renames"],
)
def test_a_run_cut_short_leaves_the_tree(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, at_the_swap: bool
) -> None:
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "fresh":
            raise error
        return rename(self, target)

    _generates(monkeypatch, None if at_the_swap else error)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(type(error)):
        codegen.regenerate(root, BIN)
    assert _unchanged(root)


def test_without_the_tools_nothing_is_generated(root: Path, tmp_path: Path) -> None:
    with pytest.raises(codegen.GenerationError, match="not installed"):
        codegen.generate_into(root, tmp_path, tmp_path / "fresh")


def test_the_committed_tree_is_what_the_generator_makes_wherever_that_is(root: Path, tmp_path: Path) -> None:
    # ruff formats nothing in an ignored folder, unless told to.
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text(".nox/\n", encoding="utf-8")
    codegen.generate_into(root, BIN, tmp_path / ".nox" / "fresh")
    assert codegen.differences(tmp_path / ".nox" / "fresh", ROOT / "generated") == []


@pytest.fixture
def project(root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that generating and judging need, committed."""
    monkeypatch.setenv("MYPY_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "mypy"))  # one for all
    for name in ("tools", "wrapper"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    # what knows the client, and half the time of the whole
    _edit(root / "pyproject.toml", 'packages = ["enkash_auth"]', 'packages = ["enkash_auth._signin"]')
    (root / ".gitignore").write_text("__pycache__/\n.generated-*\n", encoding="utf-8")
    for command in ("init -q", "add .", "commit -q -m one"):
        git(root, *command.split())
    return root


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper type-checks, unasked: where something else is the question."""
    monkeypatch.setattr(judge, "type_errors", lambda root: [])


@pytest.fixture
def quick(sound: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the spec says, the committed tree is what it generates."""
    copy = partial(shutil.copytree, ROOT / "generated")
    monkeypatch.setattr(codegen, "generate_into", lambda root, bin_dir, folder: copy(folder))


def _tool(project: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"tools/{name}.py", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


Document = dict[str, Any]
SENT, ANSWER = "components schemas TokenRequest ", "components schemas SnakeTokenResponse "
GATEWAY = "wrapper/enkash_auth/_signin/gateway.py"


def _change(project: Path, changes: Document) -> None:
    """Set values of the spec, by their path in it; a callable makes one of what was there, None deletes it."""
    document = yaml.safe_load((project / SPEC).read_text(encoding="utf-8"))
    for path, value in changes.items():
        node, *names = document, *path.split(" ")
        for name in names[:-1]:
            node = node[name]
        node[names[-1]] = value(node[names[-1]]) if callable(value) else value
        if value is None:
            del node[names[-1]]
    (project / SPEC).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


EDITS: dict[str, tuple[Document, str, tuple[str, str] | None]] = {
    "a sent field is renamed": (
        {
            f"{SENT}properties clientId": None,
            f"{SENT}properties companyId": {"type": "string"},
            f"{SENT}required": ["username", "password", "grant_type", "companyId"],
        },
        "- **breaks callers:** `schema TokenRequest`, `properties.clientId` removed: `string`\n"
        "- **breaks callers:** `schema TokenRequest`, `required.'clientId'` removed: `clientId`\n"
        "- **breaks callers:** `schema TokenRequest`, `required.'companyId'` added: `companyId`\n"
        "- `schema TokenRequest`, `properties.companyId` added: `string`\n",
        ("TokenRequest(", 'Unexpected keyword argument "client_id"'),
    ),
    "an answer is closed": (
        {f"{ANSWER}properties token_type enum": ["bearer"]},
        "- **breaks callers:** `schema SnakeTokenResponse`, `properties.token_type.enum` added: `bearer` "
        "(risky: any other value would be rejected)\n\n### Does the wrapper type-check?\n\nYes.\n",
        None,
    ),
    "a type changes": (
        {f"{ANSWER}properties expires_in type": "string"},
        "`schema SnakeTokenResponse`, `properties.expires_in` changed: `integer` → `string`",
        ("= answer.expires_in", "Incompatible types"),
    ),
}


@pytest.mark.parametrize(("changes", "told", "repair"), EDITS.values(), ids=EDITS)
def test_an_edit_ends_in_a_report(
    project: Path, capsys: Capture, changes: Document, told: str, repair: tuple[str, str] | None
) -> None:
    _change(project, changes)
    assert generate.once(project, None) == (1 if repair else 0)
    said = capsys.readouterr().out
    assert told in said and "### Bump of the spec's `info.version`: major\n" in said
    assert codegen.is_current(project) and not list(project.glob(".generated-*"))
    if repair:  # the author needs the new client to repair the wrapper
        source, message = repair
        lines = (project / GATEWAY).read_text(encoding="utf-8").splitlines()
        error = re.search(rf"^    {GATEWAY}:(\d+): error: (.*)", said, re.MULTILINE)
        assert error and source in lines[int(error[1]) - 1] and message in error[2]


def test_a_report_fits_a_terminal_that_knows_few_letters(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(project, {"servers": None, "openapi": "3.0.3"})
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = _tool(project, "generate")
    assert "`openapi` changed: `3.1.0` \\u2192 `3.0.3`\n" in done.stdout, done.stderr


COMMANDS = {"generate": [], "drift": ["--check"], "against a release": ["--against", "v0.1.0"]}


@pytest.mark.parametrize(
    ("command", "old", "new", "message"),
    [
        ("generate", "paths:\n", "paths: [\n", ", column 9: expected"),
        ("generate", "/TokenRequest'", "/Gone'", "$ref '#/components/schemas/Gone' names nothing"),
        ("generate", "x-www-form-urlencoded:", "xml:", "Unsupported content type application/xml"),
        ("generate", "type: integer", "type: intege", "TokenResponse.other.properties.expiresIn"),
        ("drift", "/TokenRequest'", "/Gone'", "$ref '#/components/schemas/Gone' names nothing"),
    ],
)
def test_an_edit_that_nothing_comes_of_ends_in_a_clear_error(
    root: Path, capsys: Capture, command: str, old: str, new: str, message: str
) -> None:
    _edit(root / SPEC, old, new)
    assert generate.main(root, COMMANDS[command]) == 1
    said = capsys.readouterr().err
    assert message in said and SPEC in said.splitlines()[0]
    assert said.endswith("generated/ is unchanged\n" if command == "generate" else "names nothing\n")
    assert _unchanged(root)


def _hostile(payload: str) -> Document:
    names = [f'a"]; {payload} #', f"b\n    {payload}\n", "`| <script>alert(1)</script> **c** \x85", "__class__", "from"]
    prose = [f'"""\n{payload}\n"""', f'ends in a quote, {payload} "', f"ends in a backslash, {payload} \\"]
    prose += ["{0} %s \\x41", f'\\"\\"\\"\n{payload}']
    fields = {name: {"type": "string", "description": text} for name, text in zip(names, prose, strict=True)}
    fields["default"] = {"type": "string", "default": f'"); {payload}; ("', "description": "d"}
    fields["kind"] = {"type": "string", "enum": [f'x"; {payload} #', "y'\\", f"z\n{payload}"]}
    return fields


def test_hostile_names_and_descriptions_are_only_text(
    project: Path, sound: None, tmp_path: Path, capsys: Capture
) -> None:
    mark = tmp_path / "mark"
    payload = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"
    quoted = f'"""\n{payload}\n"""'

    def operations(paths: Document) -> Document:
        operation = paths["/oauth/token"]["post"]
        operation["description"] = operation["summary"] = quoted
        evil = {**operation, "operationId": f"x(): pass\n{payload}", "tags": [f"../../../evil\n{payload}"]}
        return {**paths, f'/"; {payload}; "': {"post": evil}}

    response = "components schemas TokenResponse"
    changes = {f"{response} properties": lambda fields: fields | _hostile(payload), f"{response} description": quoted}
    _change(project, {**changes, "paths": operations, "info title": quoted})
    assert generate.once(project, None) == 0
    said = capsys.readouterr().out.splitlines()
    assert codegen.is_current(project)
    assert not [path for path in project.rglob("*evil*") if "api" not in path.parts]
    # one line for each change, whatever its name holds, and no markup of its own
    assert len([line for line in said if "schema TokenResponse" in line]) == 7
    assert all(line.isprintable() for line in said)
    assert any("`properties. | <script>alert(1)</script> **c** \\x85`" in line for line in said)
    modules = sorted((project / "generated").rglob("*.py"))
    for module in modules:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        assert "pathlib" not in [alias.name for node in imported for alias in node.names]
    names = [".".join(path.relative_to(project / "generated").with_suffix("").parts) for path in modules]
    load = f"import importlib; [importlib.import_module(name) for name in {names!r}]"
    environment = {**os.environ, "PYTHONPATH": str(project / "generated"), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "-c", load], env=environment, cwd=tmp_path, check=True)
    assert not mark.exists()


@contextmanager
def _running(project: Path, *arguments: str) -> Iterator[tuple[Callable[[], str], Callable[[], int]]]:
    """A run in a process group of its own, as a terminal starts one; give its output so far, and what sends Ctrl-C."""
    command, path = [sys.executable, "tools/generate.py", *arguments], project.parent / "output"
    with (
        path.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=project, stdout=output, stderr=output, start_new_session=True) as process,
    ):

        def interrupt() -> int:
            os.killpg(process.pid, signal.SIGINT)
            return process.wait(30)

        try:
            yield lambda: path.read_text(encoding="utf-8"), interrupt
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


SCOPE = """        scope:
          description: documented (api-24480514, api-21984747).
          type: string
          examples:
            - read write trust
"""


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        pytest.param([], ".generated-*/fresh", marks=pytest.mark.thorough),
        ([], ".generated-*/fresh/*/models/*.py"),
        ([], "generated/ is new"),  # its judgement has begun
        (["--watch"], ".generated-*/fresh"),
    ],
)
def test_ctrl_c_is_quiet_and_leaves_a_whole_tree_and_nothing_else(project: Path, words: list[str], sign: str) -> None:
    _edit(project / SPEC, SCOPE, "")
    with _running(project, *words) as (said, interrupt):
        wait_until(lambda: sign in said() or list(project.glob(sign)), 60)
        assert interrupt() == 130
        output = said()
    assert ("Traceback" in output, output.count("interrupted")) == (False, 1)
    # on a busy machine the signal may come when the new tree is in place already
    assert codegen.is_current(project) or (sign != "generated/ is new" and _unchanged(project))
    assert not list(project.glob(".generated-*"))


def test_watching_generates_on_each_save(project: Path) -> None:
    with _running(project, "--watch") as (said, interrupt):
        wait_until(lambda: "`info.version`: none" in said(), 60)
        _edit(project / SPEC, "paths:\n", "paths: [\n")
        wait_until(lambda: "invalid YAML" in said(), 60)
        _edit(project / SPEC, "paths: [\n", "paths:\n")
        _edit(project / SPEC, SCOPE, "")
        wait_until(lambda: "`info.version`: major" in said(), 60)
        assert interrupt() == 130
        output = said()
    said_at = re.findall(r"^\d\d:\d\d:\d\d (.*)$", output, re.MULTILINE)
    assert said_at[0] == "watching spec/, until Ctrl-C" and set(said_at[1:]) == {"spec/ was saved"}
    assert not re.search("Traceback|already dead", output)
    assert codegen.is_current(project) and not list(project.glob(".generated-*"))


def test_ctrl_c_while_the_tools_load_is_quiet(project: Path) -> None:
    (project / "tools" / "judge.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    done = _tool(project, "generate")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_in_the_last_moment_is_quiet() -> None:
    script = "import runpy, signal, sys\ndef late(*_): raise KeyboardInterrupt\nsignal.signal = late\n"
    script += "sys.path.insert(0, 'tools'); sys.argv = ['generate.py', '--api', '--against', 'v0']\n"
    script += "runpy.run_path('tools/generate.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "--against: there is no commit 'v0'\n")


def test_an_operation_that_is_gone_is_missed_until_it_is_back(project: Path) -> None:
    assert judge.type_errors(project) == []  # and mypy remembers the operation
    path = project / "generated" / "enkash_auth_client" / "api" / "authentication" / "get_authentication_token.py"
    gone = path.rename(project / "elsewhere.py")
    assert [error for error in judge.type_errors(project) if error.startswith(GATEWAY)]
    gone.rename(path)
    assert judge.type_errors(project) == []


def test_a_type_checker_that_is_killed_has_not_agreed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert judge.type_errors(project) == ["mypy said nothing and ended with 1"]


def test_a_broken_tree_is_replaced_as_a_whole_and_a_tree_is_judged_in_any_case(
    project: Path, quick: None, capsys: Capture
) -> None:
    package = project / "generated" / "enkash_auth_client"
    (package / "types.py").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    (package / "errors.py").rename(package / "stale.py")
    for headline in ("generated/ is new\n", "generated/ is up to date\n"):
        assert generate.once(project, None) == 0
        said = capsys.readouterr().out
        assert said.startswith(headline) and "### Bump of the spec's `info.version`: none" in said
        assert _unchanged(project)


def test_drift_names_the_files_and_the_remedy(root: Path, quick: None, capsys: Capture) -> None:
    (root / "generated" / "enkash_auth_client" / "types.py").write_text("", encoding="utf-8")
    assert generate.check(root) == 1
    assert capsys.readouterr().err == (
        "generated/ is not what the spec generates:\ndiffers: enkash_auth_client/types.py\n"
        "run nox -s generate, and commit what it writes\n"
    )


def test_drift_fails_for_a_breaking_change_until_it_is_versioned_or_overruled(
    project: Path, quick: None, capsys: Capture
) -> None:
    fits = (True, "info.version fits what changed since v0.1.0")
    assert judge.gate(project)[1].startswith("not checked: ")
    git(project, "tag", "v0.1.0")
    assert judge.gate(project) == fits
    _edit(project / SPEC, SCOPE, "")
    assert "## What changed since the last release, `v0.1.0`\n" in judge.report(project, None, client=True)[0]
    assert generate.check(project) == 1
    said = capsys.readouterr().err
    assert re.match(r"spec/enkash-auth.yaml: info.version is (\S+), and was \1 in v0.1.0; since then", said)
    assert "- **breaks callers:** `schema SnakeTokenResponse`, `properties.scope` removed" in said
    owners = re.findall(r"`breaks: (\[.*\])`", said)[0]
    overruled = f"  x-overruled: {{since: v0.1.0, breaks: {owners}, because: x}}\n  license:\n"
    _edit(project / SPEC, "  license:\n", overruled)
    assert judge.gate(project) == fits


@pytest.mark.parametrize("command", ["generate", "drift"])
def test_what_the_system_refuses_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, command: str
) -> None:
    _edit(root / SPEC, SCOPE, "")
    _generates(monkeypatch, OSError(28, "No space left on device"))
    assert generate.main(root, COMMANDS[command]) == 1
    assert capsys.readouterr().err.removesuffix("generated/ is unchanged\n") == "[Errno 28] No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_clone_that_git_refuses_is_not_taken_for_one_without_a_release(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture, command: str
) -> None:
    git(project, "tag", "v0.1.0")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container, on a checkout of another user
    assert generate.main(project, COMMANDS[command]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "git config --global --add safe.directory " in line


def test_a_release_of_something_else_is_named_and_judges_nothing(
    project: Path, sound: None, quick: None, capsys: Capture
) -> None:
    for command in ("checkout -q --orphan other", "rm -rq --cached .", "commit -q --allow-empty -m none", "tag v7"):
        git(project, *command.split())
    assert judge.gate(project) == (True, f"not checked: v7 has no {SPEC}")
    assert generate.main(project, ["--api"]) == generate.main(project, []) == 0
    said = capsys.readouterr().out
    assert "- `enkash_auth` added\n" in said and "- `POST /oauth/token` added\n" in said


def test_the_last_release_is_the_highest_and_not_a_fix_of_an_older_one_that_was_merged_back(
    project: Path, quick: None
) -> None:
    _edit(project / SPEC, "\n  version: ", "\n  version: 9")
    for command in ("tag v1.0.0", "commit -q -a -m two", "tag v2.0.0rc1", "tag v2.0.0", "checkout -q -b fix v1.0.0"):
        git(project, *command.split())
    for command in (*["commit -q --allow-empty -m fix"] * 3, "tag v1.0.1", "checkout -q -", "merge -q -m back fix"):
        git(project, *command.split())
    assert judge.gate(project) == (True, "info.version fits what changed since v2.0.0")
    _edit(project / SPEC, SCOPE, "")
    assert judge.gate(project)[0] is False


def test_a_repository_in_a_larger_one_is_judged_by_its_own_spec(project: Path, quick: None) -> None:
    (project / ".git").rename(project / "elsewhere")
    for command in ("init -q", "add root/spec", "commit -q -m one", "tag v0.1.0"):
        git(project.parent, *command.split())
    assert judge.gate(project) == (True, "info.version fits what changed since v0.1.0")
    _edit(project / SPEC, SCOPE, "")
    assert judge.gate(project)[0] is False


def test_a_spec_that_git_lacks_passes_no_gate(project: Path, capsys: Capture, quick: None) -> None:
    git(project, "tag", "v0.1.0")
    blob = git(project, "rev-parse", f"v0.1.0:{SPEC}").strip()
    (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()  # as in a partial clone whose remote is away
    assert generate.main(project, ["--check"]) == 1
    assert capsys.readouterr().err == f"git does not give {SPEC} of v0.1.0: git show v0.1.0:./{SPEC} says why\n"


def test_without_git_the_report_says_what_to_install(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PATH", str(project / "nothing"))
    assert generate.main(project, ["--check"]) == 1
    assert capsys.readouterr().err.endswith(": install git\n")


@pytest.mark.parametrize("words", [[], ["--api"]])
def test_a_ref_that_is_no_commit_is_one_line(project: Path, capsys: Capture, words: list[str]) -> None:
    assert generate.main(project, [*words, "--against", "v9"]) == 1
    assert capsys.readouterr().err == "--against: there is no commit 'v9'\n"


# What is judged of the wrapper


def test_the_wrapper_is_judged_by_its_public_api(project: Path, sound: None) -> None:
    wrapper = project / "wrapper" / "enkash_auth"
    _edit(wrapper / "errors.py", "error: str | None = None, **", "error: str | None, **")
    _edit(wrapper / "_provider.py", "def reset(self)", "def clear(self)")
    _edit(wrapper / "_policy" / "backoff.py", '"""', '"""Other. ')
    said, _ = judge.report(project, None, client=False)
    assert [line for line in said.splitlines() if line.startswith("- ")] == [
        "- **breaks callers:** `enkash_auth.TokenProvider.reset` removed",
        "- **breaks callers:** `enkash_auth.errors.RefusedError`, `(error)` changed: "
        "`str | None = None` → `str | None`",
        "- `enkash_auth.TokenProvider.clear` added",
    ]
    assert "### Bump of the package's `version`: major" in said


PROJECT = {  # an edit of pyproject.toml, and what it costs whoever installs the package
    "a lost extra": ("otel = [", "telemetry = [", "- **breaks callers:** `pyproject.toml`, `extra otel` removed\n"),
    "another Python": ('">=3.11"', '">=3.12"', "`requires-python` changed: `>=3.11` → `>=3.12`\n"),
    "a lost plugin": (
        "entry-points.pytest11",
        "entry-points.other",
        "`pyproject.toml`, `pytest11 enkash_auth` removed\n",
    ),
    "a new command": ('enkash-auth = "', 'more = "a:b"\nenkash-auth = "', "- `pyproject.toml`, `command more` added\n"),
    "a dependency": (
        '"attrs>=23.2"',
        '"attrs>=24.1"',
        "- `pyproject.toml` changed; its extras, commands and Python did not\n",
    ),
}


@pytest.mark.parametrize(("old", "new", "line"), PROJECT.values(), ids=PROJECT)
def test_what_an_installation_relies_on_is_part_of_the_report(
    project: Path, sound: None, old: str, new: str, line: str
) -> None:
    _edit(project / "pyproject.toml", old, new)
    assert line in judge.report(project, None, client=False)[0]


def test_another_client_is_another_version_of_the_package(project: Path, sound: None) -> None:
    (project / "generated" / "enkash_auth_client" / "new.py").touch()
    said, _ = judge.report(project, None, client=False)
    assert "\n- `generated` changed: nox -s generate says how\n" in said
    assert "### Bump of the package's `version`: patch" in said


ECHO = {"schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}
ANSWERS = {"200": {"description": "an echo", "content": {"application/json": ECHO}}}
API = {
    "openapi": "3.0.3",
    "info": {"title": "Orders", "version": "1"},
    "paths": {"/api/echo": {"get": {"operationId": "getEcho", "responses": ANSWERS}}},
}


def test_the_example_fits_another_generated_client(
    enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_URL", enkash_sandbox.base_url)
    (tmp_path / "orders.yaml").write_text(yaml.safe_dump(API))
    (tmp_path / "settings.yaml").write_text("{package_name_override: orders_client, post_hooks: []}")
    generator = [BIN / "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning"]
    given = ["--path", "orders.yaml", "--config", "settings.yaml", "--output-path", "orders_client"]
    subprocess.run([*generator, *given], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    example = [sys.executable, ROOT / "examples" / "generated_client.py"]
    ran = subprocess.run(example, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("GetEchoResponse200(ok=True, additional_properties={})\n", "")
    enkash_sandbox.assert_token_requests(1)
