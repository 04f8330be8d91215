"""The pages' examples run, what they list is complete, and a dead link is found."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import enkash_auth
from docsite import dead_links, dead_mentions, lost_pages
from enkash_auth import errors
from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.outcome import Limit, Refused, Unavailable
from enkash_auth._settings.environment import SETTINGS
from enkash_auth.events import Kind
from enkash_auth.testing import Sandbox

WALL = """<meta http-equiv="Content-Security-Policy" content="default-src 'self'; img-src data:">"""
DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def programs(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


@pytest.mark.parametrize(("number", "printed"), [(0, "again: True - token requests: 1"), (1, "200 {'ok': True}")])
def test_each_program_of_the_quick_start_runs_by_itself(number: int, printed: str, tmp_path: Path) -> None:
    script = tmp_path / "first.py"
    script.write_text(programs("index")[number])
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert printed in done.stdout and not done.stderr


def test_the_fleets_example_runs(enkash_sandbox: Sandbox, tmp_path: Path) -> None:
    program = programs("fleet")[0].replace("/var/lib/service/enkash", str(tmp_path / "store"))
    for _ in range(2):
        scope: dict[str, Any] = {}
        exec(program, scope)
        with scope["provider"] as provider:
            provider.token()
    enkash_sandbox.assert_token_requests(1)


def test_every_setting_is_listed() -> None:
    others = {"ORIGINS", "TOKEN_STORE", "PROFILE", "CONFIG", "SECRETS_DIR", "ATTEMPTS"}
    rows = re.findall(r"^\| `ENKASH_(\w+)` \|", page("settings"), re.MULTILINE)
    assert set(rows) == {name.upper() for name in SETTINGS} | others


def test_every_event_is_listed() -> None:
    assert [kind for kind in get_args(Kind) if f"`{kind}`" not in page("engine")] == []


def test_every_public_name_has_its_place() -> None:
    named = re.findall(r"^::: ([\w.]+)", page("api"), re.MULTILINE)
    assert {f"enkash_auth.{name}" for name in enkash_auth.__all__} <= set(named)


def test_every_error_is_explained() -> None:
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [name for name in names if f"`{name}`" not in page("errors").replace("enkash_auth.errors.", "")] == []


def test_the_runbook_quotes_the_refusal_and_the_longest_pause() -> None:
    refusal = Refused(400, "invalid_grant", True, "token.example", Limit("clear", 1, None))
    assert f"`{refusal.to_exception()}`" in " ".join(page("errors").split())
    backoff = Backoff()
    for _ in range(20):
        backoff = backoff.failed(Unavailable("", ""), 0.0, 1.0)
    assert f"{backoff.until:.0f} s at most" in page("errors")


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<a href="b/">', []),
        ('<a href="b/#here">', []),
        ('<a href="#top"><p id="top">', []),
        ('<a href="https://elsewhere.example/">', []),
        ('<link rel="canonical" href="https://docs.example/">', []),
        ('<a href="c/">', ["index.html links to c/; that is missing"]),
        ('<img src="b/plot.svg#gh-dark-mode-only">', []),
        ('<img src="gone.png">', ["index.html links to gone.png; that is missing"]),
        ('<script src="https://cdn.example/x.js">', ["index.html loads https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', ["index.html loads //cdn.example/x.css"]),
    ],
)
def test_a_dead_or_foreign_link_is_found(html: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text(WALL + '<p id="here">')
    (tmp_path / "b" / "plot.svg").touch()
    (tmp_path / "index.html").write_text(WALL + html)
    assert dead_links(tmp_path) == found


def test_a_page_has_a_policy_and_a_stylesheet_loads_nothing_foreign(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    (tmp_path / "x.css").write_text('@import "//a.example/y"; p {src: url(https://b.example/f.woff2), url(./own)}')
    assert sorted(dead_links(tmp_path)) == [
        "index.html has no Content-Security-Policy",
        "x.css loads //a.example/y",
        "x.css loads https://b.example/f.woff2",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`tools/x.py` and `tools/`", []),
        ("`other/y.py`", []),
        ("[a](docs/a.md#here)", []),
        ("`tools/gone.py`", ["README.md names tools/gone.py; that is missing"]),
        ("[b](docs/b.md)", ["README.md links to docs/b.md; that is missing"]),
        ("[a](docs/a.md#gone)", ["README.md links to docs/a.md#gone, where #gone is missing"]),
    ],
)
def test_a_dead_mention_is_found(text: str, found: list[str], tmp_path: Path) -> None:
    for name, content in {"tools/x.py": "", "docs/a.md": "", "README.md": text}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "site" / "a").mkdir(parents=True)
    (tmp_path / "site" / "a" / "index.html").write_text('<h2 id="here">')
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert dead_mentions(tmp_path, tmp_path / "site") == found


def test_a_page_without_a_place_is_found_and_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "zensical.toml").write_text('[project]\nnav = [{ "A" = "a.md" }, { "More" = [{ "B" = "b.md" }] }]')
    (tmp_path / "docs").mkdir()
    for name in "abc":
        (tmp_path / "docs" / f"{name}.md").touch()
    assert lost_pages(tmp_path) == ["docs/c.md needs a line in the nav of zensical.toml"]
    assert lost_pages(DOCS.parent) == []


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_reports_an_old_interpreter_in_one_line(tmp_path: Path) -> None:
    shutil.copy(DOCS.parent / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "nox.txt").touch()
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10, 0); $2"\n')
    old.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, env=env, capture_output=True, text=True)
    said = f"Python 3.11 or later is needed, and {old} is 3.10: say make PYTHON=python3.11"
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, said)
    assert not (tmp_path / ".venv").exists()
