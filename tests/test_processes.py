"""Real processes on real stores: whatever happens to them, they send one token request."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from crowd import TIMEOUT, Crowd
from enkash_auth.testing import Sandbox
from test_lifecycle import FORKS, HEADER
from valkey_server import Valkey

pytestmark = pytest.mark.once
CROWD = 20
Start = Callable[..., Crowd]


@pytest.fixture(params=["file", pytest.param("valkey", marks=pytest.mark.thorough)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/store"
        return
    with Valkey() as server:
        yield server.url


@pytest.fixture
def askers(tmp_path: Path) -> Path:
    """Who has sent a token request."""
    return tmp_path / "askers"


@pytest.fixture
def start(url: str, askers: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(sandbox: Sandbox, count: int = CROWD, method: str = "fork", **settings: str) -> Crowd:
            own = {"ENKASH_TOKEN_STORE": url, "CROWD_ASKERS": str(askers), **settings}
            environment = {**os.environ, **sandbox.environment(), **own}
            crowd = stack.enter_context(closing(Crowd({"": sandbox.base_url}, environment)))
            crowd.order(start=count, method=method)
            return crowd

        yield start


def tokens(answers: list[Any]) -> set[str]:
    return {got for _, got, _ in answers}


@pytest.mark.parametrize("method", ["fork", pytest.param("preload", marks=pytest.mark.thorough)])
def test_20_processes_cost_one_request_at_the_start_and_one_at_expiry(start: Start, method: str) -> None:
    with Sandbox(life=3, latency=0.2) as sandbox:
        crowd = start(sandbox, method=method)
        first = crowd.order(ask=0)
        assert len(first) == CROWD
        assert len(tokens(first)) == sandbox.token_requests == 1
        threading.Event().wait(3.5)
        second = crowd.order(ask=0)
        assert len(tokens(second)) == 1
        assert tokens(second) != tokens(first)
        assert sandbox.token_requests == 2


def test_spawned_processes_share_a_token(start: Start) -> None:
    with Sandbox(latency=0.2) as sandbox:
        assert len(tokens(start(sandbox, 3, "spawn").order(ask=0))) == sandbox.token_requests == 1


def test_a_holder_that_is_killed_in_its_grant_costs_its_lease_and_one_request(start: Start, askers: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.fail_next("slow", seconds=60.0)
        crowd = start(sandbox)
        crowd.send(ask=0)
        while not (askers.exists() and askers.read_text().endswith("\n")):
            threading.Event().wait(0.001)
        holder = int(askers.read_text().split()[0])
        while not sandbox.token_requests:  # its request is on its way
            threading.Event().wait(0.001)
        os.kill(holder, signal.SIGKILL)
        answers = crowd.answers()
        assert len(answers) == CROWD - 1
        assert len(tokens(answers)) == 1
        assert "Error" not in tokens(answers).pop()
        assert max(seconds for _, _, seconds in answers) < TIMEOUT
        assert sandbox.token_requests == 2


def test_20_processes_with_a_wrong_password_are_one_attempt(start: Start) -> None:
    with Sandbox(latency=0.2) as sandbox:
        crowd = start(sandbox, ENKASH_PASSWORD="wrong")
        assert tokens(crowd.order(ask=0)) == tokens(crowd.order(ask=0)) == {"RefusedError"}
        assert sandbox.attempts_refused == 1


RESTARTS = """
TokenProvider.from_env().close()  # loads all that the processes need
for _ in range(10):
    if os.fork() == 0:
        try:
            TokenProvider.from_env().token()
        except Exception as error:
            print(type(error).__name__, flush=True)
        os._exit(0)
    os.wait()
"""
FLIGHT = """
provider = TokenProvider.from_env()
before = set(sys.modules)
provider.token()
print(sorted(set(sys.modules) - before))
"""


def run(url: str, sandbox: Sandbox, script: str, *arguments: str, **settings: str) -> str:
    environment = {**os.environ, **sandbox.environment(), "ENKASH_TOKEN_STORE": url, **settings}
    command = [sys.executable, "-c", HEADER + script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.thorough
def test_a_process_restarted_ten_times_with_a_wrong_password_is_one_attempt(url: str) -> None:
    with Sandbox() as sandbox:
        assert run(url, sandbox, RESTARTS, ENKASH_PASSWORD="wrong") == 10 * "RefusedError\n"
        assert sandbox.attempts_refused == 1


def test_a_sign_in_through_a_store_imports_nothing(url: str) -> None:
    with Sandbox() as sandbox:
        assert run(url, sandbox, FLIGHT) == "[]\n"


def test_a_child_forked_at_any_moment_of_a_sign_in_shares_its_parents_token(url: str) -> None:
    stores = url.replace("db=0", "db={}") if "db=" in url else url + "{}"
    with Sandbox(latency=0.1, sticky=False) as sandbox:
        tokens = run(url, sandbox, FORKS, stores, "0", "0.003", "0.03", "0.1", "0.2").split()
        assert tokens[::2] == tokens[1::2]
        assert len(set(tokens)) == sandbox.token_requests == 5
