"""A token request under way: when it may leave, and how much of an answer is read."""

import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import httpx
from attrs import field, frozen, mutable

from enkash_auth._forks import forks
from enkash_auth._policy.cause import address
from enkash_auth._policy.classification import Answer
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Outcome, Unavailable
from enkash_auth._runtime import Runtime

_LARGEST_ANSWER = 64 * 1024


@frozen
class Reply:
    """How a token request ended, what that says about the account, and when the request left."""

    outcome: Outcome
    answer: Answer
    sent: Moment


@mutable
class Call:
    """A token request under way."""

    host: str
    deadline: Moment
    runtime: Runtime
    sent: Moment
    allowed: float  # seconds
    leaves: float  # monotonic
    target: str  # host and port, of the last connection that was begun
    departed: bool = False  # whether the password may have left
    answer: Answer = field(factory=Answer)
    sockets: list[socket.socket] = field(factory=list)
    lock: threading.RLock = field(factory=threading.RLock)

    def seconds(self) -> float:
        return self.runtime.now().until(self.deadline)

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Follow the request, as httpcore tells it: hold its header back, and know the connection for `cut`."""
        shaking = name.endswith("start_tls.started")  # in a handshake OpenSSL holds its locks: a fork waits
        (forks.enter if shaking else forks.leave)(id(self))
        if name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":  # to a proxy
            self.runtime.pause(max(0.0, self.leaves - self.runtime.monotonic()))
            self.check_time()
            self.sent = self.runtime.now()
        elif name.endswith("connect_tcp.started"):  # to a proxy, perhaps
            self.target = address(info["host"], info["port"])
        elif name.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"].get_extra_info("socket")
            self.sockets = [connection] if isinstance(connection, socket.socket) else []
        elif name.endswith(("response_closed.started", "send_connection_init.started")):
            with self.lock:
                self.sockets = []  # about to be closed; or HTTP/2's, on which other providers' requests may run

    def end(self) -> Unavailable:
        """Cut the connection at the deadline, after which no password leaves; return what callers get."""
        self.cut()
        why = f"no answer within {self.allowed:.3g} s" if self.departed else f"cannot connect to {self.target}: timeout"
        return Unavailable(why, self.host, late=True)

    def cut(self) -> None:
        """Shut the connection down; only the thread that uses it closes it, for its number may be a new file's then."""
        with self.lock:  # meanwhile `trace` keeps that thread from closing it
            for connection in self.sockets:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # an SSLSocket's own would drop its TLS state

    def check_time(self) -> None:
        """Stop the request, before its password leaves, if connecting took too long or this process stood still."""
        if self.seconds() <= 0:
            self.departed = False
            raise StoppedError(Unavailable("no time was left", self.host, late=True))


current_call: ContextVar[Call] = ContextVar("enkash_auth_call")


class StoppedError(Exception):
    """Carries an outcome out of httpx; never leaves the gateway."""


class Form(httpx.SyncByteStream):
    """The request's body: the last place where the deadline is checked before the password leaves."""

    def __init__(self, content: bytes, call: Call) -> None:
        self._content, self._call = content, call

    def __iter__(self) -> Iterator[bytes]:
        self._call.departed = True  # first: who finds that it has not departed at the deadline may rely on that
        self._call.check_time()
        yield self._content


class BoundedStream(httpx.SyncByteStream):
    """A body, unpacked, that ends at a size and a time: a server that drips bytes outlasts every read timeout."""

    def __init__(self, inner: httpx.SyncByteStream, call: Call, encoding: str) -> None:
        self._inner, self._call = inner, call
        # none was asked for, but a proxy may do it anyway; httpx would unpack 500 bytes to 400 MB
        self._unpacker = zlib.decompressobj(47) if encoding in ("gzip", "x-gzip", "deflate") else None  # either kind

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for packed in self._inner:
            chunk = self._unpacker.decompress(packed, _LARGEST_ANSWER + 1) if self._unpacker else packed
            size += max(len(packed), len(chunk))  # zlib keeps what follows the end of a packed body
            if size > _LARGEST_ANSWER:
                raise StoppedError(Unavailable("the answer is larger than 64 KiB", self._call.host))
            if self._call.seconds() < 0:
                raise StoppedError(Unavailable("the answer took too long", self._call.host, late=True))
            yield chunk

    def close(self) -> None:
        self._inner.close()
