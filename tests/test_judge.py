"""What counts as a change, what of it breaks callers, and which version bump follows: tables, no generator."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import api_facts
import gate
import judge
import spec_facts
from changes import Change, Fact, Level, bump, code, diff, line
from judge import JudgementError, api_changes, client_changes, reference, render, spec_changes, spec_risks

A, B, NEEDED = Fact("a"), Fact("b"), Fact("a", required=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"o": {"i": A}}, {"o": {"i": A}}, []),
        ({}, {"o": {"i": NEEDED}}, [(Level.MINOR, "o", "", "added")]),
        ({"o": {"i": A}}, {}, [(Level.MAJOR, "o", "", "removed")]),
        ({"o": {}}, {"o": {"i": A}}, [(Level.MINOR, "o", "i", "added")]),
        ({"o": {}}, {"o": {"i": NEEDED}}, [(Level.MAJOR, "o", "i", "added, and required")]),
        ({"o": {"i": A}}, {"o": {}}, [(Level.MAJOR, "o", "i", "removed")]),
        ({"o": {"i": A}}, {"o": {"i": B}}, [(Level.MAJOR, "o", "i", "changed")]),
        ({"o": {"i": A}}, {"o": {"i": NEEDED}}, [(Level.MAJOR, "o", "i", "changed")]),
        ({"o": {}, "p": {}}, {"o": {"i": A}}, [(Level.MAJOR, "p", "", "removed"), (Level.MINOR, "o", "i", "added")]),
    ],
)
def test_a_difference_of_facts_is_a_change(old: Any, new: Any, expected: list[object]) -> None:
    assert [(c.level, c.owner, c.item, c.what) for c in diff(old, new)] == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], Level.NONE), ([Level.PATCH], Level.PATCH), ([Level.MINOR, Level.MAJOR, Level.PATCH], Level.MAJOR)],
)
def test_the_largest_change_is_the_version_bump(levels: list[Level], expected: Level) -> None:
    assert bump(Change(level, "o", "", "changed") for level in levels) is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("name", "`name`"),
        ("a\nb", "`a\\nb`"),
        ("\x1b[31m", "`\\x1b[31m`"),
        ("a`b", "`` a`b ``"),
        ("`` ` ```", "```` `` ` ``` ````"),
        ("<script>", "`<script>`"),
    ],
)
def test_a_hostile_name_stays_one_piece_of_code(text: str, shown: str) -> None:
    assert code(text) == shown


def test_a_line_says_what_was_and_what_is() -> None:
    change = Change(Level.MAJOR, "p.C", "(x)", "changed", "int", "str", ("p.c.C",))
    assert line(change) == "- **breaks callers:** `p.C`, `(x)` changed: `int` → `str` (also as `p.c.C`)"


SPEC: dict[str, Any] = {
    "paths": {
        "/a": {
            "post": {
                "operationId": "a",
                "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
                "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}},
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S"}}}}},
            }
        }
    },
    "components": {
        "schemas": {
            "S": {
                "type": "object",
                "required": ["x"],
                "properties": {"x": {"type": "string"}, "y": {"type": "array", "items": {"type": "integer"}}},
            }
        }
    },
}
OPERATION = ("paths", "/a", "post")
FIELDS = ("components", "schemas", "S", "properties")


def _edited(path: tuple[str, ...], name: str, value: object) -> str:
    document = copy.deepcopy(SPEC)
    node = document
    for part in path:
        node = node[part]
    if value is None:
        del node[name]
    else:
        node[name] = value
    return str(spec_facts.yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("path", "name", "value", "expected"),
    [
        (FIELDS, "z", {"type": "string"}, [(Level.MINOR, "schema S", "field z", "added")]),
        (FIELDS, "y", None, [(Level.MAJOR, "schema S", "field y", "removed")]),
        (FIELDS, "x", {"type": "integer"}, [(Level.MAJOR, "schema S", "field x", "changed")]),
        (FIELDS, "y", {"type": "array", "items": {}}, [(Level.MAJOR, "schema S", "field y", "changed")]),
        (FIELDS, "x", {"type": "string", "enum": ["a"]}, [(Level.MAJOR, "schema S", "field x", "changed")]),
        (FIELDS[:-1], "required", [], [(Level.MAJOR, "schema S", "field x", "changed")]),
        (FIELDS, "x", {"type": "string", "description": "d"}, [(Level.PATCH, "spec/enkash-auth.yaml", "", "prose")]),
        (("paths",), "/a.b", {"get": {"responses": {}}}, [(Level.MINOR, "GET /a.b", "", "added")]),
        (("paths",), "/a", {}, [(Level.MAJOR, "POST /a", "", "removed")]),
        (OPERATION, "operationId", "b", [(Level.MAJOR, "POST /a", "operationId", "changed")]),
        (OPERATION, "security", [{"k": []}], [(Level.MINOR, "POST /a", "security", "added")]),
        (OPERATION, "parameters", None, [(Level.MAJOR, "POST /a", "query parameter q", "removed")]),
        (
            OPERATION,
            "requestBody",
            {"required": True, "content": {"text/html": {}}},
            [
                (Level.MAJOR, "POST /a", "body text/html", "added, and required"),
                (Level.MAJOR, "POST /a", "body text/plain", "removed"),
            ],
        ),
        ((*OPERATION, "responses"), "404", {"description": "d"}, [(Level.MINOR, "POST /a", "answer 404", "added")]),
        (
            (),
            "servers",
            [{"url": "https://a.example"}],
            [(Level.MINOR, "document", "server https://a.example", "added")],
        ),
    ],
)
def test_an_edit_of_the_spec_is_named(path: tuple[str, ...], name: str, value: object, expected: list[Any]) -> None:
    found = spec_changes(_edited((), "info", {}), _edited(path, name, value))
    assert [(c.level, c.owner, c.item) for c in found] == [row[:3] for row in expected]
    assert all(row[3] in c.what for c, row in zip(found, expected, strict=True))


def test_a_raised_info_version_is_named_and_breaks_nobody() -> None:
    (change,) = spec_changes(_edited((), "info", {"version": "1.0.0"}), _edited((), "info", {"version": "2.0.0"}))
    told = (change.level, change.owner, change.item, change.old, change.new)
    assert told == (Level.PATCH, "document", "info.version", "1.0.0", "2.0.0")


def _x(field: object) -> str:
    return _edited(FIELDS, "x", field)


@pytest.mark.parametrize(
    ("old", "new", "risky"),
    [
        (_x({"type": "string"}), _x({"enum": ["a"]}), "`schema S`, `field x` takes only `'a'`"),
        (_x({"type": "string"}), _x({"const": "a"}), "`schema S`, `field x` takes only `'a'`"),
        (_x({"enum": ["a", "b"]}), _x({"enum": ["a"]}), "`schema S`, `field x` takes only `'a'`"),
        (_x({"type": "string"}), _x({"type": "array", "items": {"enum": [1]}}), "`schema S`, `field x` takes only `1`"),
        (_x({}), _x({"properties": {"i": {"enum": [1]}}}), "`schema S`, `field x, field i` takes only `1`"),
        (_x({"enum": ["a"]}), _x({"enum": ["a", "b"]}), None),
        (_x({"enum": ["a"]}), _x({"enum": ["a"]}), None),
        (_x({"enum": ["a"]}), _x({"type": "string"}), None),
        (_x({}), _edited((*OPERATION, "requestBody"), "content", {"a/b": {"schema": {"enum": ["a"]}}}), None),
        ("", _x({"enum": ["a"]}), None),
    ],
)
def test_a_newly_closed_set_of_values_in_an_answer_is_risky(old: str, new: str, risky: str | None) -> None:
    expected = [f"- {risky}: an answer with any other value would be rejected"] if risky else []
    assert spec_risks(old, new) == expected


def test_fields_of_inline_schemas_are_fields() -> None:
    inline = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}
    content = {"application/json": {"schema": {"anyOf": [inline, {"type": "string"}]}}}
    found = spec_changes(
        _edited((), "info", {}), _edited((*OPERATION, "responses"), "200", {"description": "", "content": content})
    )
    assert [c.item for c in found if c.what == "added"] == [
        "answer 200 application/json, field a",
        "answer 200 application/json, field a, field b",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\nb: 1", "invalid YAML: line 2"),
        ("a: \x01", "invalid YAML"),
        ("- a", "not a mapping"),
        ("a: &a [*a]", "nested"),
        ("a: {$ref: '#/b/c~1d'}", r"#/a: \$ref '#/b/c~1d' names nothing"),
    ],
)
def test_what_is_no_document_is_refused_by_its_place(text: str, message: str) -> None:
    with pytest.raises(spec_facts.SpecError, match=message):
        spec_facts.load(text)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_spec_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "spec.yaml").write_bytes(content)
    with pytest.raises(spec_facts.SpecError, match="text file"):
        spec_facts.read(tmp_path / "spec.yaml")


BASE = """
from collections.abc import Callable
from enum import Enum
from typing import TypeVar
from attrs import define, field

