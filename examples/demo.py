"""Threads and asyncio tasks call an API with one shared token; run it: python examples/demo.py"""

import asyncio
import os
import random
import sys
import threading
import time
from typing import Any

import httpx

from enkash_auth import EnkashAuth, Token, TokenProvider
from enkash_auth.testing import Sandbox

LIFE, SECONDS, THREADS, TASKS, CALLS_EACH, SLOT = 4, 10, 8, 8, 160, 0.25
EXPLANATION = f"""\
A sandbox of EnKash's token server starts on this machine. Its tokens expire after {LIFE} seconds.
For about {SECONDS} seconds {THREADS} threads and {TASKS} asyncio tasks make {(THREADS + TASKS) * CALLS_EACH} API calls,
all with one token provider. The provider gets the token, shares it and renews it.
Look at the end of the output: no call has failed, and there were only a few token requests.
"""


class Watched(TokenProvider):
    """A provider that records how long each caller waited for its token."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.waits: list[float] = []

    def token(self) -> Token:
        started = time.monotonic()
        token = super().token()
        self.waits.append(time.monotonic() - started)
        return token

    async def atoken(self) -> Token:
        started = time.monotonic()
        token = await super().atoken()
        self.waits.append(time.monotonic() - started)
        return token


class Record:
    """The outcome of each call, from any thread."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.calls: list[tuple[float, float]] = []  # time of the answer, duration
        self.failures: list[str] = []

    def note(self, started: float, outcome: httpx.Response | Exception) -> None:
        ended = time.monotonic()
        self.calls.append((ended, ended - started))
        if isinstance(outcome, Exception):
            self.failures.append(type(outcome).__name__)
        elif outcome.status_code != 200:
            self.failures.append(f"status {outcome.status_code}")

    def over(self) -> bool:
        """Return whether the extra time for a slow machine is used up."""
        return time.monotonic() - self.began > SECONDS + 5

    def pause(self, number: int) -> float:
        """Return the seconds until this call is due, with some chance, so that callers do not act in step."""
        return max(0.0, self.began + (number + random.random()) * SECONDS / CALLS_EACH - time.monotonic())


def call_from_a_thread(url: str, auth: EnkashAuth, record: Record) -> None:
    with httpx.Client(base_url=url, auth=auth) as client:
        for number in range(CALLS_EACH):
            if record.over():
                break
            time.sleep(record.pause(number))
            started = time.monotonic()
            try:
                record.note(started, client.get("/api/echo"))
            except Exception as failure:
                record.note(started, failure)


async def call_from_tasks(url: str, auth: EnkashAuth, record: Record) -> None:
    async def task(client: httpx.AsyncClient) -> None:
        for number in range(CALLS_EACH):
            if record.over():
                break
            await asyncio.sleep(record.pause(number))
            started = time.monotonic()
            try:
                record.note(started, await client.get("/api/echo"))
            except Exception as failure:
                record.note(started, failure)

    async with httpx.AsyncClient(base_url=url, auth=auth) as client:
        await asyncio.gather(*(task(client) for _ in range(TASKS)))


def show_progress(record: Record, sandbox: Sandbox, workers: list[threading.Thread]) -> None:
    tty = sys.stdout.isatty()
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.1 if tty else 2)
        line = f"{time.monotonic() - record.began:5.1f} s  {len(record.calls):5} calls  {len(record.failures)} failed"
        line += f"  {sandbox.token_requests} token requests"
        print(f"\r{line}" if tty else line, end="" if tty else "\n", flush=True)
    print()


def show_timeline(record: Record, grant_times: list[float]) -> None:
    slots = int((max(ended for ended, _ in record.calls) - record.began) / SLOT) + 1
    counts, marks = [0] * slots, [" "] * slots
    for ended, _ in record.calls:
        counts[int((ended - record.began) / SLOT)] += 1
    for at in grant_times:
        marks[min(slots - 1, max(0, int((at - record.began) / SLOT)))] = "^"
    print(f"API calls, one column per {SLOT} s:   {''.join(' ▁▂▃▄▅▆▇█'[-(-8 * n // max(counts))] for n in counts)}")
    print(f"^ token request:                   {''.join(marks)}\n")


def main() -> int:
    print(EXPLANATION, flush=True)
    with Sandbox(life=LIFE, sticky=True, latency=0.05).serve() as sandbox:
        os.environ.update(sandbox.environment())  # a real deployment sets these
        with Watched.from_env() as provider:
            auth = EnkashAuth(provider)
            record = Record()
            targets = [call_from_a_thread] * THREADS + [lambda *given: asyncio.run(call_from_tasks(*given))]
            given = (sandbox.base_url, auth, record)
            workers = [threading.Thread(target=target, args=given, daemon=True) for target in targets]
            for worker in workers:
                worker.start()
            show_progress(record, sandbox, workers)
    show_timeline(record, sandbox.grant_times)
    waits = [wait for wait in provider.waits if wait > 0.01]
    rows = {
        "API calls": len(record.calls),
        "failed": len(record.failures),
        "token requests": sandbox.token_requests,
        "different tokens": sandbox.tokens_issued,
        "renewals": sandbox.tokens_issued - 1,
        "waits for a token": len(waits),
        "longest wait": f"{max(waits, default=0) * 1000:.0f} ms",
    }
    for name, value in rows.items():
        print(f"{name:18}{value:>8}")
    print(*sorted(set(record.failures)), sep="\n")
    return 1 if record.failures or sandbox.tokens_issued < 3 else 0


if __name__ == "__main__":
    sys.exit(main())
