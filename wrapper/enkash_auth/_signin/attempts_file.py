"""The attempts of processes that share no store: remembered for this user on this machine, in a small SQLite file.

The file holds numbers and kinds under a keyed hash of the credentials, no token and no name. There is no lease, for
these processes share no token: each of them signs in for itself.
"""

import json
import logging
import os
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from enkash_auth._forks import forks
from enkash_auth._machine import born, make_directory, place
from enkash_auth._policy.attempts import Attempt, Decision, Ledger
from enkash_auth._policy.classification import Kind
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.memory import Memory
from enkash_auth._runtime import Runtime, exclusively

try:
    import sqlite3  # here, for a sign-in must not import: a fork may come
except ImportError:
    sqlite3 = None  # type: ignore[assignment]  # a module or nothing

_ERRORS = (OSError, RuntimeError, sqlite3.Error) if sqlite3 else (OSError,)  # RuntimeError: no home directory
T = TypeVar("T")
Change = Callable[[Ledger], tuple[Ledger, T]]
Begun = Attempt | Decision
_BUSY = Decision(0, Kind.OPEN)
_PATIENCE = 0.5  # seconds that a step waits for the file; another process keeps it for milliseconds
_POLL = 0.1  # seconds between two looks while siblings sign in
_LEAST = 2.0  # seconds that a wait for siblings leaves: a process that ends at its deadline writes no answer down
_COLUMNS = "(fingerprint TEXT PRIMARY KEY, place INT, monotonic REAL, wall REAL, ledger TEXT)"
_log = logging.getLogger("enkash_auth")


@cache  # once in a process
def _warn(trouble: str) -> None:
    advice = "each restart may send one more password. Set ENKASH_ATTEMPTS to a writable file, or use a token store"
    _log.warning("each provider counts its passwords alone: %s; %s", trouble, advice)


