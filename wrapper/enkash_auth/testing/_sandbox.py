"""The sandbox that tests hold: its state, as an ASGI app, on a loopback port or behind an httpx transport."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from enkash_auth._settings.credentials import Credentials

from ._answers import NOT_FOUND, Answer, Fault
from ._app import make_app
from ._asked import Asked
from ._server import Server
from ._state import State

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ._transport import SandboxTransport

_TOKEN_PATH = "/oauth/token"


class Sandbox(State):
    """A token server with one account, at `app` in process or at `base_url` while the sandbox is entered.

    `life` (seconds; None never expires) and `latency` (seconds a token request takes) are on the wire, `clock` answers
    in seconds and decides when a token has expired.
    """

    _server: Server | None = None

    @cached_property
    def app(self) -> ASGIApp:
        """The ASGI app: `POST /oauth/token`, and `/api/echo`, which wants a valid token."""
        return make_app(self)

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
        return Credentials(
            self.base_url, self.username, self.password, self.client_id, self.client_secret, self.basic_client_id
        )

    def environment(self) -> dict[str, str]:
        """The settings a service needs to use this server. Its passwords are counted in no file of this user's."""
        settings = {
            "ENKASH_BASE_URL": self.base_url,
            "ENKASH_USERNAME": self.username,
            "ENKASH_PASSWORD": self.password,
            "ENKASH_CLIENT_ID": self.client_id,
            "ENKASH_CLIENT_SECRET": self.client_secret,
            "ENKASH_ATTEMPTS": "off",
        }
        if self.basic_client_id != self.client_id:
            settings["ENKASH_BASIC_CLIENT_ID"] = self.basic_client_id
        return settings

    def begin(self, method: str, path: str) -> Fault:
        """Count a request; return the fault that it meets, and its seconds until `answer` decides."""
        if path != _TOKEN_PATH:
            return Fault()
        fault = self.arrived(method) or Fault()
        return replace(fault, seconds=fault.seconds + self.latency / 2)  # half before the decision, and half after it

    def answer(self, path: str, asked: Asked, fault: Fault) -> Answer:
        """Answer a request with the fault that it met, if any."""
        if path != _TOKEN_PATH:
            return self.call(asked.authorization) if path == "/api/echo" else NOT_FOUND
        answer = fault.answer or self.grant(asked)
        if asked.method == "HEAD":
            answer = answer.without_body()
        return replace(answer, seconds=answer.seconds + self.latency / 2, sent="dropped" if fault.lost else answer.sent)

    def serve(self) -> Sandbox:
        """Start serving on a free loopback port, on a daemon thread; leaving the sandbox stops it."""
        if self._server is None:
            self._server = Server(self.app)
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
