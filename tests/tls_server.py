"""A token server over TLS, on loopback, that answers when the test says so."""

import socket
import ssl
import threading
from contextlib import suppress

import trustme

ANSWER = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 22\r\n\r\n{"access_token": "t"} '


class TlsServer:
    """`connections` are those that have sent a request; `trusting` trusts the certificate, which `authority` signed."""

    def __init__(self) -> None:
        self.authority, self.connections = trustme.CA(), list[ssl.SSLSocket]()
        self._context, self.trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        self.authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self.authority.configure_trust(self.trusting)
        self._listening, self._arrived = socket.create_server(("127.0.0.1", 0)), threading.Semaphore(0)
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._listening.accept()
                with suppress(ssl.SSLError):  # the certificate is not trusted
                    connection = self._context.wrap_socket(raw, server_side=True)
                    while b"grant_type" not in connection.recv(65536):
                        pass
                    self.connections.append(connection)
                    self._arrived.release()

    def wait_for_request(self) -> None:
        assert self._arrived.acquire(timeout=10)

    def close(self) -> None:
        for one in (self._listening, *self.connections):
            one.close()
