"""1 to 64 processes start together with one shared cache; 20 if the peer has no such cache."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from peers import Account, load
from server import Control

REPLICAS = (1, 4, 16, 20, 64)


def _child(name: str, account: Account, store: str, barrier: Any, times: Any, number: int) -> None:
    peer = load(name).make(account, store=store)
    barrier.wait()
    started = time.perf_counter()
    with suppress(Exception):
        peer.token()
        times[number] = time.perf_counter() - started
    if hasattr(peer, "save"):
        peer.save()


def by_processes(name: str, account: Account, count: int, store: str) -> list[float]:
    """Return how long each process waited for its token; 0 if it got none."""
    if not store.startswith("unix"):
        Path(urlsplit(store).path).mkdir(mode=0o700, exist_ok=True)
    context = get_context("fork")
    barrier, times = context.Barrier(count), context.Array("d", count)
    children = [
        context.Process(target=_child, args=(name, account, store, barrier, times, number)) for number in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return list(times)


def _valkey() -> Any:
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    try:
        from valkey_server import Valkey
    except ImportError:
        return nullcontext()
    return Valkey()


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    shares = load(name).SHARES
    with _valkey() if name == "enkash" else nullcontext() as valkey:
        for kind in ("file", "valkey") if valkey else ("file",):
            alone = 0.0
            for count in REPLICAS if shares else (20,):
                server.reset(latency=0.1)
                with tempfile.TemporaryDirectory() as directory:
                    if valkey:
                        valkey.kill()
                        valkey.start()
                    store = f"file://{directory}/store" if kind == "file" else valkey.url
                    times = by_processes(name, account, count, store)
                alone = alone or max(times)
                found[f"{kind}_{count}_requests"] = server.counts()["requests"]
                found[f"{kind}_{count}_failed"] = times.count(0.0)
                found[f"{kind}_{count}_ratio"] = max(times) / alone
    return found
