"""The sandbox without sockets."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import httpx

from ._answers import Answer, Fault

if TYPE_CHECKING:
    from ._sandbox import Sandbox


class SandboxTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The `transport` of a provider or an httpx client that reaches `sandbox` and nothing else.

    A slow answer takes its time and meets the request's read timeout; a dropped one is a `RemoteProtocolError`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        fault = self._arrived(request)
        time.sleep(self._pause(request, fault))
        return self._answer(request, fault)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        fault = self._arrived(request)
        await asyncio.sleep(self._pause(request, fault))
        return self._answer(request, fault)

    def _arrived(self, request: httpx.Request) -> Fault | None:
        return self.sandbox.arrived() if _asks_for_a_token(request) else None

    def _pause(self, request: httpx.Request, fault: Fault | None) -> float:
        return min(self._delay(request, fault), _patience(request))

    def _delay(self, request: httpx.Request, fault: Fault | None) -> float:
        latency = self.sandbox.latency if _asks_for_a_token(request) else 0.0
        return latency + (fault.seconds if fault and fault.kind == "slow" else 0.0)

    def _answer(self, request: httpx.Request, fault: Fault | None) -> httpx.Response:
        if self._delay(request, fault) > _patience(request):
            raise httpx.ReadTimeout("the sandbox is slow", request=request)
        if fault and fault.kind == "dropped":
            raise httpx.RemoteProtocolError("the sandbox dropped the connection", request=request)
        sent = request.headers
        authorization, content_type = sent.get("Authorization", ""), sent.get("Content-Type", "")
        if _asks_for_a_token(request):
            answer = self.sandbox.answer(fault, authorization, content_type, request.content)
        elif request.url.path == "/api/echo":
            answer = self.sandbox.call(authorization)
        else:
            answer = Answer(404, {"error": "not_found"})
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return httpx.Response(answer.status, headers=answer.sent_headers(), content=body)


def _asks_for_a_token(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path == "/oauth/token"


def _patience(request: httpx.Request) -> float:
    read = request.extensions.get("timeout", {}).get("read")
    return float("inf") if read is None else float(read)
