"""The examples of docs/testing.md run as a service's team would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"
*TESTS, SCRIPT = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
WRONG_NUMBER = TESTS[0].replace("requests(2)", "requests(1)")
LEAK = """
import logging

def test_a_leak(enkash_provider, enkash_leak_check):
    with enkash_leak_check:
        logging.getLogger("service").info("signed in: %s", enkash_provider.token().access_token)
"""
PLUGINS = {  # each one more takes seconds
    "anyio": "-p anyio",
    "asyncio": "-p pytest_asyncio.plugin -o asyncio_default_fixture_loop_scope=function -p xdist.plugin -n 2",
}


@pytest.fixture(scope="module", params=["anyio", pytest.param("asyncio", marks=pytest.mark.thorough)])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of a service's tests, with warnings as errors: the examples, and two that must fail."""
    folder = tmp_path_factory.mktemp("service")
    for number, text in enumerate([*TESTS, WRONG_NUMBER, LEAK]):  # a reader copies any of them alone
        (folder / f"test_{number}.py").write_text(text.replace("mark.anyio", f"mark.{request.param}"))
    command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-rA", "-p", "enkash_auth"]
    command += PLUGINS[request.param].split()
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def test_the_examples_pass(output: str) -> None:
    assert re.fullmatch("=* ?2 failed, 6 passed in .*", output.splitlines()[-1]), output


def test_a_failure_is_one_line_that_names_what_happened(output: str) -> None:
    assert "\nE       AssertionError: 2 token requests, not 1: 0.00 s, " in output
    told = r"\nE +AssertionError: the access token shows in a log record of 'service' \(test_\d.py:\d+\)\n"
    assert re.search(told, output), output
    assert "_traffic.py" not in output and "_leaks.py" not in output


def test_the_script_runs() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
