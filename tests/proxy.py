"""A small proxy on a loopback port before a server: with TLS, and able to cut answers short."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import trustme


def certificate(directory: Path, days: int = 1) -> Path:
    """Write a certificate for 127.0.0.1, good for `days`, with its key and its authority into one file."""
    authority, path = trustme.CA(), directory / "proxy.pem"
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    issued = authority.issue_cert("127.0.0.1", not_after=until)
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes() + authority.cert_pem.bytes())
    return path


class Proxy:
    """Passes bytes on to `target`, a path or a port; with `cut`, passes only so many of each answer and hangs up."""

    def __init__(self, target: Path | int, tls: Path | None = None) -> None:
        self.target, self._context = target, None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls)
        self.cut: int | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, self._spoken(client) as client, self._connected() as server:
            asking = threading.Thread(target=self._pass, args=(client, server, False), daemon=True)
            asking.start()
            self._pass(server, client, True)
            asking.join()

    def _connected(self) -> socket.socket:
        tcp = isinstance(self.target, int)
        server = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        try:
            server.connect(("127.0.0.1", self.target) if tcp else str(self.target))
        except OSError:
            server.close()
            raise
        return server

    def _spoken(self, client: socket.socket) -> socket.socket:
        return self._context.wrap_socket(client, server_side=True) if self._context else client

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cut is not None:
                    target.sendall(data[: self.cut])
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        # else accept() waits on, and after a SIGCONT takes a connection of whichever socket has the number then
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
