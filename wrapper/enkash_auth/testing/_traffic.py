"""What comes to the token endpoint: counted, and met by the fault or the outage that waits for it."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack, get_args

from ._answers import Answer, Fault, Faults
from ._dialects import DIALECTS
from ._options import Complete, choose

# What these faults answer is a dialect's.
_ALIASES = {
    "server_error": "500",
    "html_502": "502",
    "user_database_down": "unauthorized-401",
    "client_database_down": "basic-401",
}
_TAKE = {"slow": ("seconds",), "rate_limited": ("retry_after",), "raw": ("status", "body", "headers")}
_KINDS = [*dict.fromkeys([*get_args(Faults), *DIALECTS])]
_DOWN = "Could not get JDBC Connection; nested exception is java.sql.SQLException: db.internal:3306 refused"


class FaultOptions(TypedDict, total=False):
    """`slow` takes `seconds`, `rate_limited` takes `retry_after` (seconds), `raw` answers with the other three."""

    seconds: float
    retry_after: float | str | None
    status: int
    body: bytes | str
    headers: Mapping[str, str] | None


class Traffic(Complete):
    """Counters and faults of the token endpoint, behind one lock; `clock` answers in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.token_requests = 0
        self.grant_times: list[float] = []
        self._guard = threading.Lock()
        self._faults: deque[Fault] = deque()
        self._outage: Fault | None = None
        self._limited_until = -math.inf

    def fail_next(self, kind: str, times: int = 1, **options: Unpack[FaultOptions]) -> None:
        """Queue a fault for the next `times` token requests: one of `Faults`, or the answer of a dialect."""
        fault = _fault(kind, options)
        with self._guard:
            self._faults.extend([fault] * times)

    def slow(self, seconds: float, times: int = 1) -> None:
        """Let the next `times` token requests take so many seconds longer."""
        self.fail_next("slow", times, seconds=seconds)

    def start_outage(self, kind: str, **options: Unpack[FaultOptions]) -> None:
        """Let every token request meet one fault of `fail_next` until `end_outage`."""
        fault = _fault(kind, options)
        with self._guard:
            self._outage = fault

    def end_outage(self) -> None:
        """End the outage; without one, do nothing."""
        with self._guard:
            self._outage = None

    def limit_rate(self, seconds: float) -> None:
        """Answer 429 to every token request for so many seconds, with what is left of them in `Retry-After`."""
        with self._guard:
            self._limited_until = self.clock() + seconds

    def arrived(self, method: str = "POST") -> Fault | None:
        """Count a token request and take the fault that waits for it; what is no POST meets an outage only."""
        with self._guard:
            if method != "POST":
                return self._outage
            self.token_requests += 1
            self.grant_times.append(time.monotonic())
            if (left := self._limited_until - self.clock()) > 0:
                return Fault(_limited(math.ceil(left)))
            return self._faults.popleft() if self._faults else self._outage

    def assert_token_requests(self, expected: int) -> None:
        """Raise `AssertionError` unless so many token requests have come; it says when each one came."""
        __tracebackhide__ = True
        with self._guard:
            times = list(self.grant_times)
        if len(times) != expected:
            when = f": {', '.join(f'{at - times[0]:.2f} s' for at in times)}" if times else ""
            raise AssertionError(f"{len(times)} token requests, not {expected}{when}")


def _fault(kind: str, options: FaultOptions) -> Fault:
    choose(kind, _KINDS, "fault")
    for name in options:
        choose(name, FaultOptions.__annotations__, "option", TypeError)
        if name not in _TAKE.get(kind, ()):
            other = next(one for one, names in _TAKE.items() if name in names)
            raise TypeError(f"the fault {kind!r} takes no option {name!r}; {other!r} does")
    body = options.get("body", b"")
    raw = body.encode() if isinstance(body, str) else body
    special = {
        "slow": Fault(seconds=options.get("seconds", 1.0)),
        "lost": Fault(lost=True),
        "raw": Fault(Answer(options.get("status", 500), raw, options.get("headers") or {})),
        "rate_limited": Fault(_limited(options.get("retry_after", 1))),
    }
    return special.get(kind) or Fault(DIALECTS[_ALIASES.get(kind, kind)].refusal(_DOWN))


def _limited(retry_after: float | str | None) -> Answer:
    return Answer(429, {"error": "rate_limited"}, {} if retry_after is None else {"Retry-After": str(retry_after)})
