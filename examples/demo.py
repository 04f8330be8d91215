"""Callers share a token on each of two kinds of token server; run it: python examples/demo.py"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from enkash_auth import EnkashAuth, Token, TokenProvider
from enkash_auth.testing import Sandbox

LIFE, SECONDS, THREADS, TASKS, EVERY, COLUMN = 4, 12, 4, 4, 0.1, 0.3
NOTABLE = 0.03  # seconds: a shorter wait is this machine's, because a token request takes 0.05 s
EXPLANATION = """\
Two token servers start on this machine. A token expires after {life} s, so that
you see several expire. On each server {callers} callers ({threads} threads, {tasks} asyncio tasks)
make API calls for {seconds} s. They share one token provider, which gets the token
and renews it.
"""
KINDS = {
    "FRESH: this server answers each request with a new token.": False,
    "STICKY: this server repeats its token until that expires, as EnKash's probably\ndoes.": True,
}
RESULT = {
    False: "The provider asks in the background, before the old token expires. After the\nfirst token {waited} waited.",
    True: "A new token exists only after the old one has expired, so callers wait a moment\n"
    "at each expiry: {waited}, {longest} ms at most. The provider asks a few\n"
    "times when the old token expires, which keeps that moment short.",
}
LEGEND = f"""\
One column is {COLUMN} s.
calls     full height is as many as are due; a dip without w is this machine's
token     the number of the token in use
requests  ^ the provider asked the server for a token
waiting   w a call waited for its token, or on a busy machine for its turn
"""


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}" if number else f"no {thing}"


class Watched(TokenProvider):
    """A provider that records for each call when it asked for a token, when it got one, and which."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.served: list[tuple[float, float, str]] = []

    def token(self) -> Token:
        return self._note(time.monotonic(), super().token())

    async def atoken(self) -> Token:
        return self._note(time.monotonic(), await super().atoken())

    def _note(self, asked: float, token: Token) -> Token:
        self.served.append((asked, time.monotonic(), token.access_token))
        return token


