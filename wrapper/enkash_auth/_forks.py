"""What a forked child must not inherit half done: it would wait for it for ever."""

from __future__ import annotations

import os
import threading

_PATIENCE = 5.0  # seconds that a fork waits for handshakes


class Handshakes:
    """Counts the TLS handshakes under way, which hold OpenSSL's locks: a fork waits for them, up to a limit."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._count, self._changed = 0, threading.Condition()

    def began(self) -> None:
        with self._changed:
            self._count += 1

    def ended(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def stop(self, seconds: float = _PATIENCE) -> bool:
        """Wait until there are none, and let none begin until `go_on`; return False if some have not ended."""
        self._changed.acquire()
        return self._changed.wait_for(lambda: not self._count, seconds)

    def go_on(self) -> None:
        self._changed.release()


no_fork = threading.RLock()  # no child is forked while a thread holds it
handshakes = Handshakes()
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=handshakes.stop, after_in_parent=handshakes.go_on, after_in_child=handshakes.reset)
    os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release)
