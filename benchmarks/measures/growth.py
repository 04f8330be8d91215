"""Cost as work grows: callers 1 to 10,000 on one loop, tenants 1 to 10,000 in one process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from measures.cached import CALLS
from measures.stampede import LATENCY, by_tasks
from peers import Account, load
from server import Control

SIZES = (1, 10, 100, 1_000, 10_000)
BUDGET, OURS = 12.0, 60.0  # seconds; a size that would take longer is left out


async def callers(name: str, account: Account, server: Control) -> dict[str, float]:
    """Return the time until all have a token, as a ratio to that of as many tasks on one asyncio.Event."""
    found = {}
    for size in SIZES:
        if size > getattr(load(name), "CROWD", size):
            break
        base = float("inf")
        for event in (asyncio.Event(), asyncio.Event(), asyncio.Event()):  # the fastest counts: it was disturbed least
            base = min(base, max((await by_tasks(event.wait, size, event.set))[0]))
        server.reset(latency=LATENCY)
        peer = load(name).make(replace(account, username=f"callers-{size}"))
        found[f"callers_{size}"] = max((await by_tasks(peer.atoken, size))[0]) / base
    return found


def _resident() -> int:
    """Return resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def tenants(name: str, account: Account, server: Control) -> dict[str, float]:
    """Return for each number of tenants milliseconds and kB each, and nanoseconds per cached token in turns."""
    make, found = load(name).make, {}
    make(replace(account, username="warm")).token()
    for size in SIZES:
        server.reset()
        before, started = _resident(), time.perf_counter()
        peers = [make(replace(account, username=f"tenant-{size}-{number}")) for number in range(size)]
        for peer in peers:
            peer.token()
        took = time.perf_counter() - started
        found[f"tenants_{size}_ms"] = 1000 * took / size
        found[f"tenants_{size}_kb"] = (_resident() - before) / size / 1000
        for peer in peers:
            peer.token()  # the first call after a sign-in reads the clocks
        rounds = max(1, CALLS // size)
        started = time.perf_counter()
        for _ in range(rounds):
            for peer in peers:
                peer.token()
        found[f"tenants_{size}_held_ns"] = 1e9 * (time.perf_counter() - started) / (rounds * size)
        if took * 10 > (OURS if name == "enkash" else BUDGET):
            break
    return found


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    found = tenants(name, account, server)
    if hasattr(load(name).make(account), "atoken"):
        found |= asyncio.run(callers(name, account, server))
    return found
