"""Closing a provider while its sign-in runs touches nothing of others. Over TLS, on loopback."""

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from conftest import Patch, Server, credentials, grant, issued, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth._policy.classification import Kind
from enkash_auth._policy.outcome import Unavailable
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime, current_runtime
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth.errors import ConfigurationError, UnavailableError
from enkash_auth.testing import Sandbox
from tls_server import ANSWER, TlsServer


def test_closing_under_a_running_sign_in_writes_into_no_strangers_file(tls: TlsServer, tmp_path: Path) -> None:
    """The descriptor's number may be another file's at once: OpenSSL would read that, and write an alert into it."""
    strangers = [tmp_path / str(number) for number in range(20)]
    for path in strangers:
        path.write_bytes(b"a stranger's")
    with ThreadPoolExecutor() as pool, ExitStack() as files:
        provider = TokenProvider(credentials(base_url=tls.url), verify=tls.trusting)
        call = pool.submit(provider.token)
        tls.wait_for_request()
        threading.Event().wait(0.05)  # by then it waits for the answer
        provider.close()
        opened = [files.enter_context(path.open("r+b", buffering=0)) for path in strangers]
        with suppress(OSError):  # what the server sends now wakes the thread that reads
            tls.connections[0].sendall(b"HTTP/1.1 200 OK\r\n")
        tls.connections[0].close()
        with pytest.raises(UnavailableError):
            call.result()
        wait_for_sign_ins()
        assert [os.lseek(file.fileno(), 0, os.SEEK_CUR) for file in opened] == [0] * 20
    assert {path.read_bytes() for path in strangers} == {b"a stranger's"}


def test_a_request_that_closing_cuts_is_no_killed_process(tls: TlsServer, monkeypatch: Patch, tmp_path: Path) -> None:
    """A process that hears SIGTERM closes and exits at once: two of them, and new credentials were refused for good."""
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    with ThreadPoolExecutor() as pool:
        provider = TokenProvider(credentials(base_url=tls.url), verify=tls.trusting)
        call = pool.submit(provider.token)
        tls.wait_for_request()
        provider.close()
        left, _ = Attempts(tmp_path / "attempts.db", Runtime()).look(provider.credentials.fingerprint())
        assert [attempt.kind for attempt in left.attempts] == [Kind.UNKNOWN]
        with pytest.raises(UnavailableError):
            call.result()


def test_closing_one_provider_cuts_no_others_sign_in_on_a_shared_transport(tls: TlsServer) -> None:
    with httpx.HTTPTransport(verify=tls.trusting) as transport, ThreadPoolExecutor() as pool:
        one, other = (TokenProvider(credentials(base_url=tls.url), transport=transport) for _ in range(2))
        calls = []
        for provider in (one, other):
            calls.append(pool.submit(provider.token))
            tls.wait_for_request()
        one.close()
        with pytest.raises(UnavailableError):
            calls[0].result()
        tls.connections[1].sendall(ANSWER)
        assert calls[1].result().access_token == "t"


def test_closing_keeps_nobody_waiting_for_a_request_that_cannot_be_cut(server: Server) -> None:
    go, provider = server.hold(issued("t")), server.provider(timeout=60)

    async def close() -> list[object]:
        thread, task = asyncio.to_thread(provider.token), asyncio.create_task(provider.atoken())
        asyncio.get_running_loop().call_later(0.05, provider.close)
        return await asyncio.wait_for(asyncio.gather(thread, task, return_exceptions=True), 3)

    try:
        assert {str(error).partition(".")[0] for error in asyncio.run(close())} == {"no token from token"}
    finally:
        go.set()
    wait_for_sign_ins()


def test_closing_waits_until_silence_is_written_down(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command ends with its caller's time: an attempt that it left open would count as a killed process's."""
    path, record = tmp_path / "attempts.db", Attempts.record

    def slow(*given: Any) -> Any:  # as a disk is
        threading.Event().wait(0.1)
        return record(*given)

    environment.setattr(Attempts, "record", slow)
    environment.setenv("ENKASH_ATTEMPTS", str(path))
    with Sandbox(outage="silence") as sandbox:
        with pytest.raises(UnavailableError), TokenProvider(sandbox.credentials(), timeout=0.3) as provider:
            provider.token()
        ledger, _ = Attempts(path, current_runtime()).look(sandbox.credentials().fingerprint())
    assert [attempt.kind for attempt in ledger.attempts] == [Kind.UNKNOWN]


def test_a_closed_provider_says_so_in_a_child_too(provider: TokenProvider) -> None:
    provider.close()
    for call in (provider.token, lambda: asyncio.run(provider.atoken()), provider.token):
        with pytest.raises(ConfigurationError, match="closed"):
            call()
        engine_of(provider).inherit()


def test_a_connection_that_many_requests_share_is_not_cut(server: Server) -> None:
    """HTTP/2's: httpcore says so once it has sent the connection's preface."""
    ours, theirs = socket.socketpair()
    stream: Any = SimpleNamespace(get_extra_info=lambda name: ours)

    def shares() -> None:
        trace = server.requests[0].extensions["trace"]
        trace("connection.start_tls.complete", {"return_value": stream})
        trace("http2.send_connection_init.started", {})
        provider.close()
        ours.sendall(b"still open")

    server.answers(issued("t"), shares)
    with ours, theirs, server.provider() as provider:
        grant(provider)
        assert theirs.recv(99) == b"still open"


def test_a_sign_in_that_begins_after_closing_sends_nothing(server: Server) -> None:
    provider = server.provider()
    engine_of(provider).held.account.gateway.close()
    reply = grant(provider)
    assert isinstance(reply.outcome, Unavailable) and not reply.answer.departed
    assert server.requests == []
