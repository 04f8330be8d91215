"""Processes without a store remember their attempts in a file of this user's and machine's."""

import importlib
import logging
import multiprocessing
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from conftest import Clock, credentials, failure, fork_waits, wait_until
from enkash_auth import TokenProvider
from enkash_auth._forks import forks
from enkash_auth._policy.attempts import Attempt, Decision, Ledger
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._runtime import Runtime, exclusively
from enkash_auth._signin import attempts_file
from enkash_auth._signin.attempts_file import Attempts, Begun
from enkash_auth.errors import UnavailableError
from enkash_auth.testing._later import in_child

COMM = Path("/proc/self/comm")
WRONG, CLEAR, RIGHT = Answer(400, json=True), Answer(400, "invalid_grant"), Answer(200, token=True)


class Process(Attempts):
    """A process on the test's clock, which signs in with the credentials `f`."""

    def __init__(self, clock: Clock, path: Path | None) -> None:
        super().__init__(path, clock.runtime)
        self.clock = clock

    def begun(self, seconds: float = 5.0, *, read: bool = False) -> Attempt:
        got = self.begin("f", self.clock.runtime.now().after(seconds), read=read)
        assert isinstance(got, Attempt), got
        return got

    def blocked(self, seconds: float = 5.0) -> Decision:
        got = self.begin("f", self.clock.runtime.now().after(seconds))
        assert isinstance(got, Decision), got
        return got

    def answered(self, attempt: Attempt, answer: Answer) -> Decision:
        return self.record("f", attempt.answered(answer))

    def sends(self, answer: Answer) -> Decision:
        return self.answered(self.begun(), answer)


Start = Callable[[], Process]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "enkash-auth" / "attempts.db"


@pytest.fixture
def start(path: Path, clock: Clock) -> Start:
    """Starts a process with the file."""
    return lambda: Process(clock, path)


def allowed(got: Begun) -> str:
    return "sent" if isinstance(got, Attempt) else "final" if got.final else str(got.row)


def at_once(path: Path, count: int, answer: Answer | None) -> list[str]:
    """Let real processes sign in; return what each was allowed. Without an answer each is killed before it comes."""
    go, (out, said) = multiprocessing.get_context("fork").Event(), os.pipe()

    def signs_in() -> bool:
        go.wait()
        runtime = Runtime()
        attempts = Attempts(path, runtime)
        got = attempts.begin("f", runtime.now().after(5))
        os.write(said, f"{allowed(got)}\n".encode())
        if isinstance(got, Attempt):
            if not answer:
                os.kill(os.getpid(), signal.SIGKILL)
            attempts.record("f", got.answered(answer))
        return True

    children = [in_child(signs_in) for _ in range(count)]
    go.set()
    ended = [child() for child in children]
    assert all(ended) or not answer
    os.close(said)
    with os.fdopen(out) as lines:
        return sorted(lines.read().split())


def test_eight_processes_at_once_send_two_passwords_at_most(path: Path) -> None:
    got = at_once(path, 8, WRONG)
    assert {*got} <= {"sent", "maybe", "final"}  # a slow process comes when the others have ended
    assert got.count("sent") <= 2


def test_eight_processes_with_the_right_password_all_get_through(path: Path) -> None:
    assert at_once(path, 8, RIGHT) == ["sent"] * 8


def test_processes_that_are_killed_send_two_passwords(path: Path) -> None:
    assert [at_once(path, 1, None) for _ in range(3)] == [["sent"], ["sent"], ["final"]]


@pytest.mark.parametrize(
    ("answer", "pauses", "allows"),
    [
        (WRONG, [60] * 10, ["sent"] * 2 + ["final"] * 8),
        (Answer(500), [1, 1, 288, 12, 0], ["sent", "sent", "unknown", "unknown", "sent"]),
    ],
    ids=["a wrong password", "a server that falls silent"],
)
def test_a_process_that_is_started_again_counts_on(
    start: Start, clock: Clock, answer: Answer, pauses: list[int], allows: list[str]
) -> None:
    said = []
    for pause in pauses:
        process = start()
        got = process.begin("f", clock.runtime.now().after(5))
        said.append(allowed(got))
        if isinstance(got, Attempt):
            process.answered(got, answer)
        clock.passes(pause)
    assert said == allows


