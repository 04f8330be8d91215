"""The sandbox without sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import httpx

from ._answers import Answer
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
        steps = self._steps(request)
        time.sleep(next(steps))
        time.sleep(next(steps))
        return next(steps)  # type: ignore[no-any-return]  # the third is the response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        steps = self._steps(request)
        await asyncio.sleep(next(steps))
        await asyncio.sleep(next(steps))
        return next(steps)  # type: ignore[no-any-return]  # the third is the response

    def _steps(self, request: httpx.Request) -> Iterator[Any]:
        """Yield the seconds before the sandbox decides, the seconds after that, and the response."""
        read = request.extensions.get("timeout", {}).get("read")
        patience = _DAY if read is None else float(read)
        fault = self.sandbox.begin(request.method, request.url.path)
        yield (spent := min(fault.seconds, patience))
        asked = Asked.of(request.method, request.url.query, request.headers, request.content)
        answer = self.sandbox.answer(request.url.path, asked, fault)
        yield (rest := min(_DAY if answer.sent == "silence" else answer.seconds, patience - spent))
        if answer.sent == "silence" or spent + rest >= patience:
            raise httpx.ReadTimeout("the sandbox is slow", request=request)
        if answer.sent == "dropped":
            raise httpx.RemoteProtocolError("the sandbox dropped the connection", request=request)
        yield httpx.Response(answer.status, headers=answer.sent_headers(), stream=_Body(request, answer))


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
