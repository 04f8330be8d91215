"""What a forked child must not inherit half done, for it would wait for ever: imports, locks of OpenSSL and SQLite."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE = 5.0  # seconds that a fork waits


class Forks:
    """Lets a fork wait for what other threads are doing. No lock of its own: a signal handler may come anywhere."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._pause = pause
        self.start_in_child()

    def start_in_child(self) -> None:
        self._under_way, self._inside = False, dict[object, int]()
        self.transaction = threading.RLock()  # of attempts and of memory stores; a thread that hangs may hold it
        self.begins = threading.RLock()  # attempts that begin queue there: no answer to one waits for all of them

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a fork wait until the block ends."""
        key = object()
        try:
            self.enter(key)
            yield
        finally:
            self.leave(key)

    def enter(self, key: object) -> None:
        """Let a fork wait until `leave`; if one is under way that does not wait for this thread, it comes first."""
        this = threading.get_ident()
        inside = this in list(self._inside.values())
        self._inside[key] = this
        while self._under_way and not inside:
            self.leave(key)
            self._pause(0.001)
            self._inside[key] = this

    def leave(self, key: object) -> None:
        self._inside.pop(key, None)

    def begin(self, seconds: float = _PATIENCE) -> bool:
        """Let none enter until `end`, and wait for other threads that have; return whether all have left."""
        self._under_way, end, this = True, time.monotonic() + seconds, threading.get_ident()
        while any(thread != this for thread in list(self._inside.values())):
            if time.monotonic() >= end:
                return False
            self._pause(0.001)
        return True

    def end(self) -> None:
        self._under_way = False


forks = Forks()
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=forks.begin, after_in_parent=forks.end, after_in_child=forks.start_in_child)
