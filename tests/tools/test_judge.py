"""What counts as a change, what of it breaks callers, and which version follows."""

from pathlib import Path
from typing import Any

import pytest

import facts
import judge
from changes import Change, Level, compare
from codegen import GenerationError
from releasing import ROOT, git

CONTRACT = """
info: {version: 1.0.0}
paths:
  /a:
    post:
      operationId: a
      parameters: [{name: q, in: query}]
      requestBody: {required: true, content: {text/plain: {schema: {type: string}}}}
      responses: {'200': {content: {application/json: {schema: {$ref: '#/components/schemas/S'}}}}}
components: {x-note: text, examples: {e: {value: 1}}, schemas: {
  N: {enum: [c, d], x-enum-varnames: [A, B]}, E: {properties: {enum: {type: string}}}, S: {required: [x], properties: {
  x: {type: string}, y: {items: {type: integer}}, z: {enum: [a, b]}, w: {const: a}, v: {oneOf: [{type: string}]}}}}}
"""
CODE = """
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple, Protocol, TypeAlias, TypedDict, Unpack, overload
from enum import Enum
from attrs import define, field
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
    f: int = field(default=1, repr=False)
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
class _Lost(OSError): ...
class Gone(_Lost): ...
class Host(Protocol):
    def load(self, key: str) -> bytes: ...
class Pair(NamedTuple):
    one: int
class _Options(TypedDict, total=False):
    timeout: float
class Client:
    @classmethod
    def from_env(cls, **options: Unpack[_Options]) -> "Client": ...
    def __enter__(self) -> "Client": ...
    @property
    def size(self) -> int: ...
    @size.setter
    def size(self, size: int) -> None: ...
    @contextmanager
    def paused(self) -> Iterator[None]: ...
@overload
def read(a: int) -> int: ...
@overload
def read(a: str) -> str: ...
def read(a: object) -> object: ...
Key: TypeAlias = str
"""
X, QUERY, RISKY = "x: {type: string}", "[{name: q, in: query}", " (risky: any other value would be rejected)"
JSON, REF = "application/json:", "S'}}"
SENT, ANSWER = "requestBody.content.text/plain", "responses.200.content.application/"
# a part of the one or the other, what replaces it, and how the report's lines begin: with `!` where callers break
EDITS = [
    (X, f"{X}, description: {{type: string}}", ["schema S, properties.description added: string"]),
    (X, "x: {type: string, description: d}", []),
    (X, "x: {type: integer}", ["!schema S, properties.x changed: string → integer"]),
    (X, "x: {type: string, pattern: a}", ["!schema S, properties.x.pattern added: a"]),
    (X, "x: {type: string, deprecated: true}", ["schema S, properties.x.deprecated added: True"]),
    (X, "x: {type: string, enum: [a]}", [f"!schema S, properties.x.enum added: a{RISKY}"]),
    (X, f"{X}, new: {{enum: [a]}}", [f"schema S, properties.new added: ['a']{RISKY}"]),
    ("[a, b]", "[a]", [f"!schema S, properties.z.enum.'b' removed: b{RISKY}"]),
    ("[a, b]", "[a, b, c]", ["schema S, properties.z.enum.'c' added: c"]),
    ("[a, b]", "[a, b, null]", ["!schema S, properties.z.enum.None added: None"]),
    ("{enum: [a, b]}", "{}", ["!schema S, properties.z.enum removed: a, b"]),
    ("const: a", "const: b", [f"!schema S, properties.w.const changed: a → b{RISKY}"]),
    ("[{type: string}]", "[{type: string}, {}]", ["!schema S, properties.v.oneOf.1 added"]),
    ("required: [x]", "required: [x, y]", ["!schema S, required.'y' added: y"]),
    ("  /a:", '  "/`\\n\\e":', ["!POST /a removed", r"POST / \n\x1b added"]),  # one line, without marks of its own
    ("operationId: a", "tags: [x, y]\n      operationId: a", ["!POST /a, tags changed: default → x"]),
    ("operationId: a", "tags: [default, y]\n      operationId: a", []),
    (QUERY, f"{QUERY}, {{name: r, schema: {{$ref: '#/components/schemas/S'}}}}", ["POST /a, parameters.r added"]),
    (QUERY, f"{QUERY}, {{name: r, required: true}}", ["!POST /a, parameters.r added"]),
    (QUERY, f"{QUERY}, {{$ref: '#/components/schemas/S'}}", ["!POST /a, parameters.1 added"]),
    ("    post:", "    parameters: [{name: r, required: true}]\n    post:", ["!POST /a, path.parameters added"]),
    ("{'200'", "{'404': {description: d}, '200'", ["POST /a, responses.404 added"]),
    # of an answer's media types the client reads the first one
    (
        JSON,
        f"text/plain: {{}}, {JSON}",
        [f"!POST /a, {ANSWER}json changed", "POST /a, responses.200.content.text/plain"],
    ),
    (REF, f"{REF}, text/plain: {{}}", ["POST /a, responses.200.content.text/plain added"]),
    ("operationId: a", "tags: []\n      operationId: a", []),
    ("enum: {type", "enum: {pattern: a, type", ["!schema E, properties.enum.pattern added: a"]),
    ("[A, B]", "[B, A]", ["!schema N, x-enum-varnames.c changed: A → B", "!schema N, x-enum-varnames.d changed"]),
    ("[c, d]", "[d, c]", ["!schema N, x-enum-varnames.c changed: A → B", "!schema N, x-enum-varnames.d changed"]),
    (
        "[c, d], x-enum-varnames: [A, B]",
        "[c, d, e], x-enum-varnames: [A, B, C]",
        ["schema N, enum.'e' added: e", "schema N, x-enum-varnames.e added: C"],
    ),
    (
        "text/plain:",
        "a/json: {}, text/plain:",
        ["!POST /a, requestBody.content.a/json added", f"!POST /a, {SENT} changed"],
    ),
    ("string}}}}\n      resp", "string}}, a/json: {}}}\n      resp", ["!POST /a, requestBody.content.a/json added"]),
    ("value: 1", "value: 2", []),
    ("version: 1.0.0}\npaths:", "version: 2.0.0}\npaths:\n  x-note: text", []),
    ("a: int, *", "a: int, c: int, *", ["!p.m.call, (c) added: no. 2: int"]),
    ("a: int, *", "a: int, c: int = 0, *", ["p.m.call, (c) added: no. 2: int = 0"]),
    ("a: int, *", "c: int = 0, a: int = 0, *", ["!p.m.call, (a) changed: no. 1: int → no. 2", "p.m.call, (c) added"]),
    ("a: int, *", "*, a: int", ["!p.m.call, (a) changed: no. 1: int → int"]),
    ("a: int, *", "a: int, *c: int", ["p.m.call, (*c) added: int"]),
    ('b: str = "x") ->', 'b: str = "y") ->', ["!p.m.call, (b) changed: str = 'x' → str = 'y'"]),
    ("async def wait", "def wait", ["!p.m.wait, returns changed: async None → None"]),
    ("def call", "def called", ["!p.m.call removed", "p.m.called added"]),
    ("_private(a: int)", "_private(b: int)", []),
    ("    a: int\n", "    a: str\n", ["!p.m.Value, (a) changed: no. 1: int → no. 1: str", "!p.m.Value, .a changed"]),
    ("    _d: int", "    _g: int", ["!p.m.Value, (d) removed", "p.m.Value, (g) added: no. 4: int = 0"]),
    ("factory=list, ", "", ["!p.m.Value, (c) changed: list[int] = list → list[int]"]),
    ("repr=False", "repr=True", []),
    ('    A = "a"', '    A = "a"\n    B = "b"', ["p.m.Kind, .B added: = 'b'"]),
    ("inherited(self, a", "inherited(self, b", ["!p.m.Made.inherited, (a) removed", "!p.m.Made.inherited, (b) added"]),
    ("        self.a = a", "        ...", ["!p.m.Made, .a removed: attribute"]),
    ("def b(self) -> int", "def b(self) -> str", ["!p.m.Made, .b changed: int, read-only → str"]),
    ("Failed(ValueError)", "Failed(KeyError)", ["!p.m.Failed, base ValueError", "p.m.Failed, base KeyError added"]),
    ("a: int, *", "a: int, /, *", ["!p.m.call, (a) changed: no. 1: int → only no. 1: int"]),
    ("(_Lost)", "(_Base)", ["!p.m.Gone, base OSError removed", "p.m.Gone.inherited added"]),
    ("(_Lost)", "(_Lost, ValueError)", ["p.m.Gone, base ValueError added"]),
    (
        "def load(self, key: str",
        "def loads(self, *keys: str",
        [
            "!p.m.Host, implement load removed",
            "!p.m.Host, implement loads added: (*keys)",
            "!p.m.Host.load removed",
            "p.m.Host.loads added",
        ],
    ),
    (
        "key: str) -> bytes",
        "key: str, more: int = 0) -> bytes",
        ["!p.m.Host, implement load changed: (key) → (key), (more)", "p.m.Host.load, (more) added: no. 2: int = 0"],
    ),
    ("    one: int", "    one: int\n    two: int", ["!p.m.Pair, (two) added: no. 2: int", "p.m.Pair, .two added: int"]),
    (
        "    timeout: float",
        "    verify: bool",
        ["!p.m.Client.from_env, (timeout) removed: float = ...", "p.m.Client.from_env, (verify) added: bool = ..."],
    ),
    ("    @classmethod\n", "", ["!p.m.Client.from_env, @classmethod removed"]),
    ("    @contextmanager\n", "", ["!p.m.Client.paused, @contextmanager removed"]),
    ("class Value:\n", "class Value:\n    G: ClassVar[int] = 1\n", ["p.m.Value, .G added: int"]),
    ("class Client", "@_made\nclass Client", []),
    (
        "@define\n",
        "@define(kw_only=True)\n",
        ["!p.m.Value, @define removed", "!p.m.Value, @define(kw_only=True) added"],
    ),
    ("def paused", "@deprecated('x')\n    def paused", ["p.m.Client.paused, @deprecated('x') added"]),
    ("    def __enter__", "    def __repr__", ["!p.m.Client.__enter__ removed"]),
    (
        "    @size.setter\n    def size(self, size: int) -> None: ...\n",
        "",
        ["!p.m.Client, .size changed: int → int, read-only"],
    ),
    (
        "@overload\ndef read(a: int) -> int",
        "@overload\ndef read(a: int) -> str",
        ["!p.m.read, overload (a) no. 1: int changed: int → str"],
    ),
    ("@overload\ndef read(a: int) -> int: ...\n", "", ["!p.m.read, overload (a) no. 1: int removed: int"]),
    ("Key: TypeAlias = str", "Key: TypeAlias = bytes", ["!p.m, .Key changed: = str → = bytes"]),
    ("Callable[[int]", "Callable[[str]", ["!p.m, .Hook changed: = Callable[[int], None] → = Callable[[str], None]"]),
]
ONLY_VALUE = 'from ._m import Value\n__all__ = ["Value"]\n'
LACKS_A = ["!p.Value, (a) removed", *(f"!p.Value, ({name}) changed" for name in "bdf"), "!p.Value, .a removed"]
MODULES = [
    ({"_m": CODE.replace("def call", "def called")}, []),  # a private module counts by what is public of it
    ({"_m": CODE.replace("    a: int\n", "", 1)}, LACKS_A),
    ({"__init__": ONLY_VALUE.replace("_m", "_n"), "_n": CODE}, []),  # a public name may move
    ({"_m": CODE, "m": CODE}, ["p.m added"]),  # one line
]


