"""Corners that only a long run or a random search reached: each has a test of its own."""

import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from conftest import REFUSAL, Clock, Patch, Server, credentials, failure, issued
from enkash_auth._policy.outcome import Limit, Refused
from enkash_auth._runtime import Runtime, call_within
from enkash_auth._settings.environment import attempts_path
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth.errors import UnavailableError


def test_an_attempt_without_an_answer_is_called_so() -> None:
    said = str(Refused(0, None, True, "h", Limit("open", 2, None)).to_exception())
    assert "gave no answer to a password" in said


def test_a_call_has_its_time_again_if_the_process_stood_still(monkeypatch: Patch) -> None:
    times, thawed = iter([0.0, 100.0]), threading.Event()

    def monotonic() -> float:
        if now := next(times):
            thawed.set()
        return now

    monkeypatch.setattr("enkash_auth._runtime.time", SimpleNamespace(monotonic=monotonic))
    assert call_within(0.2, lambda: thawed.wait(20))


@pytest.mark.parametrize("state", ["{}", "", "relative"])  # the last does not count by the XDG specification
def test_attempts_are_kept_in_the_users_state_folder(monkeypatch: Patch, tmp_path: Path, state: str) -> None:
    monkeypatch.delenv("ENKASH_ATTEMPTS")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", state.format(tmp_path))
    folder = tmp_path if state == "{}" else tmp_path / "home" / ".local" / "state"
    assert attempts_path() == folder / "enkash-auth" / "attempts.db"


def test_a_service_that_changes_its_directory_counts_on_in_the_same_file(
    monkeypatch: Patch, tmp_path: Path, server: Server
) -> None:
    monkeypatch.setenv("ENKASH_ATTEMPTS", "attempts.db")
    (first := tmp_path / "first").mkdir()
    monkeypatch.chdir(first)
    server.answers(REFUSAL)
    with server.provider() as provider:
        monkeypatch.chdir(tmp_path)
        first.rename(tmp_path / "moved")
        assert failure(provider).passwords == 1
    assert (first / "attempts.db").exists()
    monkeypatch.chdir(first)
    shutil.rmtree(first)
    server.provider().close()  # where no directory is, none is named


def test_without_a_home_attempts_are_kept_in_the_process(monkeypatch: Patch) -> None:
    for name in ("ENKASH_ATTEMPTS", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    attempts = Attempts(attempts_path(), Runtime())
    attempts.reset("f")
    assert "~/.local/state/enkash-auth/attempts.db cannot be written (Could not determine home" in attempts.trouble


def test_the_request_to_a_proxy_is_not_the_sign_in(server: Server) -> None:
    connect: Any = {"request": SimpleNamespace(method=b"CONNECT")}
    trace = lambda: server.requests[0].extensions["trace"]("http11.send_request_headers.started", connect)  # noqa: E731
    server.answers(issued("t"), trace)
    with server.provider() as provider:
        assert provider.token().access_token == "t"


def test_another_process_reset_lets_the_credentials_that_the_source_names_now_through(
    server: Server, clock: Clock, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    server.answer = lambda r: issued("t") if b"password=new" in r.content else httpx.Response(503)
    password = ["canary-pass"]
    with server.provider(lambda: credentials(password=password[0])) as one:
        failure(one, UnavailableError)
        with server.provider() as other:
            other.reset()
        password[0] = "new"
        clock.passes(60)
        assert one.token().access_token == "t"
