"""Eight threads send 100 requests a second while short tokens expire, in turns with a header that never changes.

The fresh server gives a new token each time, the sticky one gives the same token until it expires. On that one, every
thread waits once a life: with lives of 12 s these are 8 of 1,200 calls, with those of EnKash 8 of at least 30,000.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import httpx

from measures import at
from peers import Account, load, text
from server import Control

THREADS, RATE, SECONDS, LIFE, LATENCY = 8, 100, 36.0, 12.0, 0.1
EARLY = 0.3 * LIFE


def drive(name: str, account: Account, server: Control, sticky: bool) -> dict[str, float]:
    server.reset(life=LIFE, latency=LATENCY, sticky=sticky)
    peer = load(name).make(replace(account, username=f"steady-{sticky}"), early=EARLY)
    peer.token()
    client = httpx.Client(base_url=server.base_url, trust_env=False)
    times: dict[bool, list[float]] = {True: [], False: []}
    failed: list[str] = []
    began = time.monotonic()

    def call(signed: bool) -> None:
        started = time.monotonic()
        try:
            token = text(peer.token()) if signed else "static"
            answer = client.get("/api/echo", headers={"Authorization": f"Bearer {token}"})
            if answer.status_code != 200:
                failed.append(str(answer.status_code))
        except Exception as error:
            failed.append(type(error).__name__)
        times[signed].append(time.monotonic() - started)

    def work(number: int) -> None:
        step = THREADS / RATE
        for turn in range(int(SECONDS / step)):
            threading.Event().wait(max(0.0, began + turn * step + number / RATE - time.monotonic()))
            for signed in (True, False) if turn % 2 else (False, True):
                call(signed)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lives = (time.monotonic() - began) / LIFE
    kind = "sticky" if sticky else "fresh"
    return {
        f"{kind}_p99_ratio": at(0.99, times[True]) / at(0.99, times[False]),
        f"{kind}_max_ratio": max(times[True]) / max(times[False]),
        f"{kind}_max_ms": 1000 * max(times[True]),
        f"{kind}_failed": len(failed),
        f"{kind}_requests_per_life": server.counts()["requests"] / lives,
    }


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    return drive(name, account, server, False) | drive(name, account, server, True)
