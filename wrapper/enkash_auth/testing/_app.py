"""The sandbox as an ASGI app."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

from ._answers import NOT_FOUND, Answer
from ._asked import Asked

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ._state import State

EXTRA = "enkash_auth.testing needs the extra enkash-auth[testing]"


def make_app(state: State) -> ASGIApp:
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.routing import Route
    except ImportError as missing:
        raise ImportError(EXTRA) from missing

    # ASGI apps, not functions: a dropped connection has no response to return.
    class Token:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            fault = state.arrived(request.method)
            body = await request.body()
            # Half before the decision and half after it, as on a real network.
            await asyncio.sleep(state.latency / 2 + (fault.seconds if fault else 0))
            asked = Asked.of(request.method, scope["query_string"], request.headers, body)
            answer = state.answer(fault, asked)
            await asyncio.sleep(state.latency / 2 + answer.seconds)
            await _send(answer, request, send)

    class Echo:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            await request.body()
            await _send(state.call(request.headers.get("authorization", "")), request, send)

    class Other:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            await request.body()
            await _send(NOT_FOUND, request, send)

    # without the last, Starlette would redirect /oauth/token/, which the transport does not
    routes = [Route("/oauth/token", Token()), Route("/api/echo", Echo()), Route("/{path:path}", Other())]
    return Starlette(routes=routes)


async def _send(answer: Answer, request: Request, send: Send) -> None:
    if answer.sent == "silence":
        await request.receive()  # the body was read: what comes next is the disconnect
        return
    if answer.sent != "dropped":
        content = answer.content()
        headers = {"Date": formatdate(usegmt=True), "Content-Length": str(len(content)), **answer.sent_headers()}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": content, "more_body": answer.sent == "cut"})
    if answer.sent != "whole":
        await _drop(request)


async def _drop(request: Request) -> None:
    transport = request.scope.get("enkash_auth.transport")
    if transport is None:
        raise ConnectionResetError("the sandbox dropped the connection")
    transport.close()
    await request.receive()