T = TypeVar("T")
Hook = Callable[[int], None]

def call(a: int, *, b: str = "x") -> int: ...
async def wait() -> None: ...
def _private(a: int) -> None: ...

@define
class Value:
    a: int
    b: str = "x"
    c: list[int] = field(factory=list, kw_only=True)
    _d: int = 0
    e: int = field(init=False, default=0)

class Kind(Enum):
    A = "a"

class _Base:
    def inherited(self, a: int) -> int: ...

class Made(_Base):
    def __init__(self, a: int) -> None:
        self.a = a
    @property
    def b(self) -> int: ...

class Failed(ValueError): ...
"""


def _package(root: Path, name: str = "p", /, **modules: str) -> Path:
    package = root / name
    package.mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    return root


MAJOR, MINOR = Level.MAJOR, Level.MINOR


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a: int, *", "a: int, c: int, *", [(MAJOR, "p.m.call", "(c)", "added, and required")]),
        ("a: int, *", "a: int, c: int = 0, *", [(MINOR, "p.m.call", "(c)", "added")]),
        ("a: int, *, b", "a: int, b", [(Level.PATCH, "p", "", "inside")]),
        ("a: int, *", "*, a: int", [(MAJOR, "p.m.call", "(a)", "kind was changed")]),
        ('*, b: str = "x"', "", [(MAJOR, "p.m.call", "(b)", "removed")]),
        ('b: str = "x") ->', 'b: str = "y") ->', [(MAJOR, "p.m.call", "(b)", "changed")]),
        ("call(a: int", "call(a: str", [(MAJOR, "p.m.call", "(a)", "changed")]),
        ('"x") -> int', '"x") -> str', [(MAJOR, "p.m.call", "returns", "changed")]),
        ("async def wait", "def wait", [(MAJOR, "p.m.wait", "", "changed")]),
        ("def call", "def called", [(MAJOR, "p.m.call", "", "removed"), (MINOR, "p.m.called", "", "added")]),
        ("_private(a: int)", "_private(b: int)", [(Level.PATCH, "p", "", "inside")]),
        # what griffe misses by itself
        ("    a: int\n", "    a: int\n    z: int\n", [
            (MAJOR, "p.m.Value", "(z)", "added, and required"),
            (MAJOR, "p.m.Value", "(b)", "moved"),
            (MAJOR, "p.m.Value", "(d)", "moved"),
        ]),
        ("    a: int\n", "    a: str\n", [(MAJOR, "p.m.Value", "(a)", "changed")]),
        ("    _d: int = 0\n", "    _d: int = 0\n    z: int = 0\n", [(MINOR, "p.m.Value", "(z)", "added")]),
        ('    b: str = "x"\n', "", [(MAJOR, "p.m.Value", "(b)", "removed"), (MAJOR, "p.m.Value", "(d)", "moved")]),
        ("    _d: int", "    _f: int", [(MAJOR, "p.m.Value", "(d)", "removed"), (MINOR, "p.m.Value", "(f)", "added")]),
        ("    e: int", "    e: str", [(MAJOR, "p.m.Value", ".e", "changed")]),
        (", kw_only=True", "", [(MAJOR, "p.m.Value", "(d)", "moved")]),
        ("factory=list, ", "", [(MAJOR, "p.m.Value", "(c)", "changed")]),
        ('    A = "a"', '    A = "a"\n    B = "b"', [(MINOR, "p.m.Kind", ".B", "added")]),
        ('    A = "a"', '    A = "b"', [(MAJOR, "p.m.Kind", ".A", "changed")]),
        ('    A = "a"', "    ...", [(MAJOR, "p.m.Kind", ".A", "removed")]),
        ("inherited(self, a", "inherited(self, b", [
            (MAJOR, "p.m.Made.inherited", "(a)", "removed"),
            (MAJOR, "p.m.Made.inherited", "(b)", "added, and required"),
        ]),
        ("        self.a = a", "        ...", [(MAJOR, "p.m.Made", ".a", "removed")]),
        ("def b(self) -> int", "def b(self) -> str", [(MAJOR, "p.m.Made", ".b", "changed")]),
        ("Failed(ValueError)", "Failed(KeyError)", [
            (MINOR, "p.m.Failed", "base KeyError", "added"),
            (MAJOR, "p.m.Failed", "base ValueError", "removed"),
        ]),
        ("Callable[[int]", "Callable[[str]", [(MAJOR, "p.m", "Hook", "changed")]),
        ('TypeVar("T")', 'TypeVar("T", bound=int)', [(Level.PATCH, "p", "", "inside")]),
    ],
)  # fmt: skip
def test_an_edit_of_the_code_is_judged(tmp_path: Path, old: str, new: str, expected: list[Any]) -> None:
    assert old in BASE
    before = _package(tmp_path / "old", m=BASE)
    after = _package(tmp_path / "new", m=BASE.replace(old, new, 1))
    found = api_changes(before, after, "p")
    assert sorted((c.level, c.owner, c.item) for c in found) == sorted(row[:3] for row in expected)
    whats = {(c.owner, c.item): c.what for c in found}
    assert all(what in whats[owner, item] for _, owner, item, what in expected)


def test_one_change_under_two_import_paths_is_reported_once(tmp_path: Path) -> None:
    names = {"__init__": 'from .m import Value\n__all__ = ["Value"]\n'}
    before = _package(tmp_path / "old", m=BASE, **names)
    after = _package(tmp_path / "new", m=BASE.replace("    a: int\n", "    a: str\n"), **names)
    (change,) = api_changes(before, after, "p")
    assert (change.owner, change.others) == ("p.Value", ("p.m.Value",))


def test_like_changes_of_two_functions_are_two(tmp_path: Path) -> None:
    before = _package(tmp_path / "old", m=BASE, n=BASE)
    edited = BASE.replace("call(a: int", "call(a: str")
    after = _package(tmp_path / "new", m=edited, n=edited)
    assert [(c.owner, c.others) for c in api_changes(before, after, "p")] == [("p.m.call", ()), ("p.n.call", ())]


def test_a_private_module_counts_by_what_is_public_of_it(tmp_path: Path) -> None:
    names = {"__init__": 'from ._m import Value\n__all__ = ["Value"]\n'}
    before = _package(tmp_path / "old", _m=BASE, **names)
    after = _package(tmp_path / "new", _m=BASE.replace("    a: int\n", "").replace("def call", "def called"), **names)
    assert [(c.owner, c.item) for c in api_changes(before, after, "p") if c.what == "removed"] == [("p.Value", "(a)")]


def test_a_public_name_may_move_between_modules(tmp_path: Path) -> None:
    before = _package(tmp_path / "old", _m=BASE, __init__='from ._m import Value\n__all__ = ["Value"]\n')
    after = _package(tmp_path / "new", _n=BASE, __init__='from ._n import Value\n__all__ = ["Value"]\n')
    assert bump(api_changes(before, after, "p")) is Level.PATCH


def test_a_new_module_is_one_line(tmp_path: Path) -> None:
    before, after = _package(tmp_path / "old"), _package(tmp_path / "new", m=BASE)
    assert [(c.level, c.owner) for c in api_changes(before, after, "p")] == [(Level.MINOR, "p.m")]


def test_a_package_that_was_missing_is_new(tmp_path: Path) -> None:
    assert bump(api_changes(tmp_path, _package(tmp_path / "new"), "p")) is Level.MINOR


def test_an_import_of_what_is_gone_is_found_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    text = "import os\nfrom p.m import Value\nfrom p.m import gone\nfrom p import lost\n"
    (tmp_path / "q" / "__init__.py").write_text(text, encoding="utf-8")
    user, used = api_facts.load(tmp_path, "q"), api_facts.load(_package(tmp_path, m=BASE), "p")
    assert [(number, name) for _, number, name in api_facts.lost_imports(user, used)] == [
        (3, "p.m.gone"),
        (4, "p.lost"),
    ]


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., None]:
    def run(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    run("init", "--quiet")
    return run


def test_the_last_release_is_what_counts(tmp_path: Path, git: Callable[..., None]) -> None:
    assert reference(tmp_path, None) is None
    git("commit", "--allow-empty", "-m", "one")
    assert reference(tmp_path, None) == "HEAD"
    git("tag", "v1.0.0")
    git("tag", "vendored")
    git("commit", "--allow-empty", "-m", "two")
    assert reference(tmp_path, None) == "v1.0.0"
    assert reference(tmp_path, "HEAD") == "HEAD"


@pytest.mark.parametrize("ref", ["nope", "--all", "HEAD:spec"])
def test_a_ref_that_is_no_commit_is_refused(tmp_path: Path, git: Callable[..., None], ref: str) -> None:
    git("commit", "--allow-empty", "-m", "one")
    with pytest.raises(JudgementError, match="no commit"):
        reference(tmp_path, ref)


@pytest.mark.parametrize(
    ("ref", "wanted", "said"),
    [
        ("v1.0.0", None, "since the last release, `v1.0.0`"),
        ("HEAD", None, "since the last commit, `HEAD`"),
        ("v0.9.0", "v0.9.0", "since `v0.9.0`"),
    ],
)
def test_a_report_says_what_its_ref_is(ref: str, wanted: str | None, said: str) -> None:
    assert judge.since(ref, wanted) == said


def test_a_report_without_a_commit_judges_no_version() -> None:
    assert "### Bump of n: not known" in render(None, {}, [], "n")


def test_a_report_quotes_the_wrappers_lines() -> None:
    assert "\n    wrapper/x.py:1: error: e\n" in render("v1", {"The spec": []}, ["wrapper/x.py:1: error: e"], "n")


def test_a_report_names_the_number_that_its_first_section_moves() -> None:
    sections = {"The spec": [Change(MINOR, "o", "i", "added")], "The API": [Change(MAJOR, "o", "", "removed")]}
    assert render("v1", sections, [], "the spec's `info.version`").endswith(
        "Bump of the spec's `info.version`: minor\n"
    )


def test_the_order_of_a_generated_model_s_fields_is_no_promise(tmp_path: Path) -> None:
    before = _package(tmp_path / "old", "enkash_auth_client", m=BASE)
    edited = BASE.replace('    b: str = "x"\n', '    z: int = 0\n    b: str = "x"\n')
    after = _package(tmp_path / "new", "enkash_auth_client", m=edited)
    assert bump(api_changes(before, after, "enkash_auth_client")) is MAJOR
    assert bump(client_changes(before, after)) is MINOR


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n", "from .gone import x\n__all__ = ['x']\n"])
def test_python_that_cannot_be_read_is_one_line(tmp_path: Path, git: Callable[..., None], text: str) -> None:
    package = tmp_path / "wrapper" / "enkash_auth"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text, encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "one")
    command = [sys.executable, "-c", "import judge, pathlib; judge.tell(pathlib.Path(), None, client=False)"]
    environment = {**os.environ, "PYTHONPATH": str(Path(judge.__file__).parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("no report: a Python file cannot be read: ")


GONE = Change(Level.MAJOR, "schema A", "field b", "removed")
LOST = Change(Level.MAJOR, "client.A", "(b)", "removed")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1.1.0", "2.0.0", True),
        ("1.1.0", "1.2.0", False),
        ("1.1.0", "1.1.0", False),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "1.0.0", True),
        ("draft", "draft", False),
        ("draft", "final", True),
    ],
)
def test_a_breaking_change_needs_the_next_major_and_below_one_the_next_minor(
    old: str, new: str, expected: bool
) -> None:
    assert gate.raised(old, new) is expected


def _said(**changed: Any) -> dict[str, Any]:
    return {"x-overruled": {"since": "v1", "breaks": ["schema A", "client.A"], "because": "x", **changed}}


@pytest.mark.parametrize(
    ("found", "info", "wrong"),
    [
        ([], {}, ""),
        ([GONE], {"version": "2.0.0"}, ""),
        ([GONE], {}, 'breaks: ["schema A"]'),
        ([GONE, GONE, LOST], {}, '`since: v1`, `breaks: ["schema A", "client.A"]`'),
        ([GONE, LOST], _said(), ""),
        ([GONE, LOST], _said(breaks=["schema A"]), 'breaks: ["client.A"]'),
        ([GONE], _said(since="v0"), 'breaks: ["schema A"]'),
        ([GONE], _said(because=""), "info.x-overruled needs `since`"),
        ([GONE], _said(breaks="schema A"), "info.x-overruled needs `since`"),
        ([GONE], {"x-overruled": True}, "info.x-overruled needs `since`"),
    ],
)
def test_a_person_overrules_named_changes_since_one_release(
    found: list[Change], info: dict[str, Any], wrong: str
) -> None:
    said = gate.verdict(found, "v1", "1.0.0", {"version": "1.1.0", **info})
    assert wrong in said and bool(said) is bool(wrong)