def test_the_file_is_private_and_holds_no_secret(path: Path, start: Start, umask: Callable[[int], int]) -> None:
    umask(0)
    start().sends(RIGHT)
    assert [one.stat().st_mode & 0o777 for one in (path, *path.parents[:2])] == [0o600, 0o700, 0o755]
    with closing(sqlite3.connect(path)) as file:
        ((fingerprint, *_, text),) = file.execute("SELECT * FROM ledgers")
    assert fingerprint == "f"
    assert text == '{"attempts": [], "proven": true, "reset": "", "cleared": 1, "cleared_at": 0.0}'


def test_fingerprints_do_not_mix(start: Start, clock: Clock) -> None:
    one = start()
    one.sends(CLEAR)
    assert one.blocked().final
    assert isinstance(one.begin("other", clock.runtime.now()), Attempt)


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize(("seconds", "leaves"), [(1.0, 0.5), (4.5, 2.0)])
def test_living_siblings_are_waited_for_but_time_for_an_answer_is_left(
    start: Start, clock: Clock, where: str, seconds: float, leaves: float
) -> None:
    """What processes left open that ended when their time was over kept all others waiting for 5 minutes."""
    one, other = (start(), start()) if where == "file" else 2 * (Process(clock, None),)
    _, under_way, asked = one.begun(), other.begun(), clock.monotonic
    assert one.blocked(seconds) == Decision(2, Kind.OPEN)
    assert clock.monotonic - asked == pytest.approx(seconds - leaves, abs=0.11)
    other.answered(under_way, Answer(departed=False))
    one.begun()


@pytest.mark.parametrize(("place", "back"), [(None, 0.0), (0, 500.0), (1, 500.0)], ids=["this", "none", "another"])
def test_an_attempt_of_this_boot_or_another_or_a_container_lasts_its_time(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: int | None, back: float
) -> None:
    with monkeypatch.context() as patch:
        if place is not None:
            patch.setattr(attempts_file, "place", lambda: place)
        for _ in range(2):
            start().begun()
    clock.monotonic -= back  # as a boot does
    assert start().blocked(1.0) == Decision(2, Kind.OPEN)
    clock.passes(6)
    assert start().blocked().final


def test_without_proc_a_process_counts_as_running_for_its_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError

    for look in ("read_bytes", "read_text", "readlink"):
        monkeypatch.setattr(Path, look, missing)
    assert [start().begun().owner[:1] for _ in range(2)] == [(0,), (0,)]
    assert start().blocked(1.0) == Decision(2, Kind.OPEN)


@pytest.mark.skipif(not COMM.exists(), reason="only Linux has it")
def test_a_process_may_have_any_name(start: Start) -> None:
    """The kernel keeps 15 bytes of a script's name, or of what `setproctitle` sets."""
    before = COMM.read_bytes()
    COMM.write_bytes("zahlungs-prüfüng".encode()[:15])
    try:
        assert start().begun().owner[2] == start().begun().owner[2] > 0
    finally:
        COMM.write_bytes(before)


@pytest.mark.parametrize("wall", [0.0, 2e9], ids=["back", "on"])
def test_a_clock_that_is_set_changes_no_pause(start: Start, clock: Clock, wall: float) -> None:
    start().sends(WRONG)
    clock.wall = wall
    decision = start().blocked()
    assert (decision.row, decision.until) == (Kind.MAYBE, clock.monotonic + 60)


