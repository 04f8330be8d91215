"""What the sandbox puts on the wire: an answer, and the fault that stands in for one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

# The faults with names of their own; a dialect's name is a fault's, too.
Faults = Literal[
    "server_error", "rate_limited", "html_502", "dropped", "slow", "raw", "lost", "silence", "user_database_down",
    "client_database_down",
]  # fmt: skip
Body = dict[str, object] | bytes

JSON = "application/json;charset=UTF-8"
BASIC = {"WWW-Authenticate": 'Basic realm="oauth2/client"'}
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PAGE = {
    "Content-Type": "text/html;charset=utf-8",
    "Cache-Control": "no-cache, no-store, max-age=0, must-revalidate",
    "Pragma": "no-cache",
}


@dataclass(frozen=True)
class Answer:
    """A status, a body and its headers; a dict body is sent as JSON."""

    status: int
    body: Body = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent: Literal["whole", "cut", "dropped", "silence"] = "whole"  # cut, dropped: the connection ends first
    seconds: float = 0.0  # between the decision and the answer

    @classmethod
    def page(cls, status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
        """An HTML page, as a container or a proxy writes one."""
        text = f"<!doctype html><title>HTTP Status {status}</title><p><b>Message</b> {message}</p>"
        return cls(status, text.encode(), {**_PAGE, **(headers or {})})

    def without_body(self) -> Answer:
        """The answer to HEAD."""
        return replace(self, body=b"", headers=self.sent_headers())

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def sent_headers(self) -> dict[str, str]:
        headers = {"Content-Type": JSON, **self.headers} if isinstance(self.body, dict) else dict(self.headers)
        return {**headers, "Content-Length": str(len(self.content()) + 100)} if self.sent == "cut" else headers


NOT_FOUND = Answer.page(404, "Not Found")


@dataclass(frozen=True)
class Fault:
    """What a token request meets: `answer` in place of its own; `seconds` of delay; the loss of its own answer."""

    answer: Answer | None = None
    seconds: float = 0.0
    lost: bool = False
