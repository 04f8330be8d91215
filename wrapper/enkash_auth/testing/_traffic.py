"""What comes to the token endpoint: counted, and met by the fault that waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import get_args

from ._answers import Fault, Faults


class Traffic:
    """Counters and faults of the token endpoint, behind one lock; `clock` answers in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.token_requests = 0
        self.grant_times: list[float] = []
        self._guard = threading.Lock()
        self._faults: deque[Fault] = deque()
        self._limited_until = -math.inf

    def fail_next(
        self,
        kind: Faults,
        times: int = 1,
        *,
        seconds: float = 1.0,
        retry_after: float | str | None = 1,
        status: int = 500,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Queue a fault for the next `times` token requests; `seconds` delays `slow`, `retry_after` is in seconds."""
        if kind not in get_args(Faults):
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(get_args(Faults))}")
        with self._guard:
            self._faults.extend([Fault(kind, seconds, retry_after, status, body, headers or {})] * times)

    def slow(self, seconds: float, times: int = 1) -> None:
        """Let the next `times` token requests take so many seconds longer."""
        self.fail_next("slow", times, seconds=seconds)

    def limit_rate(self, seconds: float) -> None:
        """Answer 429 to every token request for so many seconds, with what is left of them in `Retry-After`."""
        with self._guard:
            self._limited_until = self.clock() + seconds

    def arrived(self) -> Fault | None:
        """Count a token request and take the fault that waits for it."""
        with self._guard:
            self.token_requests += 1
            self.grant_times.append(time.monotonic())
            if (left := self._limited_until - self.clock()) > 0:
                return Fault("rate_limited", retry_after=math.ceil(left))
            return self._faults.popleft() if self._faults else None

    def assert_token_requests(self, expected: int) -> None:
        """Raise `AssertionError` unless so many token requests have come; it says when each one came."""
        __tracebackhide__ = True
        with self._guard:
            times = list(self.grant_times)
        if len(times) != expected:
            when = f": {', '.join(f'{at - times[0]:.2f} s' for at in times)}" if times else ""
            raise AssertionError(f"{len(times)} token requests, not {expected}{when}")
