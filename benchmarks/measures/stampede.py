"""200 threads and 10,000 tasks need a token at once: the first token, and the next one after expiry.

Waits are ratios to a single caller's; the loop's longest gap to that of as many tasks on one asyncio.Event.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from measures import at
from peers import Account, load
from server import Control

THREADS, TASKS, ROUNDS = 200, 10_000, 3
LATENCY, LIFE, EARLY = 0.1, 2.0, 0.2  # seconds


def by_threads(token: Callable[[], object], count: int) -> tuple[list[float], int]:
    """Return how long each caller waited, and how many got no token."""
    ready, times, failed = threading.Barrier(count + 1), [0.0] * count, []

    def one(number: int) -> None:
        ready.wait()
        started = time.perf_counter()
        try:
            token()
        except Exception as error:
            failed.append(error)
        times[number] = time.perf_counter() - started

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    return times, len(failed)


async def by_tasks(
    wait: Callable[[], Awaitable[object]], count: int, release: Callable[[], None] = lambda: None
) -> tuple[list[float], int, float]:
    """Return how long each caller waited, how many got no token, and the longest gap of the loop in seconds."""
    gaps, times, failed, done = [0.0], [], [], False

    async def beat() -> None:
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def one() -> None:
        started = time.perf_counter()
        try:
            await wait()
        except Exception as error:
            failed.append(error)
        times.append(time.perf_counter() - started)

    beating = asyncio.create_task(beat())
    tasks = [asyncio.create_task(one()) for _ in range(count)]
    asyncio.get_running_loop().call_later(LATENCY, release)
    await asyncio.gather(*tasks)
    done = True
    await beating
    return times, len(failed), max(gaps)


def _numbers(kind: str, times: list[float], failed: int, alone: float, server: Control) -> dict[str, float]:
    found = {f"{kind}_requests": server.counts()["requests"], f"{kind}_failed": failed}
    found |= {f"{kind}_{name}_ms": at(part, times) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    return {**found, f"{kind}_ratio": max(times) / alone}


def least_disturbed(rounds: list[dict[str, float]], by: str) -> dict[str, float]:
    """Return the round with the least disturbance, but the largest counts of requests and failures."""
    counts = [key for key in rounds[0] if key.endswith(("_requests", "_failed"))]
    return min(rounds, key=lambda numbers: numbers[by]) | {
        key: max(numbers[key] for numbers in rounds) for key in counts
    }


def with_threads(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    make = load(name).make
    server.reset(latency=LATENCY)
    alone = min(by_threads(make(replace(account, username=f"alone-{n}")).token, 1)[0][0] for n in range(ROUNDS))
    first, expiry = [], []
    for number in range(ROUNDS):
        server.reset(latency=LATENCY)
        peer = make(replace(account, username=f"first-{number}"))
        first.append(_numbers("threads_first", *by_threads(peer.token, THREADS), alone, server))
        if not quick:
            server.reset(latency=LATENCY, life=LIFE)
            peer = make(replace(account, username=f"short-{number}"), early=EARLY)
            peer.token()
            threading.Event().wait(LIFE + 1.1)
            expiry.append(_numbers("threads_expiry", *by_threads(peer.token, THREADS), alone, server))
            expiry[-1]["threads_expiry_requests"] -= 1
    found = least_disturbed(first, "threads_first_ratio")
    return found | least_disturbed(expiry, "threads_expiry_ratio") if expiry else found


async def _of_an_event(count: int) -> float:
    """Return the longest gap of a loop, in seconds, while as many tasks wait only for an asyncio.Event."""
    event = asyncio.Event()
    _, _, gap = await by_tasks(event.wait, count, event.set)
    return gap


async def with_tasks(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    make: Any = load(name).make
    count = getattr(load(name), "CROWD", TASKS)
    base = min([await _of_an_event(count) for _ in range(ROUNDS)])
    server.reset(latency=LATENCY)
    alone = min([(await by_tasks(make(replace(account, username=f"alone-{n}")).atoken, 1))[0][0] for n in range(3)])

    async def of_one(kind: str, peer: Any) -> dict[str, float]:
        times, failed, gap = await by_tasks(peer.atoken, count)
        numbers = _numbers(kind, times, failed, alone, server)
        return {**numbers, f"{kind}_stall_ms": 1000 * gap, f"{kind}_stall_ratio": gap / base}

    first, expiry = [], []
    for number in range(ROUNDS):
        server.reset(latency=LATENCY)
        first.append(await of_one("tasks_first", make(replace(account, username=f"crowd-{number}"))))
        if not quick:
            server.reset(latency=LATENCY, life=LIFE)
            peer = make(replace(account, username=f"short-{number}"), early=EARLY)
            await peer.atoken()
            await asyncio.sleep(LIFE + 1.1)
            expiry.append(await of_one("tasks_expiry", peer))
            expiry[-1]["tasks_expiry_requests"] -= 1
    found = least_disturbed(first, "tasks_first_stall_ms")
    return found | least_disturbed(expiry, "tasks_expiry_stall_ms") if expiry else found


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    found = with_threads(name, account, server, quick)
    if hasattr(load(name).make(account), "atoken"):
        found |= asyncio.run(with_tasks(name, account, server, quick))
    return found
