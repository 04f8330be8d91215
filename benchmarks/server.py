"""The token server for all peers, in its own process.

It answers any kind of grant, because peers send different ones, and refuses credentials that contain "wrong".
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

import httpx

START = {"life": 3600.0, "sticky": False, "latency": 0.0}


class State:
    """The settings of the token endpoint, and the requests since the last `reset`."""

    def __init__(self) -> None:
        self.reset({})

    def reset(self, settings: dict[str, Any]) -> None:
        self.life, self.sticky, self.latency = (settings.get(name, START[name]) for name in START)
        self.ends: dict[str, float] = {}
        self.last = ""
        self.counts = {"requests": 0, "refused": 0, "unauthorized": 0}

    def grant(self, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.counts["requests"] += 1
        sent = base64.b64decode(authorization.partition(" ")[2]).decode() + str(parse_qs(body.decode()))
        if "wrong" in sent:
            self.counts["refused"] += 1
            return 400, {"error": "invalid_grant", "error_description": "Bad credentials"}
        now = time.monotonic()
        if not (self.sticky and now < self.ends.get(self.last, 0.0)):
            self.last = secrets.token_urlsafe(20)
            self.ends[self.last] = now + self.life
        left = int(self.ends[self.last] - now)
        answer = {"access_token": self.last, "token_type": "bearer", "expires_in": left}
        return 200, {**answer, "refresh_token": "canary-refresh"}

    def call(self, authorization: str) -> tuple[int, dict[str, Any]]:
        if time.monotonic() < self.ends.get(authorization.partition(" ")[2], 0.0) or authorization == "Bearer static":
            return 200, {"ok": True}
        self.counts["unauthorized"] += 1
        return 401, {"error": "invalid_token"}


def app_of(state: State) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        if scope["path"] == "/oauth/token":
            await asyncio.sleep(state.latency)
            status, answer = state.grant(authorization, body)
        elif scope["path"] == "/control":
            if body:
                state.reset(json.loads(body))
            status, answer = 200, state.counts
        else:
            status, answer = state.call(authorization)
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    return app


def serve() -> None:
    """Serve on a free loopback port and print it; stop when standard input is closed."""
    import uvicorn

    # IPPROTO_TCP is explicit: without it asyncio does not switch off Nagle's algorithm, and answers take 40 ms
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app_of(State()), http="h11", lifespan="off", log_level="critical", backlog=4096)
    config.timeout_keep_alive, config.timeout_graceful_shutdown = 75, 1
    server = uvicorn.Server(config)

    def end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run(sockets=[listening])


class Control:
    """What a measure can tell the server and ask it."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def reset(self, **settings: float | bool) -> None:
        """Delete tokens and counts. `life` and `latency` are in seconds."""
        httpx.post(f"{self.base_url}/control", json=settings or {"life": START["life"]}, trust_env=False)

    def counts(self) -> dict[str, int]:
        """Return token requests, the refused ones among them, and API calls without a valid token."""
        counts: dict[str, int] = httpx.get(f"{self.base_url}/control", trust_env=False).json()
        return counts


class Server(Control):
    """Starts and stops the server."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        super().__init__(f"http://127.0.0.1:{int(self._process.stdout.readline())}")
        connected = httpx.HTTPTransport(retries=8)  # the server prints its port before it listens
        httpx.Client(transport=connected).get(f"{self.base_url}/control")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate("", timeout=20)


if __name__ == "__main__":
    serve()
