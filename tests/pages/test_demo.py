"""The demo: both servers side by side, without progress in a pipe."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from enkash_auth import Credentials


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = importlib.util.spec_from_file_location("demo", Path(__file__).parents[2] / "examples" / "demo.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "SECONDS", 1)
    monkeypatch.setenv("ENKASH_ATTEMPTS", "off")
    return module


def test_a_pipe_gets_both_servers_and_no_progress(demo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    said = capsys.readouterr().out
    assert re.findall(r"^(FRESH|STICKY):", said, re.MULTILINE) == ["FRESH", "STICKY"]
    rows = re.findall(r"^  (\w+) .*  (\d.*)$", said, re.MULTILINE)
    assert [name for name, _ in rows] == ["calls", "token", "requests", "waiting"] * 2
    assert [text for name, text in rows if name == "calls"] == ["80 calls, none failed"] * 2
    assert max(map(len, said.splitlines())) < 80 and "\r" not in said


def test_a_terminal_sees_progress_and_a_failed_call_is_counted_and_named(
    demo: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(demo.Sandbox, "credentials", lambda self: Credentials(self.base_url, *"abcd"))
    assert demo.main() == 1
    said = capsys.readouterr().out
    assert "\r" in said and "80 calls, 80 failed" in said and "RefusedError" in said
    assert max(map(len, re.split(r"\n|\r\033\[K", said))) < 80


@pytest.mark.parametrize(("number", "said"), [(0, "no call"), (1, "1 call"), (2, "2 calls"), (1920, "1,920 calls")])
def test_one_is_singular(demo: Any, number: int, said: str) -> None:
    assert demo.count(number, "call") == said
