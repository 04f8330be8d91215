"""Corners that only a long run or a random search reached: each has a test of its own."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from conftest import Clock, Server, credentials, issued
from enkash_auth import Credentials, TokenProvider
from enkash_auth._policy.outcome import Limit, Refused
from enkash_auth._runtime import Runtime, call_within
from enkash_auth._settings.environment import attempts_path
from enkash_auth._signin.attempts_file import Attempts


def test_an_attempt_without_an_answer_is_called_so() -> None:
    said = str(Refused(0, None, True, "h", Limit("open", 2, None)).to_exception())
    assert "gave no answer to a password" in said


def test_a_call_has_its_time_again_if_the_process_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    times, thawed = iter([0.0, 100.0]), threading.Event()

    def monotonic() -> float:
        if now := next(times):
            thawed.set()
        return now

    monkeypatch.setattr("enkash_auth._runtime.time", SimpleNamespace(monotonic=monotonic))
    assert call_within(0.2, lambda: thawed.wait(20))


def test_attempts_are_kept_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ENKASH_ATTEMPTS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert attempts_path() == tmp_path / "enkash-auth" / "attempts.db"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative"):  # the second by the XDG specification
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert attempts_path() == tmp_path / ".local" / "state" / "enkash-auth" / "attempts.db"


def test_without_a_home_attempts_are_kept_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENKASH_ATTEMPTS", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    attempts = Attempts(attempts_path(), Runtime())
    attempts.reset("f")
    assert "~/.local/state/enkash-auth/attempts.db cannot be written (Could not determine home" in attempts.trouble


def test_the_request_to_a_proxy_is_not_the_sign_in(server: Server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        connect: Any = SimpleNamespace(method=b"CONNECT")
        request.extensions["trace"]("http11.send_request_headers.started", {"request": connect})
        return issued("t")

    server.answer = answer
    with TokenProvider(credentials(), transport=server.transport) as provider:
        assert provider.token().access_token == "t"


def test_another_process_reset_lets_the_credentials_that_the_source_names_now_through(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    server.answer = lambda r: issued("t") if b"password=new" in r.content else httpx.Response(503)
    passwords = ["canary-pass"]

    def source() -> Credentials:
        return credentials(password=passwords[0])

    with TokenProvider(source, transport=server.transport) as one:
        with suppress(Exception):
            one.token()
        with TokenProvider(credentials(), transport=server.transport) as other:
            other.reset()
        passwords[0] = "new"
        clock.passes(60)
        assert one.token().access_token == "t"