class Service:
    """The callers on one server, and what became of their calls."""

    def __init__(self, sandbox: Sandbox, ready: threading.Barrier) -> None:
        self.sandbox, self.ready, self.began = sandbox, ready, 0.0
        self.provider = Watched(sandbox.credentials())
        self.auth = EnkashAuth(self.provider)
        self.answers: list[float] = []
        self.failures: list[str] = []
        self.workers = [threading.Thread(target=self.in_a_thread, args=(n,), daemon=True) for n in range(THREADS)]
        self.workers.append(threading.Thread(target=lambda: asyncio.run(self.in_tasks()), daemon=True))

    def begin(self) -> None:
        self.began = time.monotonic()

    def pause(self, caller: int, call: int) -> float:
        """Return the seconds until a call is due; the callers take turns."""
        due = self.began + (call + caller / (THREADS + TASKS)) * EVERY
        return max(0.0, due - time.monotonic())

    def note(self, outcome: httpx.Response | Exception) -> None:
        self.answers.append(time.monotonic())
        if isinstance(outcome, Exception):
            self.failures.append(type(outcome).__name__)
        elif outcome.status_code != 200:
            self.failures.append(f"status {outcome.status_code}")

    def in_a_thread(self, caller: int) -> None:
        with httpx.Client(base_url=self.sandbox.base_url, auth=self.auth) as client:
            self.ready.wait()
            for call in range(round(SECONDS / EVERY)):
                time.sleep(self.pause(caller, call))
                try:
                    self.note(client.get("/api/echo"))
                except Exception as failure:
                    self.note(failure)

    async def in_tasks(self) -> None:
        async def task(caller: int) -> None:
            for call in range(round(SECONDS / EVERY)):
                await asyncio.sleep(self.pause(caller, call))
                try:
                    self.note(await client.get("/api/echo"))
                except Exception as failure:
                    self.note(failure)

        async with httpx.AsyncClient(base_url=self.sandbox.base_url, auth=self.auth) as client:
            self.ready.wait()
            await asyncio.gather(*(task(THREADS + n) for n in range(TASKS)))

    def summary(self) -> str:
        """Return the picture, one column for each `COLUMN` seconds, and the numbers beside it."""
        served = sorted(self.provider.served, key=lambda call: call[1])
        numbers = {token: n for n, token in enumerate(dict.fromkeys(token for *_, token in served), 1)}
        waits = [(asked, got, numbers[token]) for asked, got, token in served if got - asked > NOTABLE]
        later = [got - asked for asked, got, number in waits if number > 1]
        columns = max(1, round((max(self.answers) - self.began) / COLUMN))
        calls, tokens, asks, waiting = ([0] * columns for _ in range(4))

        def column(at: float) -> int:
            return min(columns - 1, max(0, int((at - self.began) / COLUMN)))

        for at in self.answers:
            calls[column(at)] += 1
        for _, got, token in served:
            tokens[column(got)] = numbers[token]
        for at in self.sandbox.grant_times:
            asks[column(at)] += 1
        for asked, got, _ in waits:
            for at in range(column(asked), column(got) + 1):
                waiting[at] += 1
        steady = (THREADS + TASKS) * COLUMN / EVERY
        rows: list[tuple[str, list[int], Callable[[int], str], str]] = [
            ("calls", calls, lambda n: " ▁▂▃▄▅▆▇█"[min(8, round(8 * n / steady))], count(len(self.answers), "call")),
            ("token", tokens, lambda n: str(n % 10) if n else " ", count(len(numbers), "token")),
            ("requests", asks, lambda n: "^" if n else " ", count(self.sandbox.token_requests, "request")),
            ("waiting", waiting, lambda n: "w" if n else " ", count(len(waits), "call") + " waited"),
        ]
        lines = [f"  {name:8} {''.join(map(show, values))}  {said}" for name, values, show, said in rows]
        lines[0] += f", {len(self.failures) or 'none'} failed"
        longest = round(max(later, default=0) * 1000)
        lines += ["", RESULT[self.sandbox.sticky].format(waited=count(len(later), "call"), longest=longest)]
        return "\n".join([*lines, *sorted(set(self.failures))])


def show_progress(services: list[Service]) -> None:
    """Show one line that changes on a terminal; a pipe gets the result only."""
    while any(worker.is_alive() for service in services for worker in service.workers):
        time.sleep(0.1)
        if sys.stdout.isatty():
            said = [
                f"{'sticky' if service.sandbox.sticky else 'fresh'}: {count(len(service.answers), 'call')}, "
                f"{count(service.sandbox.token_requests, 'request')}"
                for service in services
            ]
            passed = time.monotonic() - services[0].began
            print(f"\r\033[K{passed:2.0f} of {SECONDS} s   {'   '.join(said)}", end="", flush=True)
    print("\r\033[K" if sys.stdout.isatty() else "", end="")


def main() -> int:
    sys.stdout.reconfigure(encoding="utf-8")
    callers = THREADS + TASKS
    print(EXPLANATION.format(life=LIFE, callers=callers, threads=THREADS, tasks=TASKS, seconds=SECONDS), flush=True)
    os.environ["ENKASH_ATTEMPTS"] = "off"  # the demo leaves no file in your home directory
    ready = threading.Barrier(len(KINDS) * (THREADS + 1) + 1, lambda: [service.begin() for service in services])
    services = [Service(Sandbox(life=LIFE, sticky=sticky, latency=0.05).serve(), ready) for sticky in KINDS.values()]
    for service in services:
        for worker in service.workers:
            worker.start()
    ready.wait()  # all clients are built
    show_progress(services)
    for title, service in zip(KINDS, services, strict=True):
        print(f"{title}\n\n{service.summary()}\n")
        service.provider.close()
        service.sandbox.close()
    print(LEGEND)
    calls = sum(len(service.answers) for service in services)
    asked = sum(service.sandbox.token_requests for service in services)
    print(f"{count(calls, 'API call')} needed {count(asked, 'token request')}.")
    failed = any(service.failures or service.sandbox.tokens_issued < SECONDS // LIFE for service in services)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
