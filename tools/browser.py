"""Opens a page in headless Chromium, with the DevTools protocol over two pipes: without a driver or a package."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds for one page
_OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
]  # fmt: skip
# No host name resolves, so no foreign resource loads; an attempt still shows as a request.
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@dataclass
class Seen:
    """What the browser asked for and complained of."""

    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # messages of the console, and failed loads


def find() -> str | None:
    """Return the path of Chromium, None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yield its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()  # noqa: TID251
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Pipe:
    """Commands and events, each a JSON text followed by NUL."""

    def __init__(self, to: int, back: int, seen: Seen) -> None:
        self._to, self._back, self._seen = to, back, seen
        self._buffer, self._number = b"", 0
        self.end = time.monotonic() + PATIENCE
        self.session: str | None = None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer.get("method", ""), answer.get("params", {}))
        if "error" in answer:
            raise RuntimeError(f"Chromium: {method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], max(0.0, self.end - time.monotonic()))
            more = os.read(self._back, 1 << 20) if ready else b""
            if not more:
                raise RuntimeError(f"Chromium has stopped, or did not answer within {PATIENCE:.0f} s")
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self._seen.urls.append(params["request"]["url"])
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self._seen.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self._seen.complaints.append(details.get("exception", {}).get("description", details["text"]))


class Page:
    """An open page."""

    def __init__(self, pipe: _Pipe, seen: Seen) -> None:
        self._pipe, self.seen = pipe, seen

    def run(self, script: str) -> Any:
        """Return what a JavaScript expression is in the page, None for what JSON cannot hold."""
        return self._pipe.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str) -> Any:
        """Return what an expression is as soon as that is true, or after half the page's time."""
        while not (found := self.run(script)) and time.monotonic() < self._pipe.end - PATIENCE / 2:
            threading.Event().wait(0.1)
        return found

    def picture(self) -> bytes:
        threading.Event().wait(0.5)  # scrolling starts drawing
        return base64.b64decode(self._pipe.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def opened(chromium: str, url: str, width: int) -> Iterator[Page]:
    """Open a page on a screen of this width (a phone's below 600), for a reader who prefers a light scheme."""
    seen = Seen()
    (child_in, to), (back, child_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # Chromium reads descriptor 3 and writes 4
        command = ["sh", "-c", f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}', chromium]
        process = subprocess.Popen(
            [*command, *_OPTIONS, _ALONE, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(child_in, child_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(child_in)
        os.close(child_out)
        try:
            pipe = _Pipe(to, back, seen)
            target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
            pipe.session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Network", "Log", "Runtime", "Page"):
                pipe.call(f"{domain}.enable")
            screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            pipe.call("Emulation.setDeviceMetricsOverride", **screen)
            features = [{"name": "prefers-color-scheme", "value": "light"}]
            pipe.call("Emulation.setEmulatedMedia", features=features)
            pipe.call("Page.navigate", url=url)
            page = Page(pipe, seen)
            page.wait("document.readyState === 'complete'")
            yield page
            pipe.session = None
            pipe.call("Browser.close")
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)
