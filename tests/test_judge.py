"""What counts as a change, what of it breaks callers, and which version bump follows: tables, no generator."""

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
from changes import Change, Level, bump, code, line
from judge import JudgementError, reference, render

MAJOR, MINOR, PATCH = Level.MAJOR, Level.MINOR, Level.PATCH


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], Level.NONE), ([PATCH], PATCH), ([MINOR, MAJOR, PATCH], MAJOR)],
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
    change = Change(MAJOR, "p.C", "(x)", "changed", "int", "str")
    assert line(change) == "- **breaks callers:** `p.C`, `(x)` changed: `int` → `str`"


Q = {"name": "q", "in": "query", "schema": {"type": "string"}}
R = {"name": "r", "required": True}
SPEC: dict[str, Any] = {
    "info": {"version": "1.0.0"},
    "paths": {
        "/a": {
            "post": {
                "operationId": "a",
                "parameters": [Q],
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
        (FIELDS, "z", {"type": "string"}, [(MINOR, "schema S", "properties.z", "added")]),
        (FIELDS, "y", None, [(MAJOR, "schema S", "properties.y", "removed")]),
        (FIELDS, "x", {"type": "integer"}, [(MAJOR, "schema S", "properties.x.type", "changed")]),
        (FIELDS, "y", {"type": "array", "items": {}}, [(MAJOR, "schema S", "properties.y.items.type", "removed")]),
        (FIELDS, "x", {"type": "string", "enum": ["a"]}, [(MAJOR, "schema S", "properties.x.enum", "added")]),
        (FIELDS[:-1], "required", [], [(MAJOR, "schema S", "required.'x'", "removed")]),
        (FIELDS[:-1], "required", ["x", "y"], [(MAJOR, "schema S", "required.'y'", "added")]),
        (FIELDS, "description", {"type": "string"}, [(MINOR, "schema S", "properties.description", "added")]),
        (FIELDS, "x", {"type": "string", "description": "d"}, [(PATCH, "document", "", "prose")]),
        (("paths",), "/a.b", {"get": {"responses": {}}}, [(MINOR, "GET /a.b", "", "added")]),
        (("paths",), "/a", {}, [(MAJOR, "POST /a", "", "removed")]),
        (OPERATION, "operationId", "b", [(MAJOR, "POST /a", "operationId", "changed")]),
        (OPERATION, "security", [{"k": []}], [(MINOR, "POST /a", "security", "added")]),
        (OPERATION, "parameters", None, [(MAJOR, "POST /a", "parameters", "removed")]),
        (OPERATION, "parameters", [Q, {"name": "r"}], [(MINOR, "POST /a", "parameters.r", "added")]),
        (OPERATION, "parameters", [Q, R], [(MAJOR, "POST /a", "parameters.r", "added")]),
        (OPERATION, "parameters", [Q, {"$ref": "#/info"}], [(MAJOR, "POST /a", "parameters.1", "added")]),
        (("paths", "/a"), "parameters", [R], [(MAJOR, "/a", "parameters", "added")]),
        (("paths", "/a"), "parameters", [Q], [(MINOR, "/a", "parameters", "added")]),
        (OPERATION, "tags", ["x", "y"], [(MAJOR, "POST /a", "tags", "added")]),
        (FIELDS, "x", {"type": "string", "nullable": True}, [(MAJOR, "schema S", "properties.x.nullable", "added")]),
        (FIELDS[:-1], "title", "T", [(MAJOR, "schema S", "title", "added")]),
        (FIELDS[:-1], "allOf", [{"$ref": "#/info"}], [(MAJOR, "schema S", "allOf", "added")]),
        (FIELDS[:-1], "anyOf", [{}, {}], [(MAJOR, "schema S", "anyOf", "added")]),
        ((*OPERATION, "requestBody", "content"), "text/plain", None, [
            (MAJOR, "POST /a", "requestBody.content.text/plain", "removed"),
        ]),
        ((*OPERATION, "responses"), "404", {"description": "d"}, [(MINOR, "POST /a", "responses.404", "added")]),
        ((), "servers", [{"url": "https://a.example"}], [(MINOR, "document", "servers", "added")]),
        ((), "info", {"version": "2.0.0"}, [(PATCH, "document", "info.version", "changed")]),
    ],
)  # fmt: skip
def test_an_edit_of_the_spec_is_named(path: tuple[str, ...], name: str, value: object, expected: list[Any]) -> None:
    found = spec_facts.changes(_edited((), "info", {"version": "1.0.0"}), _edited(path, name, value))
    found = [change for change in found if change.item != "info" or name == "info"]
    assert [(c.level, c.owner, c.item) for c in found] == [row[:3] for row in expected]
    assert all(row[3] in c.what for c, row in zip(found, expected, strict=True))


def test_a_first_parameter_breaks_callers_if_it_is_required() -> None:
    for required, level in ((True, MAJOR), (False, MINOR)):
        new = _edited(OPERATION, "parameters", [{**Q, "required": required}])
        (change,) = spec_facts.changes(_edited(OPERATION, "parameters", None), new)
        assert (change.level, change.item) == (level, "parameters")


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [(("paths",), "/b", {"get": None}), (("components",), "parameters", None), (("components",), "x-note", "text")],
)
def test_what_is_begun_and_still_empty_is_read(path: tuple[str, ...], name: str, value: object) -> None:
    before = _edited((), "info", SPEC["info"])
    after = _edited(path, name, value) if value else _edited(path, name, {}).replace(f"{name}: {{}}", f"{name}:")
    assert bump(spec_facts.changes(before, after)) < MAJOR


def test_the_first_tag_is_a_name_in_the_client() -> None:
    old, more, moved = (_edited(OPERATION, "tags", tags) for tags in (["x"], ["x", "y"], ["y", "x"]))
    assert [(c.level, c.item) for c in spec_facts.changes(old, more)] == [(MINOR, "tags.'y'")]
    assert [(c.level, c.item, c.new) for c in spec_facts.changes(old, moved)] == [(MAJOR, "tags", "y")]


def test_another_shape_of_an_answer_breaks_whoever_reads_it() -> None:
    old, new = (_edited(FIELDS, "x", {"oneOf": [{"type": kind} for kind in kinds]}) for kinds in (["a"], ["a", "b"]))
    assert [(c.level, c.item) for c in spec_facts.changes(old, new)] == [(MAJOR, "properties.x.oneOf.1")]


def _x(field: object) -> str:
    return _edited(FIELDS, "x", field)


@pytest.mark.parametrize(
    ("old", "new", "item"),
    [
        (_x({"type": "string"}), _x({"type": "string", "enum": ["a"]}), "properties.x"),
        (_x({"type": "string"}), _x({"type": "string", "const": "a"}), "properties.x"),
        (_x({"const": "a"}), _x({"const": "b"}), "properties.x"),
        (_x({"enum": ["a", "b"]}), _x({"enum": ["a"]}), "properties.x"),
        (_x({}), _edited(FIELDS, "new", {"enum": ["a"]}), "properties.new"),
        (_x({"items": {}}), _x({"items": {"enum": [1]}}), "properties.x.items"),
        (_x({"enum": ["a"]}), _x({"enum": ["a", "b"]}), None),
        (_x({"enum": ["a"]}), _x({"enum": ["a"]}), None),
        (_x({"enum": ["a"]}), _x({}), None),
        (_x({}), _edited((*OPERATION, "requestBody", "content", "text/plain", "schema"), "enum", ["a"]), None),
        ("", _x({"enum": ["a"]}), None),
    ],
)
def test_a_newly_closed_set_of_values_in_an_answer_is_risky(old: str, new: str, item: str | None) -> None:
    assert [change.item for change in spec_facts.risks(old, new)] == [item] * (item is not None)


def test_what_only_requests_hold_is_no_risk() -> None:
    sent = copy.deepcopy(SPEC)
    sent["components"]["schemas"]["Sent"] = {"type": "string"}
    sent["paths"]["/a"]["post"]["requestBody"]["content"]["text/plain"]["schema"] = {
        "$ref": "#/components/schemas/Sent"
    }
    old = spec_facts.yaml.safe_dump(sent)
    sent["components"]["schemas"]["Sent"]["enum"] = ["a"]
    assert spec_facts.risks(old, spec_facts.yaml.safe_dump(sent)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\nb: 1", "invalid YAML: line 2"),
        ("a: \x01", "invalid YAML"),
        ("a: 2026-02-30", "invalid YAML: day "),
        ("- a", "not a mapping"),
        ("a: &a [*a]", "nested"),
        (
            "paths: {/a: {get: {operationId: getA}}, /b: {put: {operationId: get_a}}}",
            "get_a.* of 'put /b' is taken by 'get /a'",
        ),
        ("a: {$ref: '#/b/c~1d'}", r"#/a: \$ref '#/b/c~1d' names nothing"),
    ],
)
def test_what_is_no_document_is_refused_by_its_place(text: str, message: str) -> None:
    with pytest.raises(spec_facts.SpecError, match=message):
        spec_facts.load(text)


