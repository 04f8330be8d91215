"""Processes without a store remember their attempts in a file of this user's and machine's."""

import importlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import Clock, fork_waits
from enkash_auth._forks import forks
from enkash_auth._policy.attempts import Attempt, Decision, Ledger
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._runtime import Runtime, exclusively
from enkash_auth._signin import attempts_file
from enkash_auth._signin.attempts_file import Attempts

WRONG = Answer(400, json=True)
SCRIPT = Path(__file__).parent / "attempts_process.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "enkash-auth" / "attempts.db"


class Processes:
    """Starts real processes with one file, and counts the passwords that leave them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.sent = folder / "attempts.db", folder / "sent"
        self.sent.touch()

    def run(self, count: int = 1, answer: str = "400", later: float = 0.0) -> list[str]:
        """Let processes sign in at once; return what each was allowed."""
        command = [sys.executable, str(SCRIPT), str(self.file), str(self.sent), answer, str(later)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen(command, **pipes) for _ in range(count)]
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in running:
            process.stdin.close()
        return sorted(self.said(process) for process in running)

    def said(self, process: subprocess.Popen[str]) -> str:
        with process:
            assert process.stdout
            return process.stdout.read().strip()

    @property
    def passwords(self) -> int:
        return len(self.sent.read_text().splitlines())


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.mark.once
def test_eight_processes_at_once_send_two_passwords_at_most(processes: Processes) -> None:
    got = processes.run(8)
    assert set(got) <= {"sent", "maybe", "final"}  # a slow process comes when the others have ended
    assert got.count("sent") == processes.passwords <= 2


@pytest.mark.once
def test_eight_processes_with_the_right_password_all_get_through(processes: Processes) -> None:
    assert processes.run(8, "200") == ["sent"] * 8


@pytest.mark.once
def test_ten_restarts_send_two_passwords(processes: Processes) -> None:
    got = [processes.run(later=60.0 * restart) for restart in range(10)]
    assert got == [["sent"]] * 2 + [["final"]] * 8
    assert processes.passwords == 2


@pytest.mark.once
def test_ten_restarts_that_are_killed_send_two_passwords(processes: Processes) -> None:
    got = [processes.run(answer="killed", later=60.0 * restart) for restart in range(10)]
    assert got == [[""]] * 2 + [["final"]] * 8
    assert processes.passwords == 2


def test_a_server_that_falls_silent_gets_two_passwords_in_five_minutes(processes: Processes) -> None:
    got = [processes.run(answer="500", later=seconds) for seconds in (0.0, 1.0, 2.0, 290.0, 302.0)]
    assert got == [["sent"], ["sent"], ["unknown"], ["unknown"], ["sent"]]


# in one process


def make(path: Path | None, clock: Clock) -> Attempts:
    return Attempts(path, clock.runtime)


def begun(attempts: Attempts, clock: Clock, seconds: float = 5.0, *, read: bool = False) -> Attempt:
    got = attempts.begin("f", clock.runtime.now().after(seconds), read=read)
    assert isinstance(got, Attempt), got
    return got


def blocked(attempts: Attempts, clock: Clock, seconds: float = 5.0) -> Decision:
    got = attempts.begin("f", clock.runtime.now().after(seconds))
    assert isinstance(got, Decision)
    return got


def test_the_file_is_private_and_holds_no_secret(path: Path, clock: Clock) -> None:
    attempts, before = make(path, clock), os.umask(0)
    try:
        attempts.record("f", begun(attempts, clock).answered(Answer(200, token=True)))
    finally:
        os.umask(before)
    assert [one.stat().st_mode & 0o777 for one in (path, *path.parents[:2])] == [0o600, 0o700, 0o755]
    with closing(sqlite3.connect(path)) as file:
        ((fingerprint, *_, text),) = file.execute("SELECT * FROM ledgers")
    assert fingerprint == "f"
    assert text == '{"attempts": [], "proven": true, "reset": "", "cleared": 1, "cleared_at": 0.0}'


def test_fingerprints_do_not_mix(path: Path, clock: Clock) -> None:
    attempts = make(path, clock)
    attempts.record("f", begun(attempts, clock).answered(Answer(400, "invalid_grant")))
    assert blocked(attempts, clock).final
    assert isinstance(attempts.begin("other", clock.runtime.now()), Attempt)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_living_siblings_are_waited_for_within_ones_own_time(path: Path, clock: Clock, where: str) -> None:
    one = make(path if where == "file" else None, clock)
    other = make(path, clock) if where == "file" else one
    flights = [begun(one, clock), begun(other, clock)]
    asked = clock.monotonic
    assert blocked(one, clock, 2.0) == Decision(2, Kind.OPEN)
    assert 1.8 < clock.monotonic - asked <= 2
    other.record("f", flights[1].answered(Answer(departed=False)))
    begun(one, clock)


def test_an_attempt_whose_time_is_over_is_orphaned(path: Path, clock: Clock) -> None:
    for _ in range(2):
        begun(make(path, clock), clock, 3.0)
    clock.passes(4.5)
    assert blocked(make(path, clock), clock).final


@pytest.mark.parametrize("place", [0, 1])
def test_an_attempt_of_another_boot_or_container_lasts_its_time(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(attempts_file, "_place", lambda: place)
    for _ in range(2):
        begun(make(path, clock), clock)
    monkeypatch.undo()
    clock.monotonic -= 500.0  # as a boot does
    assert blocked(make(path, clock), clock, 1.0) == Decision(2, Kind.OPEN)
    clock.passes(6)
    assert blocked(make(path, clock), clock).final


def test_without_proc_a_process_counts_as_running_for_its_time(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError

    for look in ("read_bytes", "read_text", "readlink"):
        monkeypatch.setattr(Path, look, missing)
    for _ in range(2):
        assert begun(make(path, clock), clock).owner[:1] == (0,)
    assert blocked(make(path, clock), clock, 1.0) == Decision(2, Kind.OPEN)


def test_a_clock_that_is_set_changes_no_pause(path: Path, clock: Clock) -> None:
    attempts = make(path, clock)
    attempts.record("f", begun(attempts, clock).answered(WRONG))
    for wall in (-1e6, 1e6):
        clock.wall = 1e9 + wall
        decision = blocked(make(path, clock), clock)
        assert (decision.row, decision.until) == (Kind.MAYBE, clock.monotonic + 60)


def test_a_reset_is_every_processs_and_tells_each_to_read_the_source(path: Path, clock: Clock) -> None:
    one, other = make(path, clock), make(path, clock)
    one.record("f", begun(one, clock).answered(Answer(400, "invalid_grant")))
    assert blocked(other, clock).final
    one.reset("f")
    for _ in range(2):
        assert blocked(other, clock).row is Kind.RESET
    other.record("f", begun(other, clock, read=True).answered(WRONG))
    assert blocked(one, clock).final


def test_an_answer_that_comes_after_a_reset_does_not_stand_for_reading_the_source(path: Path, clock: Clock) -> None:
    one, other = make(path, clock), make(path, clock)
    first = begun(one, clock)
    other.reset("f")
    assert one.record("f", first.answered(Answer(400, "invalid_grant"))).final
    assert blocked(one, clock).row is Kind.RESET


def test_a_reset_that_a_success_has_followed_asks_for_no_reading(path: Path, clock: Clock) -> None:
    one = make(path, clock)
    one.reset("f")
    one.record("f", begun(one, clock).answered(Answer(200, token=True)))
    begun(make(path, clock), clock)


@pytest.mark.parametrize(
    "change",
    ["UPDATE ledgers SET ledger = '{}'", "UPDATE ledgers SET wall = NULL", "ALTER TABLE ledgers ADD more TEXT"],
)
def test_what_another_version_wrote_counts_as_missing(path: Path, clock: Clock, change: str) -> None:
    attempts = make(path, clock)
    begun(attempts, clock)
    clock.monotonic -= 5  # as after a boot: the wall clock says how old it is
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(change)
    assert make(path, clock).look("f") == (Ledger(), False)
    assert len(attempts.look("f")[0].attempts) == 1  # its own


@pytest.mark.parametrize("broken", ["folder", "damaged", "removed"])
def test_a_file_that_does_not_work_is_one_warning_and_the_process_remembers(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    caplog.set_level(logging.DEBUG)
    attempts = make(path, clock)
    if broken == "folder":
        path.parent.parent.write_text("")
    first = begun(attempts, clock)
    if broken == "damaged":
        path.write_bytes(b"x" * 5000)
    if broken == "removed":
        path.unlink()
        path.mkdir()
    attempts.record("f", first.answered(WRONG))
    assert blocked(attempts, clock).row is Kind.MAYBE
    make(path, clock).reset("other")  # another provider's
    assert attempts.trouble in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    clock.passes(60)
    attempts.record("f", begun(attempts, clock).answered(WRONG))
    assert blocked(attempts, clock).final


def test_what_could_not_be_written_is_written_later(path: Path, clock: Clock) -> None:
    attempts = make(path, clock)
    first = begun(attempts, clock)
    path.rename(path.with_name("gone"))
    path.mkdir()
    attempts.record("f", first.answered(Answer(400, "invalid_grant")))
    path.rmdir()
    assert blocked(attempts, clock).final
    assert not attempts.trouble
    assert blocked(make(path, clock), clock).final


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_busy_file_is_waited_for_and_nothing_is_sent(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(attempts_file, "_PATIENCE", 0.01)
    attempts = make(path, clock)
    first = begun(attempts, clock)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        asked = clock.monotonic
        assert blocked(attempts, clock, seconds) == Decision(0, Kind.OPEN)
        assert clock.monotonic - asked <= seconds
        assert attempts.look("f") == (Ledger(), True) and not attempts.reset("f")
        attempts.record("f", first.answered(Answer(400, "invalid_grant")))
    assert blocked(attempts, clock).final


@pytest.mark.parametrize("off", ["path", "sqlite3"])
def test_switched_off_each_process_remembers_for_itself(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    if off == "sqlite3":
        monkeypatch.setattr(attempts_file, "sqlite3", None)
    attempts = make(None if off == "path" else path, clock)
    for _ in range(2):
        attempts.record("f", begun(attempts, clock).answered(WRONG))
        clock.passes(60)
    assert blocked(attempts, clock).final
    assert not path.exists()
    begun(make(None, clock), clock)


def test_a_python_without_sqlite3_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "sqlite3", None)
            attempts = importlib.reload(attempts_file).Attempts(Path("x"), Runtime())
            attempts.reset("f")
            assert attempts.trouble == "x cannot be written (this Python has no sqlite3)"
    finally:
        importlib.reload(attempts_file)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_is_forked_amid_a_transaction_can_use_the_file(path: Path) -> None:
    inside = threading.Event()

    def new_id() -> str:
        inside.set()
        threading.Event().wait(0.1)
        return f"{os.getpid()}"

    runtime = Runtime(new_id=new_id)  # asked amid the transaction
    attempts = Attempts(path, runtime)
    thread = threading.Thread(target=attempts.begin, args=("f", runtime.now().after(5)))
    thread.start()
    inside.wait()
    assert fork_waits()
    child = os.fork()
    if not child:
        os._exit(not isinstance(attempts.begin("f", runtime.now().after(1)), Attempt))
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_does_not_wait_for_the_threads_that_wait_for_the_file(path: Path) -> None:
    inside, go, runtime = threading.Event(), threading.Event(), Runtime()

    def hang() -> None:
        inside.set()
        go.wait()

    thread = threading.Thread(target=exclusively, args=(forks.transaction, hang))
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(not isinstance(Attempts(path, runtime).begin("f", runtime.now().after(1)), Attempt))
    go.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
