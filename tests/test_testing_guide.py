"""The examples of docs/testing.md run as a service's team would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Each starts a pytest of its own, with plugins that the interpreter's version is nothing to.
pytestmark = pytest.mark.once

GUIDE = Path(__file__).parents[1] / "docs" / "testing.md"
*TESTS, SCRIPT = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
LEAK = """
def test_a_leak(enkash_provider, enkash_leak_check):
    with enkash_leak_check:
        logging.getLogger("service").info("signed in: %s", enkash_provider.token().access_token)
"""


def run_pytest(folder: Path, text: str, *plugins: str, more: tuple[str, ...] = ()) -> str:
    """Run a service's test file with these plugins (each one more takes seconds) and warnings as errors."""
    (folder / "test_service.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-rA", *more]
    for plugin in ("enkash_auth", *plugins):
        command += ["-p", plugin]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60).stdout


ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.mark.parametrize(
    ("mark", "plugins", "more"),
    [
        ("anyio", ("anyio",), ()),
        pytest.param(
            "asyncio", ("pytest_asyncio.plugin", "xdist.plugin"), (*ASYNCIO, "-n", "2"), marks=pytest.mark.thorough
        ),
    ],
    ids=["anyio", "asyncio-xdist"],
)
def test_the_examples_pass(tmp_path: Path, mark: str, plugins: tuple[str, ...], more: tuple[str, ...]) -> None:
    for number, text in enumerate(TESTS):  # a reader copies any of them alone
        (tmp_path / f"test_{number}.py").write_text(text.replace("mark.anyio", f"mark.{mark}"))
    output = run_pytest(tmp_path, "", *plugins, more=more)
    assert re.fullmatch("=* ?6 passed in .*", output.splitlines()[-1]), output


def test_a_failure_is_one_line_that_names_what_happened(tmp_path: Path) -> None:
    text = f"import logging\n{TESTS[0].replace('requests(2)', 'requests(1)')}{LEAK}"
    output = run_pytest(tmp_path, text)
    assert "\nE       AssertionError: 2 token requests, not 1: 0.00 s, " in output
    told = r"\nE +AssertionError: the access token shows in a log record of 'service' \(test_service.py:\d+\)\n"
    assert re.search(told, output), output
    assert "_traffic.py" not in output
    assert "_leaks.py" not in output


def test_the_script_runs() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
