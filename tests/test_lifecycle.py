"""Real threads, loops, signals and processes around one provider."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Clock, Server, failure, issued
from enkash_auth import Token, TokenProvider
from enkash_auth.testing import Sandbox

Run = Callable[..., "subprocess.Popen[str]"]
PIPES: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
HEADER = """
import os, sys, threading, time, warnings
from enkash_auth import TokenProvider
warnings.simplefilter("ignore", DeprecationWarning)  # os.fork() beside threads, as of Python 3.12
provider = TokenProvider.from_env()
"""


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    """Start a script beside a sandbox; what the test sets in the environment comes first."""

    def start(sandbox: Sandbox, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HEADER + textwrap.dedent(script), *arguments]
        env = {**sandbox.environment(), **os.environ}
        return subprocess.Popen(command, env=env, text=True, **PIPES)

    return start


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


def test_a_child_forked_at_any_moment_of_a_sign_in_has_a_token(run: Run) -> None:
    script = """
        for delay in (0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2):
            parent = os.fork()  # a process that has never signed in
            if parent == 0:
                provider = TokenProvider.from_env()
                leader = threading.Thread(target=provider.token)
                leader.start()
                time.sleep(delay)
                child = os.fork()
                token = provider.token()
                os.write(1, (token.access_token + "\\n").encode())  # whole, where two processes write
                if child == 0:
                    os._exit(0)
                leader.join()
                os._exit(os.waitpid(child, 0)[1] != 0)
            assert os.waitpid(parent, 0)[1] == 0, delay
    """
    with Sandbox(latency=0.1) as sandbox:
        tokens = finish(run(sandbox, script)).split()
    assert len(tokens) == 2 * 8
    assert sandbox.token_requests == 2 * 8  # parent and child


def test_a_sign_in_imports_nothing(run: Run) -> None:
    """A child forked while its parent imports finds half-made modules."""
    script = """
        for line in sys.stdin:
            child = os.fork()  # a process that has never signed in
            if child == 0:
                provider = TokenProvider.from_env()
                before = set(sys.modules)
                try:
                    provider.token()
                except Exception:
                    pass
                print(sorted(set(sys.modules) - before), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
    """
    with Sandbox() as sandbox:
        process = run(sandbox, script)
        assert process.stdin and process.stdout
        for fault in ("", "html_502", "rate_limited", "raw"):
            if fault:
                sandbox.end_outage()
                sandbox.start_outage(fault, retry_after="Wed, 21 Oct 2065 07:28:00 GMT", status=400, body=b"{}")  # type: ignore[arg-type]
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "[]\n", fault
        finish(process)
    assert sandbox.token_requests >= 4


def test_a_child_does_not_repeat_its_parents_refusal(run: Run, environment: pytest.MonkeyPatch) -> None:
    script = """
        from enkash_auth.errors import RefusedError
        def attempt():
            try:
                provider.token()
            except RefusedError:
                print("refused", flush=True)
        attempt()
        if os.fork() == 0:
            attempt()
            os._exit(0)
        os.wait()
    """
    environment.setenv("ENKASH_PASSWORD", "wrong")
    with Sandbox() as sandbox:
        assert finish(run(sandbox, script)).split() == ["refused", "refused"]
    assert sandbox.token_requests == 1


def test_interpreter_exit_does_not_hang_on_a_grant(run: Run) -> None:
    with Sandbox(latency=60) as sandbox:
        process = run(sandbox, "threading.Thread(target=provider.token, daemon=True).start(); time.sleep(0.05)")
        process.communicate(timeout=20)


def test_while_the_interpreter_exits_a_caller_has_a_token_or_an_error(run: Run) -> None:
    """From Python 3.12 on no thread can start then."""
    script = """
        import atexit
        from enkash_auth.errors import UnavailableError
        def late():
            try:
                print(provider.token().access_token, flush=True)
            except UnavailableError as error:
                print(error, flush=True)
        atexit.register(late)
    """
    with Sandbox() as sandbox:
        assert finish(run(sandbox, script)).strip()


def test_an_interrupt_gets_a_waiting_thread_out_at_once(run: Run) -> None:
    script = """
        print("waiting", flush=True)
        try:
            provider.token()
        except KeyboardInterrupt:
            print("out", flush=True)
    """
    with Sandbox(latency=60) as sandbox:
        process = run(sandbox, script)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        while not sandbox.token_requests:
            threading.Event().wait(0.001)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "out\n"


def test_loops_threads_and_runs_in_succession_share_one_token(server: Server, provider: TokenProvider) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: asyncio.run(provider.atoken())) for _ in range(8)]
        calls += [pool.submit(provider.token) for _ in range(8)]
        tokens = {call.result().access_token for call in calls}
        tokens |= {asyncio.run(provider.atoken()).access_token for _ in range(2)}
    assert tokens == {"canary-token-1"}
    assert len(server.requests) == 1


def test_200_threads_and_a_loop_at_expiry_cost_one_request(
    server: Server, provider: TokenProvider, clock: Clock
) -> None:
    provider.token()
    clock.passes(300)
    with ThreadPoolExecutor(200) as pool:
        together = threading.Barrier(201)

        def one() -> str:
            together.wait()
            return provider.token().access_token

        async def many() -> set[str]:
            return {token.access_token for token in await asyncio.gather(*(provider.atoken() for _ in range(200)))}

        calls = [pool.submit(one) for _ in range(200)]
        together.wait()
        assert asyncio.run(many()) | {call.result() for call in calls} == {"canary-token-2"}
    assert len(server.requests) == 2


def test_a_timeout_around_the_call_is_the_callers_own(server: Server, provider: TokenProvider) -> None:
    go = server.hold(issued("t"))

    async def main() -> Token:
        patient = asyncio.create_task(provider.atoken())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await provider.atoken()
        go.set()
        return await patient

    assert asyncio.run(main()).access_token == "t"
    assert len(server.requests) == 1


def test_the_callers_context_reaches_the_grant(server: Server, provider: TokenProvider) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")
    server.answer = lambda _: issued(trace.get())
    trace.set("from-the-caller")
    assert provider.token().access_token == "from-the-caller"


def test_1000_calls_with_a_wrong_password_are_one_attempt(environment: pytest.MonkeyPatch) -> None:
    with Sandbox(latency=0.02) as sandbox, ThreadPoolExecutor(20) as pool:
        for name, value in {**sandbox.environment(), "ENKASH_PASSWORD": "wrong"}.items():
            environment.setenv(name, value)
        with TokenProvider.from_env() as provider:

            def calls() -> int:
                errors = [failure(provider) for _ in range(50)]
                return len(set(map(id, errors)))  # each caller's error is its own

            assert [call.result() for call in [pool.submit(calls) for _ in range(20)]] == [50] * 20
    assert sandbox.token_requests == sandbox.attempts_refused == 1
    assert not sandbox.locked
