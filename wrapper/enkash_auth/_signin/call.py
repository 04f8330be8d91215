"""A token request under way: when it may leave, and how much of an answer is read."""

import socket
import zlib
from collections.abc import Iterator
from contextvars import ContextVar

import httpx
from attrs import field, mutable

from enkash_auth._policy.classification import Answer
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Outcome, Unavailable
from enkash_auth._runtime import Runtime

_LARGEST_ANSWER = 64 * 1024


@mutable
class Call:
    """A token request under way."""

    deadline: Moment
    runtime: Runtime
    sent: Moment
    allowed: float  # seconds
    leaves: float  # monotonic
    target: str  # host and port, of the last connection that was begun
    left: bool = False  # whether the password may have left
    answer: Answer = field(factory=Answer)
    sockets: list[socket.socket] = field(factory=list)

    def seconds(self) -> float:
        return self.runtime.now().until(self.deadline)

    def leave(self, host: str) -> None:
        """Hold the header back until its time, on a connection that is open by then."""
        if (early := self.leaves - self.runtime.monotonic()) > 0:
            self.runtime.pause(early)
        self.check_time(host)
        self.sent = self.runtime.now()

    def check_time(self, host: str) -> None:
        """Connecting took too long, or this process stood still: the password must not leave any more."""
        if self.seconds() <= 0:
            self.left = False
            raise StoppedError(Unavailable("no time was left", host, late=True))


current_call: ContextVar[Call] = ContextVar("enkash_auth_call")


class StoppedError(Exception):
    """Carries an outcome out of httpx; never leaves the gateway."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("stopped")
        self.outcome = outcome


class Form(httpx.SyncByteStream):
    """The request's body: the last place where the deadline is checked before the password leaves."""

    def __init__(self, content: bytes, call: Call, host: str) -> None:
        self._content, self._call, self._host = content, call, host

    def __iter__(self) -> Iterator[bytes]:
        self._call.check_time(self._host)
        self._call.left = True
        yield self._content


class BoundedStream(httpx.SyncByteStream):
    """A body, unpacked, that ends at a size and a time: a server that drips bytes outlasts every read timeout."""

    def __init__(self, inner: httpx.SyncByteStream, call: Call, host: str, encoding: str) -> None:
        self._inner, self._call, self._host = inner, call, host
        # none was asked for, but a proxy may do it anyway; httpx would unpack 500 bytes to 400 MB
        self._unpacker = zlib.decompressobj(47) if encoding in ("gzip", "x-gzip", "deflate") else None  # either kind

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            if self._unpacker:
                chunk = self._unpacker.decompress(chunk, _LARGEST_ANSWER + 1)
            size += len(chunk)
            if size > _LARGEST_ANSWER:
                raise StoppedError(Unavailable("the answer is larger than 64 KiB", self._host))
            if self._call.seconds() < 0:
                raise StoppedError(Unavailable("the answer took too long", self._host, late=True))
            yield chunk

    def close(self) -> None:
        self._inner.close()