class TestManyAccounts:
    """A thousand accounts of one process begin at once, and a disk takes its time for each."""

    def test_no_answer_waits_for_the_attempts_that_begin(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else each token came when its sign-in had been given up, and was thrown away: for ever."""
        asking, go, runtime = list[str](), threading.Event(), Runtime()

        class Busy:
            def __enter__(self) -> None:
                asking.append(threading.current_thread().name)
                go.wait(5)

            def __exit__(self, *_: object) -> None:
                pass

        attempts = Attempts(path, runtime)
        answered = attempts.begin("f", end := runtime.now().after(5))
        assert isinstance(answered, Attempt)
        monkeypatch.setattr(forks, "transaction", Busy())
        begins = [partial(attempts.begin, f"{number}", end) for number in range(4)]
        threads = [threading.Thread(target=begin, name="begin") for begin in begins]
        threads.append(threading.Thread(target=attempts.record, args=("f", answered), name="record"))
        for thread in threads:
            thread.start()
        wait_until(lambda: len(asking) > 1)
        threading.Event().wait(0.1)
        assert sorted(asking) == ["begin", "record"]
        go.set()
        for thread in threads:
            thread.join()

    def test_an_attempt_whose_time_is_over_when_its_turn_comes_is_not_written(self, start: Start, clock: Clock) -> None:
        clock.on_look = lambda: clock.passes(1.5)
        assert start().blocked(4.0) == Decision(0, Kind.OPEN)
        assert start().look("f") == (Ledger(), False)


class TestResets:
    """A person lets one more password through, which each process hears of."""

    def test_a_reset_is_every_processs_and_tells_each_to_read_the_source(self, start: Start) -> None:
        one, other = start(), start()
        one.sends(CLEAR)
        assert other.blocked().final
        one.reset("f")
        assert [other.blocked().row for _ in range(2)] == [Kind.RESET, Kind.RESET]
        other.answered(other.begun(read=True), WRONG)
        assert one.blocked().final

    def test_an_answer_that_comes_after_it_does_not_stand_for_reading_the_source(self, start: Start) -> None:
        one = start()
        first = one.begun()
        start().reset("f")
        assert one.answered(first, CLEAR).final
        assert one.blocked().row is Kind.RESET

    def test_one_that_a_success_has_followed_asks_for_no_reading(self, start: Start) -> None:
        one = start()
        one.reset("f")
        one.sends(RIGHT)
        start().begun()


class TestTrouble:
    """The file may be foreign, broken, locked or switched off: then a process remembers for itself."""

    @pytest.mark.parametrize(
        "change",
        ["UPDATE ledgers SET ledger = '{}'", "UPDATE ledgers SET wall = NULL", "ALTER TABLE ledgers ADD more TEXT"],
    )
    def test_what_another_version_wrote_counts_as_missing(
        self, path: Path, start: Start, clock: Clock, change: str
    ) -> None:
        one = start()
        one.begun()
        clock.monotonic -= 5  # as after a boot: the wall clock says how old it is
        with closing(sqlite3.connect(path)) as file, file:
            file.execute(change)
        assert start().look("f") == (Ledger(), False)
        assert len(one.look("f")[0].attempts) == 1  # its own

    @pytest.mark.parametrize("broken", ["folder", "damaged", "removed"])
    def test_a_file_that_does_not_work_is_one_warning_and_the_process_remembers(
        self, path: Path, start: Start, clock: Clock, caplog: pytest.LogCaptureFixture, broken: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        one = start()
        if broken == "folder":
            path.parent.parent.write_text("")
        first = one.begun()
        if broken == "damaged":
            path.write_bytes(b"x" * 5000)
        if broken == "removed":
            path.unlink()
            path.mkdir()
        one.answered(first, WRONG)
        assert one.blocked().row is Kind.MAYBE
        start().reset("other")  # another provider's
        assert one.trouble in caplog.text
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        clock.passes(60)
        assert one.sends(WRONG).final

    def test_what_could_not_be_written_is_written_later(self, path: Path, start: Start) -> None:
        one = start()
        first = one.begun()
        path.rename(path.with_name("gone"))
        path.mkdir()
        one.answered(first, CLEAR)
        path.rmdir()
        assert (one.blocked().final, one.trouble, start().blocked().final) == (True, "", True)

    @pytest.mark.parametrize("seconds", [0.0, 0.3])
    def test_a_busy_file_is_waited_for_and_nothing_is_sent(
        self, path: Path, start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float
    ) -> None:
        monkeypatch.setattr(attempts_file, "_PATIENCE", 0.01)
        one = start()
        first, asked = one.begun(), clock.monotonic
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("BEGIN EXCLUSIVE")
            assert one.blocked(seconds) == Decision(0, Kind.OPEN)
            assert clock.monotonic - asked <= seconds
            assert one.look("f") == (Ledger(), True) and not one.reset("f")
            one.answered(first, CLEAR)
        assert one.blocked().final

    def test_who_may_send_nothing_does_not_wait_for_a_writer(self, path: Path, start: Start) -> None:
        start().sends(CLEAR)
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            assert start().blocked().final

    def test_an_answer_is_written_though_the_file_is_busy_for_long(self, path: Path, start: Start) -> None:
        """Of 200 processes at once the first two failed to, and ended: a right password was refused for good."""
        one = start()
        attempt = one.begun()
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as file:
            file.execute("BEGIN IMMEDIATE")
            threading.Timer(0.8, file.execute, ["COMMIT"]).start()
            one.answered(attempt, RIGHT)
        assert start().look("f")[0].attempts == ()

    def test_silence_is_written_down_before_callers_hear_of_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A script that ended with its error left an open attempt, and two of them refused its password for good."""
        monkeypatch.setenv("ENKASH_ATTEMPTS", str(path))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            who = credentials(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
            provider = TokenProvider(who, timeout=1.0)
            assert "no answer within" in str(failure(provider, UnavailableError))
            ledger, _ = Attempts(path, Runtime()).look(who.fingerprint())
        assert [one.kind for one in ledger.attempts] == [Kind.UNKNOWN]

    @pytest.mark.parametrize("off", ["path", "sqlite3"])
    def test_switched_off_each_process_remembers_for_itself(
        self, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, off: str
    ) -> None:
        if off == "sqlite3":
            monkeypatch.setattr(attempts_file, "sqlite3", None)
        one = Process(clock, None if off == "path" else path)
        for _ in range(2):
            one.sends(WRONG)
            clock.passes(60)
        assert one.blocked().final
        assert not path.exists()
        Process(clock, None).begun()

    def test_a_python_without_sqlite3_has_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        try:
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "sqlite3", None)
                attempts = importlib.reload(attempts_file).Attempts(Path("x"), Runtime())
                attempts.reset("f")
                assert attempts.trouble == "x cannot be written (this Python has no sqlite3)"
        finally:
            importlib.reload(attempts_file)


class TestForks:
    """A child can use the file, whatever its parent's threads were doing."""

    def test_a_child_that_is_forked_amid_a_transaction_waits_for_its_end(self, path: Path) -> None:
        inside = threading.Event()

        def new_id() -> str:  # asked amid the transaction
            inside.set()
            threading.Event().wait(0.1)
            return f"{os.getpid()}"

        runtime = Runtime(new_id=new_id)
        attempts = Attempts(path, runtime)
        thread = threading.Thread(target=attempts.begin, args=("f", runtime.now().after(5)))
        thread.start()
        inside.wait()
        assert fork_waits()
        child = in_child(lambda: isinstance(attempts.begin("f", runtime.now().after(1)), Attempt))
        thread.join()
        assert child()

    def test_a_fork_does_not_wait_for_the_threads_that_wait_for_the_file(self, path: Path) -> None:
        inside, go, runtime = threading.Event(), threading.Event(), Runtime()
        thread = threading.Thread(target=exclusively, args=(forks.transaction, lambda: inside.set() or go.wait()))
        thread.start()
        inside.wait()
        child = in_child(lambda: isinstance(Attempts(path, runtime).begin("f", runtime.now().after(1)), Attempt))
        go.set()
        thread.join()
        assert child()
