"""The generated tree: bound to its inputs, compared both ways, replaced as a whole or not at all."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import codegen
import judge
from enkash_auth.testing import Sandbox

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


needs_groups = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a process group by another way there")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all that the generated tree depends on, and of the tree."""
    copy = tmp_path / "root"
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "spec", copy / "spec", ignore=ignore)
    shutil.copytree(ROOT / "generated", copy / "generated", ignore=ignore)
    (copy / "requirements").mkdir()
    shutil.copy(ROOT / codegen.PINS, copy / codegen.PINS)
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
        ("requirements/generate.txt", "\nopenapi-python-client==", "\nopenapi-python-client==9"),
        ("requirements/generate.txt", "\nruff==", "\nruff==9"),
    ],
)
def test_any_changed_input_makes_the_tree_out_of_date(root: Path, path: str, old: str, new: str) -> None:
    before = codegen.fingerprint(root)
    _edit(root / path, old, new)
    assert codegen.fingerprint(root) != before
    assert not codegen.is_current(root)


def test_a_comment_before_the_version_hides_nothing(root: Path) -> None:
    before = codegen.fingerprint(root).splitlines()[0]
    _edit(root / "spec" / "enkash-auth.yaml", "\n  version: ", "\n# raised\n  version: ")
    assert codegen.fingerprint(root).splitlines()[0] == before


def test_line_endings_are_not_a_change(root: Path) -> None:
    path = root / "spec" / "enkash-auth.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert codegen.is_current(root)


GONE = ["", "enkash_auth_client", "provenance.toml", "enkash_auth_client/py.typed", "enkash_auth_client/types.py"]


@pytest.mark.parametrize("gone", GONE)
def test_a_tree_that_lacks_a_file_is_out_of_date(root: Path, gone: str) -> None:
    path = root / "generated" / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert not codegen.is_current(root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("enkash_auth_client/types.py", b"# by hand\n"),
        ("enkash_auth_client/types.py", b"<<<<<<< HEAD\n=======\n>>>>>>> other\n"),
        ("provenance.toml", b"<<<<<<< HEAD\n"),
        ("provenance.toml", b"\xff"),
        ("enkash_auth_client/stale.py", b""),
    ],
)
def test_a_tree_that_was_written_to_is_out_of_date(root: Path, name: str, content: bytes) -> None:
    with (root / "generated" / name).open("ab") as file:
        file.write(content)
    assert not codegen.is_current(root)


def test_what_python_caches_beside_the_tree_is_not_of_it(root: Path) -> None:
    cache = root / "generated" / "enkash_auth_client" / "__pycache__"
    cache.mkdir()
    (cache / "errors.pyc").touch()
    assert codegen.is_current(root)


def test_a_missing_pin_is_an_error(root: Path) -> None:
    (root / codegen.PINS).write_text("ruff-lsp==1\n", encoding="utf-8")
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
        "differs: enkash_auth_client/errors.py",
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


