"""Real threads, loops, signals and processes around one provider."""

import asyncio
import contextvars
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import (
    REFUSAL,
    Clock,
    Patch,
    Server,
    credentials,
    failure,
    grant,
    issued,
    limited,
    wait_for_sign_ins,
    wait_until,
)
from enkash_auth import TokenProvider
from enkash_auth._policy.outcome import Issued
from enkash_auth._provider import engine_of
from enkash_auth._runtime import NoThreadError, start_thread
from enkash_auth.errors import ConfigurationError, EnkashAuthError
from enkash_auth.stores import FileStore, MemoryStore, Store
from enkash_auth.testing import Sandbox
from enkash_auth.testing._later import in_child

Run = Callable[..., "subprocess.Popen[str]"]
PIPES: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
HEADER = """
import os, sys, threading, time, warnings
from enkash_auth import TokenProvider
warnings.simplefilter("ignore", DeprecationWarning)  # os.fork() beside threads, as of Python 3.12
"""
FORKS = """
TokenProvider.from_env().close()  # loads all that the processes need
for number, delay in enumerate(map(float, sys.argv[2:])):
    parent = os.fork()  # a process that has never signed in
    if parent == 0:
        os.environ["ENKASH_TOKEN_STORE"] = sys.argv[1].format(number)
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


@pytest.fixture
def run(environment: Patch) -> Run:
    """Start a script beside a sandbox; what the test sets in the environment comes first."""

    def start(sandbox: Sandbox, script: str, *arguments: str) -> subprocess.Popen[str]:
        provider = "provider = TokenProvider.from_env()\n"
        command = [sys.executable, "-c", HEADER + provider + textwrap.dedent(script), *arguments]
        return subprocess.Popen(command, env={**sandbox.environment(), **os.environ}, text=True, **PIPES)

    return start


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_a_process_that_was_frozen_in_a_sign_in_has_its_token_after_the_thaw(run: Run) -> None:
    """Longer than its timeout: neither who waited nor who comes first hears that the server does not answer."""
    script = """
        from concurrent.futures import ThreadPoolExecutor
        provider = TokenProvider.from_env(timeout=1.5)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(provider.token) for _ in range(3)]
            sys.stdin.readline()
            print({provider.token().access_token} | {call.result().access_token for call in waiting})
    """
    with Sandbox(latency=0.3) as sandbox:
        process = run(sandbox, script)
        wait_until(lambda: sandbox.token_requests)
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(2.5)
        tell(process, "now")
        process.send_signal(signal.SIGCONT)
        assert finish(process).startswith("{")
    assert sandbox.token_requests == 2


@pytest.mark.parametrize("clocks", [("monotonic", "wall"), ("wall",)], ids=["frozen", "asleep"])
def test_the_first_caller_after_a_thaw_has_a_fresh_token(server: Server, clock: Clock, clocks: tuple[str, ...]) -> None:
    """The renewal that was under way has ended without an answer meanwhile, or never will."""
    asked, go = threading.Event(), threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        if len(server.requests) == 2:
            asked.set()
            go.wait(5)
            raise httpx.ReadTimeout("")
        return issued("fresh")

    with server.provider() as provider:
        provider.token()
        server.answer = answer
        clock.passes(299)
        provider.token()
        asked.wait(5)
        for name in clocks:
            setattr(clock, name, getattr(clock, name) + 300)
        if clocks == ("wall",):
            go.set()
            wait_for_sign_ins()
            clock.monotonic += 20  # by then both clocks are read
        assert provider.token().access_token == "fresh"
        go.set()


def test_an_interrupt_gets_a_waiting_thread_out_at_once(server: Server, provider: TokenProvider) -> None:
    go = threading.Event()
    server.answers(issued("t"), lambda: (os.kill(os.getpid(), signal.SIGINT), go.wait(5)))
    with pytest.raises(KeyboardInterrupt):
        provider.token()
    go.set()


def test_200_threads_and_10_000_tasks_cost_one_request(server: Server, provider: TokenProvider, clock: Clock) -> None:
    provider.token()
    clock.passes(300)
    go, together = server.hold(issued("t")), threading.Barrier(201)

    def one(number: int) -> str:
        together.wait()
        token = provider.token() if number % 25 else asyncio.run(provider.atoken())
        return token.access_token

    async def many() -> set[str]:
        tasks = [asyncio.create_task(provider.atoken()) for _ in range(10_000)]
        await asyncio.sleep(0)
        go.set()
        return {token.access_token for token in await asyncio.gather(*tasks)}

    with ThreadPoolExecutor(200) as pool:
        calls = [pool.submit(one, number) for number in range(200)]
        together.wait()
        assert asyncio.run(many()) | {call.result() for call in calls} == {"t"}
    assert len(server.requests) == 2


def test_the_callers_context_reaches_the_grant(server: Server, provider: TokenProvider) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")
    server.answer = lambda _: issued(trace.get())
    trace.set("from-the-caller")
    assert provider.token().access_token == "from-the-caller"


def test_1000_calls_with_a_wrong_password_are_one_attempt(server: Server, provider: TokenProvider) -> None:
    server.answers(REFUSAL)
    with ThreadPoolExecutor(20) as pool:
        errors = list(pool.map(lambda _: failure(provider), range(1000)))
    assert len(set(map(id, errors))) == 1000  # each caller's is its own
    assert len(server.requests) == 1


class TestExit:
    """From Python 3.12 on no thread can start while the interpreter exits."""

    def test_while_the_interpreter_exits_a_caller_has_a_token_or_an_error(self, run: Run) -> None:
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

    @pytest.mark.skipif("3.13" in sys.version and "free-threading" in sys.version, reason="no module is left by then")
    @pytest.mark.parametrize("under_way", ["", "a sign-in", "a step"])
    def test_a_finalizer_at_exit_waits_for_no_sign_in(self, run: Run, under_way: str) -> None:
        """Its own cannot start, and the thread of one under way has stopped: Python 3.11 hung for ever."""
        script = """
            from enkash_auth.errors import UnavailableError
            class Late:
                def __del__(self, provider=provider, kind=UnavailableError, write=os.write):
                    try:
                        provider.token()
                    except kind as error:
                        write(1, str(error).encode())
            late = Late()
            if sys.argv[1] == "a sign-in":
                threading.Thread(target=provider.token, daemon=True).start()
                while not any(thread.name == "enkash-auth-call" for thread in threading.enumerate()):
                    time.sleep(0.001)
            if sys.argv[1] == "a step":
                from enkash_auth._provider import engine_of
                threading.Thread(target=engine_of(provider).held.lock.acquire, daemon=True).start()
        """
        with Sandbox(latency=60) as sandbox:
            said = finish(run(sandbox, script, under_way))
        assert "the interpreter exits" in said or "no thread could be started" in said

    def test_no_thread_starts_while_the_interpreter_exits(self, monkeypatch: Patch) -> None:
        monkeypatch.setattr("sys.is_finalizing", lambda: True)
        with pytest.raises(NoThreadError, match="no thread could be started"):
            start_thread(lambda: None)


class TestForks:
    """A child has what it needs, and touches nothing of its parent's."""

    def test_a_child_forked_at_any_moment_of_a_sign_in_has_a_token(self, run: Run) -> None:
        delays = ("0", "0.001", "0.003", "0.01", "0.03", "0.06", "0.1", "0.2")
        with Sandbox(latency=0.1) as sandbox:
            tokens = finish(run(sandbox, FORKS, "memory:", *delays)).split()
        assert len(tokens) == sandbox.token_requests == 2 * 8  # parent and child

    def test_a_sign_in_imports_nothing(self, run: Run) -> None:
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
        faults: dict[str, dict[str, Any]] = {
            "html_502": {},
            "rate_limited": {"retry_after": "Wed, 21 Oct 2065 07:28:00 GMT"},
            "raw": {"status": 400, "body": b"{}"},
        }
        with Sandbox() as sandbox:
            process = run(sandbox, script)
            for fault in ("", *faults):
                if fault:
                    sandbox.end_outage()
                    sandbox.start_outage(fault, **faults[fault])
                tell(process, "go")
                assert process.stdout and process.stdout.readline() == "[]\n", fault
            finish(process)
        assert sandbox.token_requests >= 4

    def test_a_child_forked_while_a_thread_makes_the_first_provider_can_make_its_own(self) -> None:
        """It would wait for ever for a module that the thread was importing."""
        script = """
            import signal
            from enkash_auth import Credentials
            credentials = Credentials("https://token.example", "u", "p", "i", "s")
            def forks(delay):
                thread = threading.Thread(target=TokenProvider, args=[credentials])
                thread.start()
                time.sleep(delay)
                child = os.fork()
                if child == 0:
                    signal.alarm(15)
                    TokenProvider(credentials)
                    os._exit(0)
                thread.join()
                os._exit(os.waitpid(child, 0)[1] != 0)
            for delay in (0, 0.03, 0.08, 0.15):
                parent = os.fork()  # a process that has made no provider
                if parent == 0:
                    forks(delay)
                assert os.waitpid(parent, 0)[1] == 0, delay
        """
        subprocess.run([sys.executable, "-c", HEADER + textwrap.dedent(script)], check=True, timeout=60)

    def test_a_child_does_not_repeat_its_parents_refusal(self, server: Server, provider: TokenProvider) -> None:
        server.answers(REFUSAL)
        failure(provider)
        assert in_child(lambda: failure(provider).passwords == len(server.requests) == 1)()

    @pytest.mark.parametrize("answer", [REFUSAL, httpx.Response(500)], ids=["clear", "unknown"])
    @pytest.mark.parametrize("kept", ["store", "file", "off"])
    def test_a_child_forked_amid_a_sign_in_counts_what_its_parent_was_answered(
        self, server: Server, tmp_path: Path, environment: Patch, kept: str, answer: httpx.Response
    ) -> None:
        environment.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db") if kept == "file" else "off")
        store, go = FileStore(tmp_path / "store") if kept == "store" else None, server.hold(answer)
        answered, answers = os.pipe()

        def hears(provider: TokenProvider) -> bytes:
            error = failure(provider, EnkashAuthError)
            return f"{error.row} {error.passwords}".encode()

        with ThreadPoolExecutor() as pool, server.provider(store=store) as provider:
            parent = pool.submit(hears, provider)
            server.wait_for_request()
            # not `go.set()`: another thread may hold the event's lock at the fork, when it begins to wait
            child = in_child(lambda: server.answers(answer) is None and os.read(answered, 99) == hears(provider))
            go.set()
            os.write(answers, parent.result())
            assert child()

    def test_a_provider_that_cannot_start_in_a_child_keeps_no_other(self, server: Server, environment: Patch) -> None:
        with TokenProvider(credentials()) as spoilt, server.provider() as other:
            environment.setenv("HTTPS_PROXY", "ftp://proxy")
            environment.delenv("https_proxy", raising=False)
            for provider in (spoilt, other):
                engine_of(provider).inherit()  # what os.fork() calls in the child
            assert other.token().access_token == "canary-token-1"
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
                    spoilt.token()
            environment.delenv("HTTPS_PROXY")
            engine_of(spoilt).join_or_start()

    def test_a_child_that_can_open_no_file_makes_connections_of_its_own(self, provider: TokenProvider) -> None:
        engine_of(provider).inherit()
        with limited(resource.RLIMIT_NOFILE, 3):
            assert provider.token().access_token == "canary-token-1"

    @pytest.mark.parametrize("store", [None, MemoryStore()])
    def test_a_fork_makes_no_connections_and_closes_none(self, server: Server, store: Store | None) -> None:
        """There may be 1,000 providers, and most are not used in the child."""
        with server.provider(store=store) as provider:
            engine, gateway = engine_of(provider), engine_of(provider).held.account.gateway
            engine.inherit()
            assert engine.held.account.gateway is gateway
            provider.token()
            made = engine.held.account.gateway
            assert made is not gateway
            engine.held.start_in_child()  # another thread's, that came at the same time
            assert engine.held.account.gateway is made
            engine.inherit()
            provider.close()
            assert isinstance(grant(provider).outcome, Issued)
