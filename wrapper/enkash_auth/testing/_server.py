"""The sandbox's server on a loopback port."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from ._app import EXTRA

if TYPE_CHECKING:
    from starlette.types import ASGIApp


# a service under test may run on uvicorn, too: its loggers keep their levels and handlers
_LOGGERS = ("uvicorn.error", "uvicorn.asgi")


class Server:
    """uvicorn on a daemon thread."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, app: ASGIApp) -> None:
        try:
            import uvicorn
            from uvicorn.protocols.http.h11_impl import H11Protocol
        except ImportError as missing:
            raise ImportError(EXTRA) from missing
        started, self._stop = threading.Event(), asyncio.Event()

        class Protocol(H11Protocol):
            # The only way for an app to close its connection unanswered is to hold the transport.
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is always one
                super().connection_made(transport)
                self.access_log = False
                inner = self.app

                async def app(scope: Any, receive: Any, send: Any) -> None:
                    await inner({**scope, "enkash_auth.transport": transport}, receive, send)

                self.app = app

        class Config(uvicorn.Config):
            def configure_logging(self) -> None:  # without `log_config`, too, that would name a level of the process
                pass

        class Quick(uvicorn.Server):
            # Waits for the event instead of looking ten times a second: starting and stopping are quick.
            async def main_loop(_server) -> None:
                started.set()
                await self._stop.wait()

        # the protocol is named, for otherwise asyncio leaves Nagle's algorithm on, and each answer takes 44 ms
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        # a slow answer that nobody waits for any more must not keep the sandbox from stopping; an idle connection is
        # kept longer than clients keep it (httpx: 5 s), or both ends race to close it
        config = Config(
            app, http=Protocol, ws="none", loop="asyncio", lifespan="off", proxy_headers=False, server_header=False,
            date_header=False, backlog=2048, timeout_graceful_shutdown=0, timeout_keep_alive=75,
        )  # fmt: skip
        server = Quick(config)

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=[self._socket])

        self._thread = threading.Thread(target=asyncio.run, args=(main(),), name="enkash-sandbox", daemon=True)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._passes)
        self._thread.start()
        if not started.wait(10):  # pragma: no cover - a machine that cannot run a thread for ten seconds
            raise RuntimeError("the sandbox did not start within 10 s")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._passes)

    def _passes(self, record: logging.LogRecord) -> bool:
        """Of this server only an error of the sandbox's own: an option of a wrong type is answered with a bare 500."""
        own = threading.current_thread() is self._thread
        return not own or bool(record.exc_info and isinstance(record.exc_info[1], Exception))
