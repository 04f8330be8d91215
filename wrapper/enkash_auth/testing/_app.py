"""The sandbox as an ASGI app."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

from ._answers import Answer
from ._asked import Asked

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ._sandbox import Sandbox

EXTRA = "enkash_auth.testing needs the extra enkash-auth[testing]"


def make_app(sandbox: Sandbox) -> ASGIApp:
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.routing import Route
    except ImportError as missing:
        raise ImportError(EXTRA) from missing

    class Endpoint:  # an ASGI app, not a function: a dropped connection has no response to return
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            path = f"/{request.path_params['path']}"
            fault = sandbox.begin(request.method, path)
            body = await request.body()
            await asyncio.sleep(fault.seconds)
            asked = Asked.of(request.method, scope["query_string"], request.headers, body)
            answer = sandbox.answer(path, asked, fault)
            await asyncio.sleep(answer.seconds)
            await _send(answer, request, send)

    return Starlette(routes=[Route("/{path:path}", Endpoint())])


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
        transport = request.scope.get("enkash_auth.transport")
        if transport is None:
            raise ConnectionResetError("the sandbox dropped the connection")
        transport.close()
        await request.receive()
