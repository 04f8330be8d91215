"""The sandbox's answers, and the faults that stand in for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Faults = Literal["server_error", "rate_limited", "html_502", "dropped", "slow", "raw"]
Body = dict[str, object] | bytes

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True)
class Fault:
    """One queued misbehaviour; `seconds` and `retry_after` are in seconds."""

    kind: str
    seconds: float = 1.0
    retry_after: float | str | None = 1
    status: int = 500
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def answer(self) -> Answer:
        """The answer this fault stands for; `dropped` and `slow` have none."""
        if self.kind == "server_error":
            return Answer.error(500, "server_error", "Internal Server Error")
        if self.kind == "rate_limited":
            retry = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            return Answer(429, {"error": "rate_limited"}, retry)
        if self.kind == "html_502":
            return Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"})
        return Answer(self.status, self.body, self.headers)


@dataclass(frozen=True)
class Answer:
    """A status, a body and its headers; a dict body is sent as JSON."""

    status: int
    body: Body = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def error(cls, status: int, error: str, description: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, {"error": error, "error_description": description}, {**NO_STORE, **named})

    def sent_headers(self) -> dict[str, str]:
        return {"Content-Type": _JSON, **self.headers} if isinstance(self.body, dict) else dict(self.headers)
