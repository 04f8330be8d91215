"""The sandbox as an ASGI app, and as a server on a loopback port."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from enkash_auth._credentials import Credentials

from ._answers import Answer
from ._server import State

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ._transport import SandboxTransport

_EXTRA = "enkash_auth.testing needs the extra enkash-auth[testing]"


class Sandbox(State):
    """A token server with one account, at `app` in process or at `base_url` while the sandbox is entered.

    `life` (seconds; None never ends) and `latency` (seconds a grant takes) are on the wire, `clock` answers in
    seconds and decides when a token has ended.
    """

    _server: _Serving | None = None

    @cached_property
    def app(self) -> ASGIApp:
        """The ASGI app: `POST /oauth/token`, and `/api/echo`, which wants a live token."""
        return _app(self)

    @property
    def base_url(self) -> str:
        """The URL of the running server, or of nothing (`http://127.0.0.1`) while only `app` is used."""
        return f"http://127.0.0.1:{self._server.port}" if self._server else "http://127.0.0.1"

    @cached_property
    def transport(self) -> SandboxTransport:
        """An httpx transport, sync and async, that reaches this server without a socket."""
        from ._transport import SandboxTransport

        return SandboxTransport(self)

    def credentials(self) -> Credentials:
        """The credentials that this server takes."""
        return Credentials(**{name[7:].lower(): value for name, value in self.environment().items()})

    def environment(self) -> dict[str, str]:
        """The settings a service would need to use this server."""
        settings = {
            "ENKASH_BASE_URL": self.base_url,
            "ENKASH_USERNAME": self.username,
            "ENKASH_PASSWORD": self.password,
            "ENKASH_CLIENT_ID": self.client_id,
            "ENKASH_CLIENT_SECRET": self.client_secret,
        }
        if self.basic_client_id != self.client_id:
            settings["ENKASH_BASIC_CLIENT_ID"] = self.basic_client_id
        return settings

    def serve(self) -> Sandbox:
        """Start serving on a free loopback port, on a daemon thread; leaving the sandbox stops it."""
        if self._server is None:
            self._server = _Serving(self.app)
        return self

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Sandbox:
        return self.serve()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _app(state: State) -> ASGIApp:
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route
    except ImportError as missing:
        raise ImportError(_EXTRA) from missing

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


class _Serving:
    """uvicorn on a daemon thread."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, app: ASGIApp) -> None:
        try:
            import uvicorn
            from uvicorn.protocols.http.h11_impl import H11Protocol
        except ImportError as missing:
            raise ImportError(_EXTRA) from missing
        started, self._stop = threading.Event(), asyncio.Event()

        class Protocol(H11Protocol):
            # The only way for an app to close its connection unanswered is to hold the transport.
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                inner = self.app

                async def app(scope: Any, receive: Any, send: Any) -> None:
                    await inner({**scope, "enkash_auth.transport": transport}, receive, send)

                self.app = app

        class Server(uvicorn.Server):
            # Waits for the event instead of looking ten times a second: starting and stopping are quick.
            async def main_loop(_server) -> None:
                started.set()
                await self._stop.wait()

        # the protocol is named, for otherwise asyncio leaves Nagle's algorithm on, and each answer takes 44 ms
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=2048,
            # A slow answer nobody waits for any more must not keep the sandbox from stopping.
            timeout_graceful_shutdown=0,
            # Longer than clients keep idle connections (httpx: 5 s), or both ends race to close one.
            timeout_keep_alive=75,
        )
        server = Server(config)

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=[self._socket])

        self._thread = threading.Thread(target=asyncio.run, args=(main(),), name="enkash-sandbox", daemon=True)
        self._thread.start()
        if not started.wait(10):  # pragma: no cover - a machine that cannot run a thread for ten seconds
            raise RuntimeError("the sandbox did not start within 10 s")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
