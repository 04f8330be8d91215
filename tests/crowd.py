"""Many processes that want a token at once: `python crowd.py COUNT METHOD` forks or spawns them, each line `go` on its
input is a round, and each round answers with a line of JSON: what every process got.

METHOD is `fork`, `spawn`, or `preload`: forked with a provider that the parent has made.
"""

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

import httpx

from enkash_auth import Credentials, TokenProvider, stores
from enkash_auth.errors import EnkashAuthError

TIMEOUT = 6.0


class Telling(httpx.HTTPTransport):
    """Tells who sends a token request, before it does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with open(os.environ["CROWD_ASKERS"], "a") as askers:  # noqa: PTH123
            askers.write(f"{os.getpid()}\n")
        return super().handle_request(request)


def make() -> TokenProvider:
    store = stores.from_url(os.environ["ENKASH_TOKEN_STORE"])
    return TokenProvider(Credentials.load(), store=store, timeout=TIMEOUT, transport=Telling())


def live(orders: Connection, provider: TokenProvider | None) -> None:
    provider = provider or make()
    orders.send("ready")
    while orders.recv():
        asked = time.monotonic()
        try:
            got = provider.token().access_token
        except EnkashAuthError as error:
            got = type(error).__name__
        orders.send([os.getpid(), got, time.monotonic() - asked])


def main(count: int, method: str) -> None:
    context = multiprocessing.get_context("spawn" if method == "spawn" else "fork")
    made = make()  # also loads all that a forked child needs
    if method != "preload":
        made.close()
    children: list[Any] = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=live, args=(theirs, made if method == "preload" else None), daemon=True)
        process.start()
        theirs.close()
        children.append(ours)
    for child in children:
        child.recv()
    print("ready", flush=True)
    while sys.stdin.readline() == "go\n":
        for child in children:
            child.send(True)
        answers, waiting = [], list(children)
        while waiting:
            for child in wait_for(waiting):
                waiting.remove(child)
                try:
                    answers.append(child.recv())
                except (EOFError, ConnectionResetError):
                    children.remove(child)  # killed
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