class Attempts:
    """Remembers in the file at `path`; in memory alone if there is none, or none that works: `trouble` says why."""

    def __init__(self, path: Path | None, runtime: Runtime) -> None:
        self.path, self.trouble = path, "" if path else "ENKASH_ATTEMPTS is off"
        self._runtime, self._memories = runtime, dict[str, Memory]()

    def begin(self, fingerprint: str, deadline: Moment, *, read: bool = False) -> Begun:
        """Write and return one more attempt, or return what forbids it; wait for siblings' until the deadline.

        After the row `RESET`, a person's, read the credentials' source and begin again with `read`.
        """
        least = min(_LEAST, self._runtime.now().until(deadline) / 2)
        while True:
            memory, left = None if read else self._memory(fingerprint), self._runtime.now().until(deadline)
            step = partial(self._change, fingerprint, partial(self._begin, deadline, memory), left, read=read)
            begun = exclusively(forks.begins, step) or _BUSY
            if isinstance(begun, Attempt):
                self._keep(fingerprint, begun)
            elif begun.row is Kind.OPEN and not begun.attempt and self._runtime.now().until(deadline) > _POLL + least:
                self._runtime.pause(_POLL)
                continue
            return begun

    def _begin(self, deadline: Moment, memory: Memory | None, ledger: Ledger) -> tuple[Ledger, Begun]:
        now = self._runtime.now()  # this process's other accounts may have come first, for seconds
        decision = ledger.decide(now, {one.id for one in ledger.attempts if len(one.owner) == 4 and _runs(one, now)})
        if memory and memory.unread(ledger):
            return ledger, Decision(decision.passwords, Kind.RESET)
        if decision.row:
            return ledger, decision
        if (left := now.until(deadline)) < 0:
            return ledger, _BUSY
        return ledger.started(self._runtime.new_id(), now, (place(), os.getpid(), born("self"), int(left) + 1))

    def record(self, fingerprint: str, attempt: Attempt) -> Decision:
        """Write how an attempt was answered; return what that allows next."""
        self._keep(fingerprint, attempt)
        # more than once: an open attempt of a process that has ended counts as one that may be a refusal
        any(self._change(fingerprint, lambda ledger: (ledger.answered(attempt), True), _PATIENCE) for _ in range(4))
        return self._memory(fingerprint).ledger.decide(self._runtime.now())

    def reset(self, fingerprint: str) -> bool:
        """Leave room for one more password; return whether that was done: another process may keep the file locked."""
        now, id = self._runtime.now(), self._runtime.new_id()
        return bool(self._change(fingerprint, lambda ledger: (ledger.after_reset(id, now), True), _PATIENCE, read=True))

    def look(self, fingerprint: str) -> tuple[Ledger, bool]:
        """Return the ledger, and whether another process keeps the file locked; find out whether the file works."""
        seen = list[Ledger]()  # first what the file says, also if it cannot be written

        def see(ledger: Ledger) -> tuple[Ledger, bool]:
            seen.append(ledger)
            return ledger, True

        locked = self._change(fingerprint, see, _PATIENCE, probe=True) is None
        return (seen or [Ledger()])[0], locked

    def inherit(self) -> None:
        """In a forked child: leave the parent's attempts to it, also where no file says how they end."""
        for name, memory in self._memories.items():
            ended = tuple(one for one in memory.ledger.attempts if one.kind is not Kind.OPEN)
            self._memories[name] = evolve(memory.inherited(), ledger=evolve(memory.ledger, attempts=ended))

    def _memory(self, fingerprint: str) -> Memory:
        return self._memories.get(fingerprint, Memory())

    def _keep(self, fingerprint: str, attempt: Attempt) -> None:
        memory = partial(self._memory, fingerprint)
        exclusively(forks.transaction, lambda: self._memories.update({fingerprint: memory().keeping(attempt)}))

    def _change(
        self, fingerprint: str, change: Change[T], left: float, *, read: bool = False, probe: bool = False
    ) -> T | None:
        """Apply `change` in the file, or else in memory; return its value, None if busy. `probe`: write in any case."""

        def apply() -> T | None:
            file, memory, saved = self.path, self._memory(fingerprint), True
            try:
                ledger, value = self._in_file(file, fingerprint, change, left, probe) if file else change(memory.ledger)
            except _ERRORS as error:
                if getattr(error, "sqlite_errorname", None) == "SQLITE_BUSY":
                    return None
                self.trouble = f"{file} cannot be written ({getattr(error, 'strerror', None) or error})"
                saved, (ledger, value) = False, change(memory.ledger)
            self._memories[fingerprint] = memory.after(ledger, saved=saved, read=read)
            return value

        value = exclusively(forks.transaction, apply)
        if self.path and self.trouble:  # not under the lock: a handler may wait for what needs it
            _warn(self.trouble)
        return value

    def _in_file(self, path: Path, fingerprint: str, change: Change[T], left: float, probe: bool) -> tuple[Ledger, T]:
        now, path = self._runtime.now(), path.expanduser()
        if sqlite3 is None:
            raise OSError("this Python has no sqlite3")
        with suppress(FileExistsError):
            make_directory(path.parent)
            # a file that exists is not opened: closing it would end the locks that SQLite holds in this process
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        connect = partial(sqlite3.connect, path, timeout=max(0.0, min(_PATIENCE, left)), isolation_level=None)
        # a child forked amid a transaction would find the file locked for ever
        with forks.waiting(), closing(connect()) as file:
            for begin in ("BEGIN", "BEGIN IMMEDIATE"):  # without a lock first: hundreds of processes may wait and look
                file.execute(begin)
                file.execute(f"CREATE TABLE IF NOT EXISTS ledgers {_COLUMNS}")
                row = file.execute("SELECT * FROM ledgers WHERE fingerprint = ?", (fingerprint,)).fetchone()
                found = _read(row, now) if row else Ledger()
                ledger, value = change(self._memory(fingerprint).restored(found))
                if ledger != found and begin != "BEGIN":
                    values = (fingerprint, place(), *now, json.dumps(ledger.to_entry(now)))
                    file.execute("REPLACE INTO ledgers VALUES (?, ?, ?, ?, ?)", values)
                elif probe:  # on a full or read-only disk all the rest works
                    file.execute("PRAGMA user_version = 0")
                file.execute("COMMIT")
                if ledger == found:
                    break
        self.trouble = ""
        return ledger, value


def _read(row: tuple[str, int, float, float, str], now: Moment) -> Ledger:
    """Read a row by the monotonic clock if that has run on since, else by the wall clock, which may have been set."""
    try:
        _, where, monotonic, wall, text = row
        same = where == place() and monotonic <= now.monotonic
        age = now.monotonic - monotonic if same else max(0.0, now.wall - wall)
        return Ledger.from_entry(json.loads(text), now.after(-age))
    except (KeyError, TypeError, ValueError):
        return Ledger()  # of another version of this package


def _runs(attempt: Attempt, now: Moment) -> bool:
    """Whether an open attempt may still be answered: its time is not over, and its process has not ended."""
    where, pid, since, seconds = attempt.owner
    return attempt.start.after(seconds).until(now) < 0 and (where != place() or born(pid) == since)
