"""The sandbox as an ASGI app."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from ._answers import Answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ._state import State

EXTRA = "enkash_auth.testing needs the extra enkash-auth[testing]"


def make_app(state: State) -> ASGIApp:
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route
    except ImportError as missing:
        raise ImportError(EXTRA) from missing

    def sent(answer: Answer) -> Response:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return Response(body, answer.status, answer.sent_headers())

    class Token:
        # An ASGI app, not a function: a dropped connection has no response to return.
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            fault = state.arrived()
            body = await request.body()
            # Half before the decision and half after it, as on a real network.
            await asyncio.sleep(state.latency / 2 + (fault.seconds if fault and fault.kind == "slow" else 0))
            if fault and fault.kind == "dropped":
                await _drop(request)
                return
            headers = request.headers
            answer = state.answer(fault, headers.get("authorization", ""), headers.get("content-type", ""), body)
            await asyncio.sleep(state.latency / 2)
            await sent(answer)(scope, receive, send)

    async def echo(request: Request) -> Response:
        await request.body()
        return sent(state.call(request.headers.get("authorization", "")))

    return Starlette(
        routes=[
            Route("/oauth/token", Token(), methods=["POST"]),
            Route("/api/echo", echo, methods=["GET", "POST"]),
        ]
    )


async def _drop(request: Request) -> None:
    transport = request.scope.get("enkash_auth.transport")
    if transport is None:
        raise ConnectionResetError("the sandbox dropped the connection")
    transport.close()
    await request.receive()  # the body was read: what comes next is the disconnect