def _package(root: Path, **modules: str) -> facts.Tree:
    (root / "p").mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (root / "p" / f"{name}.py").write_text(text, encoding="utf-8")
    return facts.of_python(root, "p")


def _assert_says(before: facts.Tree, after: facts.Tree, lines: list[str]) -> None:
    changes = compare(before, after)
    said = [one.line.replace("`", "").removeprefix("- ").replace("**breaks callers:** ", "!") for one in changes]
    assert [one for one, line in zip(said, lines, strict=True) if not one.startswith(line)] == []
    assert [one[0] == "!" for one in said] == [one.level is Level.MAJOR for one in changes]


@pytest.mark.parametrize(("old", "new", "lines"), EDITS)
def test_an_edit_is_judged(tmp_path: Path, old: str, new: str, lines: list[str]) -> None:
    if old in CONTRACT:
        _assert_says(*(facts.of_spec(facts.load(text)) for text in (CONTRACT, CONTRACT.replace(old, new, 1))), lines)
    else:
        assert old in CODE
        before = _package(tmp_path / "old", m=CODE)
        _assert_says(before, _package(tmp_path / "new", m=CODE.replace(old, new, 1)), lines)


def test_parameters_of_one_name_are_two() -> None:
    both = CONTRACT.replace(QUERY, f"{QUERY}, {{name: q, in: header}}")
    lines = ["!POST /a, parameters.q.0 removed", "!POST /a, parameters.q.1 removed", "POST /a, parameters.q added"]
    _assert_says(*(facts.of_spec(facts.load(text)) for text in (both, CONTRACT)), lines)