def test_what_an_example_holds_is_no_reference() -> None:
    assert spec_facts.load("a: {examples: [{$ref: '#/b'}]}")


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


def _package(root: Path, **modules: str) -> Path:
    (root / "p").mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (root / "p" / f"{name}.py").write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a: int, *", "a: int, c: int, *", [(MAJOR, "p.m.call", "(c)", "added, and required")]),
        ("a: int, *", "a: int, c: int = 0, *", [(MINOR, "p.m.call", "(c)", "added")]),
        ("a: int, *", "c: int = 0, a: int = 0, *", [
            (MAJOR, "p.m.call", "(a)", "changed"),
            (MINOR, "p.m.call", "(c)", "added"),
        ]),
        ("a: int, *, b", "a: int, b", [(MAJOR, "p.m.call", "(b)", "changed")]),
        ("a: int, *", "*, a: int", [(MAJOR, "p.m.call", "(a)", "changed")]),
        ('*, b: str = "x"', "", [(MAJOR, "p.m.call", "(b)", "removed")]),
        ('b: str = "x") ->', 'b: str = "y") ->', [(MAJOR, "p.m.call", "(b)", "changed")]),
        ('"x") -> int', '"x") -> str', [(MAJOR, "p.m.call", "returns", "changed")]),
        ("async def wait", "def wait", [(MAJOR, "p.m.wait", "returns", "changed")]),
        ("def call", "def called", [(MAJOR, "p.m.call", "", "removed"), (MINOR, "p.m.called", "", "added")]),
        ("_private(a: int)", "_private(b: int)", [(PATCH, "p", "", "inside")]),
        ("    a: int\n", "    a: str\n", [
            (MAJOR, "p.m.Value", "(a)", "changed"),
            (MAJOR, "p.m.Value", ".a", "changed"),
        ]),
        ("    _d: int = 0\n", "    _d: int = 0\n    z: int = 0\n", [
            (MINOR, "p.m.Value", "(z)", "added"),
            (MINOR, "p.m.Value", ".z", "added"),
        ]),
        ("    _d: int", "    _f: int", [(MAJOR, "p.m.Value", "(d)", "removed"), (MINOR, "p.m.Value", "(f)", "added")]),
        ("    e: int", "    e: str", [(MAJOR, "p.m.Value", ".e", "changed")]),
        ("factory=list, ", "", [(MAJOR, "p.m.Value", "(c)", "changed")]),
        ('    A = "a"', '    A = "a"\n    B = "b"', [(MINOR, "p.m.Kind", ".B", "added")]),
        ('    A = "a"', '    A = "b"', [(MAJOR, "p.m.Kind", ".A", "changed")]),
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
        ("Callable[[int]", "Callable[[str]", [(MAJOR, "p.m", ".Hook", "changed")]),
        ('TypeVar("T")', 'TypeVar("T", bound=int)', [(PATCH, "p", "", "inside")]),
    ],
)  # fmt: skip
def test_an_edit_of_the_code_is_judged(tmp_path: Path, old: str, new: str, expected: list[Any]) -> None:
    assert old in BASE
    before = _package(tmp_path / "old", m=BASE)
    after = _package(tmp_path / "new", m=BASE.replace(old, new, 1))
    found = api_facts.changes(before, after, "p")
    assert sorted((c.level, c.owner, c.item) for c in found) == sorted(row[:3] for row in expected)
    whats = {(c.owner, c.item): c.what for c in found}
    assert all(what in whats[owner, item] for _, owner, item, what in expected)


