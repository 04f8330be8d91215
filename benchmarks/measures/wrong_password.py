"""Counts the wrong passwords that arrive at a server: of 50 calls, 20 threads or 20 processes."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace

from measures.fleet import by_processes
from measures.stampede import by_threads
from peers import Account, load
from server import Control

CALLS, THREADS, PROCESSES = 50, 20, 20


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    adapter, wrong = load(name), replace(account, password="wrong")
    peer = adapter.make(wrong)
    for _ in range(CALLS):
        with suppress(Exception):
            peer.token()
    found = {"calls": server.counts()["refused"]}
    server.reset(latency=0.1)
    by_threads(adapter.make(replace(wrong, username="threads")).token, THREADS)
    found["threads"] = server.counts()["refused"]
    server.reset(latency=0.1)
    with tempfile.TemporaryDirectory() as directory:
        by_processes(name, replace(wrong, username="processes"), PROCESSES, f"file://{directory}/store")
    return {**found, "processes": server.counts()["refused"]}