@pytest.mark.parametrize(("modules", "lines"), MODULES)
def test_only_public_paths_count(tmp_path: Path, modules: dict[str, str], lines: list[str]) -> None:
    before = _package(tmp_path / "old", __init__=ONLY_VALUE, _m=CODE)
    _assert_says(before, _package(tmp_path / "new", **{"__init__": ONLY_VALUE, **modules}), lines)


BROKEN = [
    ("a: [\nb: 1", "invalid YAML: line 2"),
    ("a: 2026-02-30", "invalid YAML: day "),
    (b"\xff\xfe\x00", "invalid YAML"),
    ("a: &a [*a]", "recursion"),
    ("paths: {/a: {get: }}", ": paths./a.get is not a mapping"),
    ("paths: {/a: {get: {operationId: aB}}, /b: {put: {operationId: a_b}}}", "'a_b' of 'PUT /b' is taken by 'GET /a'"),
    ("a: {$ref: '#/b/c~1d'}", r"document, a.\$ref '#/b/c~1d' names nothing"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_what_is_no_contract_is_refused_by_its_place(text: str | bytes, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        facts.load(text)
    assert facts.load("a: {examples: [{$ref: '#/b'}]}")  # that is no reference


@pytest.mark.parametrize("text", ["a: [{name: []}]", "a: {enum: 5, x-enum-varnames: [b]}", "a: {content: 5}"])
def test_what_the_generator_will_refuse_ends_in_no_traceback(text: str) -> None:
    trees = [facts.of_spec(facts.load(one)) for one in (text, "a: {content: {b: 1}}")]
    assert compare(*trees) and compare(*trees[::-1])
    assert facts.of_spec(facts.load("paths: {/a: {get: {tags: {b: c}}}}"))["GET /a"]["tags"] == "b"


GONE, LOST = (Change(Level.MAJOR, (owner,), "- x") for owner in ("schema A", "GET /"))
MORE, A = Change(Level.MINOR, ("schema B",), "- x"), '`breaks: ["schema A"]`'
BOTH = {"since": "v1", "breaks": ["schema A", "GET /"], "because": "x"}
RELEASES = [  # the changes, the spec's version before and after, a person's word, and what is wrong
    ([MORE], "1.1.0", "1.1.0", None, ""),
    ([GONE], "1.1.0", "2.0.0", None, ""),
    ([GONE], "1.1.0", "1.2.0", None, A),
    ([GONE], "0.1.0", "0.2.0", None, ""),  # below 1.0 a minor step is enough
    ([GONE], "0.1.0", "0.1.1", None, A),
    ([GONE, GONE, LOST], "1.1.0", "1.1.0", None, '`since: v1`, `breaks: ["schema A", "GET /"]`'),
    ([GONE, LOST], "1.1.0", "1.1.0", BOTH, ""),
    ([GONE, LOST], "1.1.0", "1.1.0", {**BOTH, "breaks": ["GET /"]}, A),
    ([GONE], "1.1.0", "1.1.0", {**BOTH, "since": "v0"}, A),
    ([GONE], "1.1.0", "1.1.0", {**BOTH, "because": ""}, A),
    ([GONE], "1.1.0", "1.1.0", {**BOTH, "breaks": "schema A"}, A),
]


@pytest.mark.parametrize(("found", "old", "new", "word", "wrong"), RELEASES)
def test_what_breaks_callers_needs_a_version_or_a_persons_word(
    found: list[Change], old: str, new: str, word: Any, wrong: str
) -> None:
    before, after = ({"info": info} for info in ({"version": old}, {"version": new, "x-overruled": word}))
    said = judge.verdict(found, before, after, "v1")
    assert wrong in said and bool(said) is bool(wrong)


def test_a_report_says_since_when_what_fits_and_the_largest_bump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [Change(Level.MINOR, ("a",), "- a"), Change(Level.PATCH, ("b",), "- b")]
    monkeypatch.setattr(judge, "contract", lambda *_: (changes, {}, {}))
    monkeypatch.setattr(judge, "type_errors", lambda _: ["x.py:1: error: e"])
    commit, listed = "commit --allow-empty -m one", "\n\n### The spec\n\n- a\n- b"
    for words, against, since, bump in (
        ("init", None, "is not known: no commit to compare with", "not known"),
        (commit, None, f"since the last commit, `HEAD`{listed}", "minor"),
        ("tag vendored", None, f"since the last commit, `HEAD`{listed}", "minor"),
        ("tag v1", None, f"since the last release, `v1`{listed}", "minor"),
        (commit, None, f"since the last release, `v1`{listed}", "minor"),
        (commit, "HEAD", f"since `HEAD`{listed}", "minor"),
    ):
        git(tmp_path, *words.split())
        text, sound = judge.report(tmp_path, against, client=True)
        assert text.startswith(f"## What changed {since}\n\n### Does") and not sound
        assert text.endswith(f"\n\n    x.py:1: error: e\n\n### Bump of the spec's `info.version`: {bump}")
    for wanted in ("nope", "--all", "HEAD:spec"):
        with pytest.raises(GenerationError, match="no commit"):
            judge.reference(tmp_path, wanted)


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n", "from .gone import x\n__all__ = ['x']\n"])
def test_python_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / judge.WRAPPER).mkdir(parents=True)
    (tmp_path / judge.WRAPPER / "__init__.py").write_text(text, encoding="utf-8")
    for words in ("init", "add .", "commit -m one"):
        git(tmp_path, *words.split())
    with pytest.raises(GenerationError, match=r"\Ano report: a Python file cannot be read: [^\n]*\Z"):
        judge.wrapper(tmp_path, "HEAD")


def test_what_an_error_says_is_part_of_the_api() -> None:
    said = facts.of_python(ROOT / judge.WRAPPER.parent, judge.WRAPPER.name)["enkash_auth.errors.RefusedError"]
    assert {".retry_after", ".row", ".passwords", ".status", ".error"} <= said.keys()
