"""Processes with a wrong password: `python guessing.py WORLDS [STORE]`, WORLDS a JSON object of names and base URLs.

Each line on its input is JSON: `{"start": 8}` forks so many processes, each with a provider for every world;
`{"ask": 61}` lets them ask all, some at once, their clocks so many seconds ahead; `{"end": 0}` ends them. Each is
answered with a line. The script imports beforehand, so that a process costs little.
"""

import json
import multiprocessing
import os
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from enkash_auth import Credentials, TokenProvider, stores
from enkash_auth._runtime import Runtime, use_runtime
from enkash_auth.errors import EnkashAuthError

TIMEOUT = 6.0  # seconds; with a store a request gets half of it
AT_ONCE = 64  # sign-ins; more would keep a busy machine's store from answering in time


def main(worlds: dict[str, str], *store: str) -> None:
    warm = make("http://127.0.0.1", *store)  # imports all, and keeps the certificates for the children
    context, children = multiprocessing.get_context("fork"), list[Connection]()
    for line in sys.stdin:
        ((order, value),) = json.loads(line).items()
        if order == "start":
            for _ in range(value):
                ours, theirs = context.Pipe()
                context.Process(target=live, args=(theirs, worlds, store), daemon=True).start()
                theirs.close()
                children.append(ours)
        some = AT_ONCE // len(children)
        for first in range(0, len(worlds), some) if order == "ask" else [0]:
            for child in children:
                child.send((order, value, slice(first, first + some)))
            for child in children:
                child.recv()
        if order == "end":
            children.clear()
        print("done", flush=True)
    warm.close()


def make(base_url: str, *store: str) -> TokenProvider:
    return TokenProvider(
        Credentials.load(base_url=base_url), store=stores.from_url(*store) if store else None, timeout=TIMEOUT
    )


def live(orders: Connection, worlds: dict[str, str], store: tuple[str, ...]) -> None:
    ahead = 0.0
    runtime = Runtime(lambda: time.monotonic() + ahead, lambda: time.time() + ahead)
    with use_runtime(runtime):
        providers = [make(base_url, *store) for base_url in worlds.values()]
    while True:
        order, value, some = orders.recv()
        if order == "ask":
            ahead = value
            at_once([provider.token for provider in providers[some]])
        orders.send("done")
        if order == "end":
            os._exit(0)


def at_once(calls: list[Any]) -> None:
    def run(call: Any) -> None:
        with suppress(EnkashAuthError):
            call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *sys.argv[2:])
