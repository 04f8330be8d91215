"""Real processes on real stores: whatever happens to them, they send one token request."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crowd import TIMEOUT, Crowd
from enkash_auth.testing import Sandbox
from test_lifecycle import FORKS, HEADER
from valkey_server import Valkey

THOROUGH = pytest.mark.thorough
CROWD = 20
SIZES = {"fork": CROWD, "preload": CROWD, "spawn": 3}  # a spawned process costs a second
FLIGHT = """
provider = TokenProvider.from_env()
before = set(sys.modules)
provider.token()
print(sorted(set(sys.modules) - before))
"""


@pytest.fixture(params=["file", pytest.param("valkey", marks=THOROUGH)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/store"
        return
    with Valkey() as server:
        yield server.url


def environment(url: str, sandbox: Sandbox, **more: str) -> Mapping[str, str]:
    return {**os.environ, **sandbox.environment(), "ENKASH_TOKEN_STORE": url, **more}


def tokens(answers: list[Any]) -> set[str]:
    return {got for _, got, _ in answers}


@pytest.mark.parametrize("method", ["fork", *(pytest.param(one, marks=THOROUGH) for one in ("preload", "spawn"))])
def test_processes_cost_one_request_at_the_start_one_at_expiry_and_one_if_refused(url: str, method: str) -> None:
    with Sandbox(life=3, latency=0.2) as sandbox, Sandbox(latency=0.2) as foreign:
        worlds = {"": sandbox.base_url, "that refuses": foreign.base_url}
        with closing(Crowd(worlds, environment(url, sandbox))) as crowd:
            crowd.order(start=SIZES[method], method=method)
            first = crowd.order(ask=0)
            threading.Event().wait(3.5)
            second = crowd.order(ask=0)
        assert len(first) == len(second) == 2 * SIZES[method]
        assert tokens(first) & tokens(second) == {"RefusedError"}
        assert len(tokens(first)) == len(tokens(second)) == sandbox.token_requests == 2
        assert foreign.token_requests == 1


def test_a_holder_that_is_killed_in_its_grant_costs_its_lease_and_one_request(url: str, tmp_path: Path) -> None:
    askers = tmp_path / "askers"  # who has sent a token request
    with Sandbox() as sandbox:
        sandbox.fail_next("slow", seconds=60.0)
        with closing(Crowd({"": sandbox.base_url}, environment(url, sandbox, CROWD_ASKERS=str(askers)))) as crowd:
            crowd.order(start=CROWD)
            crowd.send(ask=0)
            while not (askers.exists() and askers.read_text().endswith("\n") and sandbox.token_requests):
                threading.Event().wait(0.001)  # until its request is on its way
            os.kill(int(askers.read_text().split()[0]), signal.SIGKILL)
            answers = crowd.answers()
        (token,) = tokens(answers)
        assert (len(answers), "Error" in token, sandbox.token_requests) == (CROWD - 1, False, 2)
        assert max(seconds for _, _, seconds in answers) < TIMEOUT


def run(url: str, sandbox: Sandbox, script: str, *arguments: str) -> str:
    command, env = [sys.executable, "-c", HEADER + script, *arguments], environment(url, sandbox)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_sign_in_through_a_store_imports_nothing(url: str) -> None:
    with Sandbox() as sandbox:
        assert run(url, sandbox, FLIGHT) == "[]\n"


def test_a_child_forked_at_any_moment_of_a_sign_in_shares_its_parents_token(url: str) -> None:
    stores = url.replace("db=0", "db={}") if "db=" in url else url + "{}"
    with Sandbox(latency=0.1, sticky=False) as sandbox:
        tokens = run(url, sandbox, FORKS, stores, "0", "0.003", "0.03", "0.1", "0.2").split()
        assert tokens[::2] == tokens[1::2]
        assert len(set(tokens)) == sandbox.token_requests == 5