def test_the_committed_tree_is_what_the_generator_makes(root: Path, tmp_path: Path) -> None:
    codegen.generate_into(root, BIN, tmp_path / "fresh")
    assert codegen.differences(tmp_path / "fresh", ROOT / "generated") == []


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
    assert "differs: provenance.toml" in wrong
    if in_code:
        assert "differs: enkash_auth_client/models/snake_token_response.py" in wrong


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture
def project(root: Path, mypy_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that generating and judging need, committed."""
    monkeypatch.setenv("MYPY_CACHE_DIR", str(mypy_cache))
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("tools", "wrapper"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / ".gitignore").write_text("__pycache__/\n.generated-*\n", encoding="utf-8")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def _run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def _generate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(project, "tools/generate.py", *arguments)


def _whole(project: Path) -> bool:
    """Whether generated/ is what the spec generates, and nothing lies beside it."""
    left = list(project.glob(".generated-*"))
    return not left and bool(codegen.is_current(project))


Document = dict[str, Any]
SENT, ANSWER = "components schemas TokenRequest ", "components schemas SnakeTokenResponse "
FORM = ["username", "password", "grant_type"]


def _change(project: Path, changes: Document) -> None:
    """Set values of the spec, by their path in it; a callable makes one of what was there, None deletes it."""
    spec = project / "spec" / "enkash-auth.yaml"
    document = yaml.safe_load(spec.read_text(encoding="utf-8"))
    for path, value in changes.items():
        node, *names = document, *path.split(" ")
        for name in names[:-1]:
            node = node[name]
        node[names[-1]] = value(node[names[-1]]) if callable(value) else value
        if value is None:
            del node[names[-1]]
    spec.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


GATEWAY = "wrapper/enkash_auth/_signin/gateway.py:"


@pytest.mark.parametrize(
    ("changes", "told", "bump", "repair"),
    [
        pytest.param(
            {
                f"{SENT}properties clientId": None,
                f"{SENT}properties companyId": {"type": "string"},
                f"{SENT}required": [*FORM, "companyId"],
            },
            [
                "- **breaks callers:** `schema TokenRequest`, `properties.clientId` removed: `string`",
                "- **breaks callers:** `schema TokenRequest`, `required.'companyId'` added: `companyId`",
                "- `schema TokenRequest`, `properties.companyId` added: `string`",
            ],
            "major",
            ("TokenRequest(", 'Unexpected keyword argument "client_id"'),
            id="a sent field is renamed",
        ),
        pytest.param(
            {f"{ANSWER}properties token_type enum": ["bearer"]},
            [
                "- **breaks callers:** `schema SnakeTokenResponse`, `properties.token_type.enum` added: `bearer` "
                "(risky: any other value would be rejected)\n\n### Does the wrapper type-check?\n\nYes.\n"
            ],
            "major",
            None,
            id="an answer is closed",
        ),
        pytest.param(
            {f"{ANSWER}properties": lambda fields: {"jti": {"type": "string"}, **fields}},
            ["\n- `schema SnakeTokenResponse`, `properties.jti` added: `string`\n"],
            "minor",
            None,
            id="more is answered",
        ),
        pytest.param(
            {f"{ANSWER}properties expires_in type": "string"},
            ["`schema SnakeTokenResponse`, `properties.expires_in` changed: `integer` → `string`"],
            "major",
            ("= answer.expires_in", "Incompatible types"),
            marks=pytest.mark.thorough,
            id="a type changes",
        ),
        pytest.param(
            {f"{SENT}properties otp": {"type": "string"}, f"{SENT}required": [*FORM, "clientId", "otp"]},
            ["- **breaks callers:** `schema TokenRequest`, `required.'otp'` added: `otp`"],
            "major",
            ("TokenRequest(", '"otp"'),
            marks=pytest.mark.thorough,
            id="a new field is required",
        ),
        pytest.param(
            {"paths": {}},
            ["- **breaks callers:** `POST /oauth/token` removed"],
            "major",
            ("get_authentication_token import", "enkash_auth_client.api.authentication"),
            marks=pytest.mark.thorough,
            id="the operation is dropped",
        ),
    ],
)
def test_an_edit_ends_in_a_report(
    project: Path, changes: Document, told: list[str], bump: str, repair: tuple[str, str] | None
) -> None:
    _change(project, changes)
    done = _generate(project)
    assert [line for line in told if line not in done.stdout] == []
    assert f"### Bump of the spec's `info.version`: {bump}\n" in done.stdout
    assert ("**breaks callers:**" in done.stdout) is (bump == "major")
    assert "Traceback" not in done.stdout + done.stderr
    assert _whole(project)
    assert done.returncode == (1 if repair else 0)
    if repair:  # the author needs the new client to repair the wrapper
        source, message = repair
        text = (project / GATEWAY.rstrip(":")).read_text(encoding="utf-8")
        lines = [number for number, line in enumerate(text.splitlines(), 1) if source in line]
        errors = [line for line in done.stdout.splitlines() if line.startswith(f"    {GATEWAY}")]
        assert errors
        assert message in errors[0]
        assert any(errors[0].startswith(f"    {GATEWAY}{number}: error: ") for number in lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("paths:\n", "paths: [\n", ", column 9: expected", id="invalid-yaml"),
        pytest.param("/TokenRequest'", "/Gone'", "$ref '#/components/schemas/Gone' names nothing", id="unresolved-ref"),
        pytest.param("x-www-form-urlencoded:", "xml:", "Unsupported content type application/xml", id="dropped-part"),
        pytest.param("type: integer", "type: intege", "TokenResponse.other.properties.expiresIn", id="no-such-type"),
    ],
)
def test_an_edit_that_nothing_comes_of_ends_in_a_clear_error(project: Path, old: str, new: str, message: str) -> None:
    _edit(project / "spec" / "enkash-auth.yaml", old, new)
    done = _generate(project)
    assert done.returncode == 1
    assert message in done.stderr
    assert "spec/enkash-auth.yaml" in done.stderr.splitlines()[0]
    assert done.stderr.endswith("generated/ is unchanged\n")
    assert "Traceback" not in done.stdout + done.stderr
    assert codegen.differences(ROOT / "generated", project / "generated") == []
    assert not list(project.glob(".generated-*"))


def _hostile(payload: str) -> Document:
    names = [f'a"]; {payload} #', f"b\n    {payload}\n", "`| <script>alert(1)</script> **c** \x85", "__class__", "from"]
    prose = [f'"""\n{payload}\n"""', f'ends in a quote, {payload} "', f"ends in a backslash, {payload} \\"]
    prose += ["{0} %s \\x41", f'\\"\\"\\"\n{payload}']
    fields = {name: {"type": "string", "description": text} for name, text in zip(names, prose, strict=True)}
    fields["default"] = {"type": "string", "default": f'"); {payload}; ("', "description": "d"}
    fields["kind"] = {"type": "string", "enum": [f'x"; {payload} #', "y'\\", f"z\n{payload}"]}
    return fields


def test_hostile_names_and_descriptions_are_only_text(project: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    payload = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"
    quoted = f'"""\n{payload}\n"""'

    def operations(paths: Document) -> Document:
        operation = paths["/oauth/token"]["post"]
        operation["description"] = operation["summary"] = quoted
        evil = {**operation, "operationId": f"x(): pass\n{payload}", "tags": [f"../../../evil\n{payload}"]}
        return {**paths, f'/"; {payload}; "': {"post": evil}}

    response = "components schemas TokenResponse"
    _change(
        project,
        {
            f"{response} properties": lambda fields: fields | _hostile(payload),
            f"{response} description": quoted,
            "paths": operations,
            "info title": quoted,
        },
    )
    done = _generate(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert _whole(project)
    assert {path.name for path in project.iterdir()} >= {"generated", "spec"}
    assert not [path for path in project.rglob("*evil*") if "api" not in path.parts]
    # one line for each change, whatever its name holds, and no markup of its own
    changed = [line for line in done.stdout.splitlines() if "schema TokenResponse" in line]
    assert len(changed) == 7
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "`properties. | <script>alert(1)</script> **c** \\x85`" in done.stdout
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
    with path.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=project, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def interrupt() -> int:
        os.killpg(process.pid, signal.SIGINT)
        return process.wait(30)

    try:
        yield lambda: path.read_text(encoding="utf-8"), interrupt
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    end, never = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end
        never.wait(0.01)


@needs_groups
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
    _edit(project / "spec" / "enkash-auth.yaml", SCOPE, "")
    with _running(project, *words) as (said, interrupt):
        _until(lambda: sign in said() or list(project.glob(sign)))
        assert interrupt() == 130
        output = said()
    assert "Traceback" not in output
    assert output.count("interrupted") == 1
    # on a busy machine the signal may come when the new tree is in place already
    old = sign != "generated/ is new" and codegen.differences(ROOT / "generated", project / "generated") == []
    assert old or _whole(project)
    assert not list(project.glob(".generated-*"))


@needs_groups
def test_watching_generates_on_each_save(project: Path) -> None:
    with _running(project, "--watch") as (said, interrupt):
        _until(lambda: "`info.version`: none" in said())
        _edit(project / "spec" / "enkash-auth.yaml", "paths:\n", "paths: [\n")
        _until(lambda: "invalid YAML" in said())
        _edit(project / "spec" / "enkash-auth.yaml", "paths: [\n", "paths:\n")
        _edit(project / "spec" / "enkash-auth.yaml", SCOPE, "")
        _until(lambda: "`info.version`: major" in said())
        assert interrupt() == 130
        output = said()
    said_at = re.findall(r"^\d\d:\d\d:\d\d (.*)$", output, re.MULTILINE)
    assert said_at[0] == "watching spec/, until Ctrl-C" and set(said_at[1:]) == {"spec/ was saved"}
    assert not re.search("Traceback|already dead", output)
    assert _whole(project)


def test_a_renamed_operation_is_missed_until_it_is_back(project: Path) -> None:
    spec = project / "spec" / "enkash-auth.yaml"
    assert _generate(project).returncode == 0
    _edit(spec, "operationId: getAuthenticationToken", "operationId: signIn")
    done = _generate(project)
    assert (done.returncode, f"    {GATEWAY}" in done.stdout) == (1, True)
    _edit(spec, "operationId: signIn", "operationId: getAuthenticationToken")
    done = _generate(project)
    assert (done.returncode, GATEWAY in done.stdout) == (0, False)


def test_a_tree_that_is_up_to_date_is_judged_too(project: Path) -> None:
    done = _generate(project)
    assert done.stdout.startswith("generated/ is up to date\n")
    assert "### Bump of the spec's `info.version`: none" in done.stdout
    assert done.returncode == 0


def test_a_broken_tree_is_generated_anew(project: Path) -> None:
    package = project / "generated" / "enkash_auth_client"
    (package / "types.py").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    (package / "errors.py").unlink()
    done = _generate(project)
    assert done.stdout.startswith("generated/ is new\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert codegen.differences(ROOT / "generated", project / "generated") == []
    assert _generate(project).stdout.startswith("generated/ is up to date\n")


def test_drift_names_the_files_and_the_remedy(project: Path) -> None:
    assert _generate(project, "--check").returncode == 0
    (project / "generated" / "enkash_auth_client" / "types.py").write_text("", encoding="utf-8")
    done = _generate(project, "--check")
    assert (done.returncode, done.stderr) == (
        1,
        "generated/ is not what the spec generates:\ndiffers: enkash_auth_client/types.py\n"
        "run nox -s generate, and commit what it writes\n",
    )


def test_drift_fails_for_a_breaking_change_until_it_is_versioned_or_overruled(project: Path) -> None:
    spec = project / "spec" / "enkash-auth.yaml"
    fits = (True, "info.version fits what changed since v0.1.0")
    assert judge.gate(project)[1].startswith("not gated: ")
    subprocess.run(["git", "tag", "v0.1.0"], cwd=project, check=True)
    assert judge.gate(project) == fits
    _edit(spec, SCOPE, "")
    assert "## What changed since the last release, `v0.1.0`\n" in _generate(project).stdout
    done = _generate(project, "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r"spec/enkash-auth.yaml: info.version is (\S+), and was \1 in v0.1.0; since then", done.stderr)
    assert "- **breaks callers:** `schema SnakeTokenResponse`, `properties.scope` removed" in done.stderr
    owners = re.findall(r"`breaks: (\[.*\])`", done.stderr)[0]
    _edit(spec, "  license:\n", f"  x-overruled: {{since: v0.1.0, breaks: {owners}, because: x}}\n  license:\n")
    assert judge.gate(project) == fits


@pytest.mark.parametrize("words", [[], ["--check"]])
def test_what_the_system_refuses_is_one_line(project: Path, words: list[str]) -> None:
    (project / codegen.PINS).unlink()  # a folder that is read-only, a full disk: the same to generate.py
    done = _generate(project, *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("[Errno 2] No such file or directory: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", "the document is not a mapping"),
        ("/TokenRequest'", "/Gone'", "POST /oauth/token, requestBody."),
    ],
    ids=["empty", "ref"],
)
def test_drift_from_no_spec_is_one_line(project: Path, old: str, new: str, says: str) -> None:
    spec = project / "spec" / "enkash-auth.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace(old, new) if old else "", encoding="utf-8")
    done = _generate(project, "--check")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"spec/enkash-auth.yaml: {says}")


def test_a_clone_that_git_refuses_is_not_taken_for_one_without_a_release(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "tag", "v0.1.0"], cwd=project, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container, on a checkout of another user
    for words in ((), ("--check",), ("--against", "v0.1.0")):
        done = _generate(project, *words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "git config --global --add safe.directory " in done.stderr


def test_ctrl_c_while_the_tools_load_is_quiet(project: Path) -> None:
    (project / "tools" / "judge.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    done = _generate(project)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_ref_that_is_no_commit_is_one_line(project: Path) -> None:
    done = _generate(project, "--against", "v9")
    assert (done.returncode, done.stderr) == (1, "--against: there is no commit 'v9'\n")


def test_the_wrapper_is_judged_by_its_public_api(project: Path) -> None:
    wrapper = project / "wrapper" / "enkash_auth"
    _edit(wrapper / "errors.py", "error: str | None = None, **", "error: str | None, **")
    _edit(wrapper / "_provider.py", "def reset(self)", "def clear(self)")
    _edit(wrapper / "_policy" / "backoff.py", '"""', '"""Other. ')
    done = _generate(project, "--api")
    listed = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    assert listed == [
        "- **breaks callers:** `enkash_auth.TokenProvider.reset` removed",
        "- **breaks callers:** `enkash_auth.errors.RefusedError`, `(error)` changed: "
        "`str | None = None` → `str | None`",
        "- `enkash_auth.TokenProvider.clear` added",
    ]
    assert "### Bump of the package's `version`: major" in done.stdout


def test_another_client_is_another_version_of_the_package(project: Path) -> None:
    (project / "generated" / "enkash_auth_client" / "new.py").touch()
    done = _generate(project, "--api")
    assert "\n- `generated` changed: nox -s generate says how\n" in done.stdout
    assert "### Bump of the package's `version`: patch" in done.stdout


SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
ECHO = {"description": "an echo", "content": {"application/json": {"schema": SCHEMA}}}
API = {
    "openapi": "3.0.3",
    "info": {"title": "Orders", "version": "1"},
    "paths": {"/api/echo": {"get": {"operationId": "getEcho", "responses": {"200": ECHO}}}},
}


def test_the_example_fits_another_generated_client(
    enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_URL", enkash_sandbox.base_url)
    spec, settings = tmp_path / "orders.json", tmp_path / "settings.json"
    spec.write_text(json.dumps(API))
    settings.write_text(json.dumps({"package_name_override": "orders_client", "post_hooks": []}))
    generator = [str(BIN / "openapi-python-client"), "generate", "--meta", "none"]
    given = ["--path", str(spec), "--config", str(settings), "--output-path", str(tmp_path / "orders_client")]
    subprocess.run([*generator, "--fail-on-warning", *given], check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    example = [sys.executable, "generated_client.py"]
    ran = subprocess.run(example, cwd=ROOT / "examples", capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("GetEchoResponse200(ok=True, additional_properties={})\n", "")
    enkash_sandbox.assert_token_requests(1)