ONLY_VALUE = 'from .{} import Value\n__all__ = ["Value"]\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # a private module counts by what is public of it
        ({"_m": BASE}, {"_m": BASE.replace("    a: int\n", "").replace("def call", "def called")}, {"p.Value"}),
        ({"_m": BASE}, {"_n": BASE}, set()),  # a public name may move
    ],
)
def test_only_public_paths_count(tmp_path: Path, old: Any, new: Any, expected: set[str]) -> None:
    trees = [
        _package(tmp_path / name, __init__=ONLY_VALUE.format(*modules), **modules)
        for name, modules in (("old", old), ("new", new))
    ]
    assert {change.owner for change in api_facts.changes(*trees, "p") if change.level is MAJOR} == expected


def test_a_new_module_is_one_line(tmp_path: Path) -> None:
    before, after = _package(tmp_path / "old"), _package(tmp_path / "new", m=BASE)
    assert [(c.level, c.owner) for c in api_facts.changes(before, after, "p")] == [(MINOR, "p.m")]
    assert bump(api_facts.changes(tmp_path, after, "p")) is MINOR  # the package itself is new


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


def test_a_report_names_what_changed_what_does_not_fit_and_the_bump() -> None:
    text = render("since v1", "The spec", [Change(MINOR, "o", "i", "added")], ["wrapper/x.py:1: error: e"], [])
    assert "\n- `o`, `i` added\n" in text
    assert "\n    wrapper/x.py:1: error: e\n" in text
    assert text.endswith("Bump of the spec's `info.version`: minor\n")
    assert "`: not known" in render(None, "The spec", [], [], [])


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
