"""The sandbox without sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import httpx

from ._answers import NOT_FOUND, Answer, Fault
from ._asked import Asked

if TYPE_CHECKING:
    from ._sandbox import Sandbox

_DAY = 86_400.0  # as long as a client without a timeout waits for an answer that never comes


class SandboxTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The `transport` of a provider or an httpx client that reaches `sandbox` and nothing else.

    A slow answer takes its time and meets the request's read timeout; a dropped one is a `RemoteProtocolError`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        fault = self._arrived(request)
        spent = self._pause(request, fault)
        time.sleep(spent)
        answer = self._decide(request, fault)
        rest = _rest(request, answer, spent)
        time.sleep(rest)
        return self._respond(request, answer, spent + rest)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        fault = self._arrived(request)
        spent = self._pause(request, fault)
        await asyncio.sleep(spent)
        answer = self._decide(request, fault)
        rest = _rest(request, answer, spent)
        await asyncio.sleep(rest)
        return self._respond(request, answer, spent + rest)

    def _arrived(self, request: httpx.Request) -> Fault | None:
        return self.sandbox.arrived(request.method) if _asks_for_a_token(request) else None

    def _pause(self, request: httpx.Request, fault: Fault | None) -> float:
        delay = (fault.seconds if fault else 0.0) + (self.sandbox.latency if _asks_for_a_token(request) else 0.0)
        return min(delay, _patience(request))

    def _decide(self, request: httpx.Request, fault: Fault | None) -> Answer:
        if _asks_for_a_token(request):
            asked = Asked.of(request.method, request.url.query, request.headers, request.content)
            return self.sandbox.answer(fault, asked)
        if request.url.path == "/api/echo":
            return self.sandbox.call(request.headers.get("Authorization", ""))
        return NOT_FOUND

    def _respond(self, request: httpx.Request, answer: Answer, spent: float) -> httpx.Response:
        if answer.sent == "silence" or spent >= _patience(request):
            raise httpx.ReadTimeout("the sandbox is slow", request=request)
        if answer.sent == "dropped":
            raise httpx.RemoteProtocolError("the sandbox dropped the connection", request=request)
        return httpx.Response(answer.status, headers=answer.sent_headers(), stream=_Body(request, answer))


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is decoded and cut short where a client reads it, as one from a socket is."""

    def __init__(self, request: httpx.Request, answer: Answer) -> None:
        self._request, self._answer = request, answer

    def __iter__(self) -> Iterator[bytes]:
        yield self._answer.content()
        if self._answer.sent == "cut":
            raise httpx.RemoteProtocolError("the sandbox dropped the connection", request=self._request)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def _asks_for_a_token(request: httpx.Request) -> bool:
    return request.url.path == "/oauth/token"


def _patience(request: httpx.Request) -> float:
    read = request.extensions.get("timeout", {}).get("read")
    return _DAY if read is None else float(read)


def _rest(request: httpx.Request, answer: Answer, spent: float) -> float:
    return max(0.0, min(_DAY if answer.sent == "silence" else answer.seconds, _patience(request) - spent))
