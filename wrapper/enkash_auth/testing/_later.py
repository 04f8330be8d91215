"""What has to come true within seconds, in this process and in a forked child."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable


def becomes(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something that has to come true within seconds."""
    end = time.monotonic() + seconds
    while not (true := what()) and time.monotonic() < end:
        threading.Event().wait(0.001)
    return true


def in_child(does: Callable[[], bool], seconds: float = 10.0) -> Callable[[], bool]:
    """Start this in a forked child; return what waits until the child has done it, and kills one that hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest has threads, whose locks the child does not need
        child = os.fork()
    if not child:  # pragma: no cover - a forked child's coverage is not written
        try:
            os._exit(0 if does() else 1)
        finally:
            os._exit(1)
    ended: list[int] = []

    def has_ended() -> bool:
        if not ended and (found := os.waitpid(child, os.WNOHANG))[0]:
            ended.append(found[1])
        return bool(ended)

    def done() -> bool:
        if not becomes(has_ended, seconds):
            os.kill(child, signal.SIGKILL)
            becomes(has_ended)
        return ended == [0]

    return done
