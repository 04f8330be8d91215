"""Processes that ask for tokens at once: `python crowd.py WORLDS`, WORLDS a JSON object of names and base URLs.

Each line on its input is JSON, an order; it is answered with a line. `{"start": 8, "method": "fork"}` starts so many
processes, each with a provider for every world: by `fork`, by `spawn`, or by `preload`, forked with providers that the
parent has made. `{"ask": 61}` lets all ask, some worlds at once, their clocks so many seconds ahead; the answer is what
each got: its process, a token or the error's name, and the seconds. `{"end": 0}` ends them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

import httpx

from enkash_auth import Credentials, TokenProvider
from enkash_auth._runtime import Runtime, use_runtime
from enkash_auth._settings.environment import load_token_store
from enkash_auth.errors import EnkashAuthError

TIMEOUT = 6.0  # seconds; with a store a request gets half of it
AT_ONCE = 64  # sign-ins; more would keep a busy machine's store from answering in time
AHEAD = [0.0]  # seconds, of this process's clocks


class Crowd:
    """The script, as a test sees it."""

    def __init__(self, worlds: dict[str, str], environment: Mapping[str, str]) -> None:
        command = [sys.executable, __file__, json.dumps(worlds)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: Any = subprocess.Popen(command, env=environment, **pipes)

    def send(self, **order: object) -> None:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answers(self) -> list[Any]:
        return list(json.loads(self._process.stdout.readline()))

    def order(self, **order: object) -> list[Any]:
        self.send(**order)
        return self.answers()

    def close(self) -> None:
        self._process.communicate(timeout=20)


class Telling(httpx.HTTPTransport):
    """Tells who sends a token request, before it does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with open(os.environ["CROWD_ASKERS"], "a") as askers:  # noqa: PTH123
            askers.write(f"{os.getpid()}\n")
        return super().handle_request(request)


def make(worlds: dict[str, str]) -> list[TokenProvider]:
    transport = Telling() if "CROWD_ASKERS" in os.environ else None
    options: Any = {"timeout": TIMEOUT, "transport": transport}
    with use_runtime(Runtime(lambda: time.monotonic() + AHEAD[0], lambda: time.time() + AHEAD[0])):
        loaded = [Credentials.load(base_url=base_url) for base_url in worlds.values()]
        return [TokenProvider(credentials, store=load_token_store(), **options) for credentials in loaded]


def live(orders: Connection, worlds: dict[str, str], made: list[TokenProvider] | None) -> None:
    providers = made or make(worlds)
    orders.send([])
    while some := orders.recv():
        AHEAD[0], worlds_asked = some
        orders.send(at_once(providers[worlds_asked]))
    os._exit(0)


def at_once(providers: list[TokenProvider]) -> list[Any]:
    def ask(provider: TokenProvider) -> list[Any]:
        asked = time.monotonic()
        try:
            got = provider.token().access_token
        except EnkashAuthError as error:
            got = type(error).__name__
        return [os.getpid(), got, time.monotonic() - asked]

    with ThreadPoolExecutor(len(providers)) as pool:
        return list(pool.map(ask, providers))


def gathered(children: list[Any]) -> list[Any]:
    answers, waiting = [], list(children)
    while waiting:
        for child in wait_for(waiting):
            waiting.remove(child)
            try:
                answers += child.recv()
            except (EOFError, ConnectionResetError):
                children.remove(child)  # killed, or told to end
    return answers


def main(worlds: dict[str, str]) -> None:
    make({"": "http://127.0.0.1"})  # imports all, so that a process costs little
    children = list[Any]()
    for line in sys.stdin:
        order, answers = json.loads(line), []
        if "start" in order:
            method = order.get("method", "fork")
            made = make(worlds) if method == "preload" else None
            context: Any = multiprocessing.get_context("spawn" if method == "spawn" else "fork")
            for _ in range(order["start"]):
                ours, theirs = context.Pipe()
                context.Process(target=live, args=(theirs, worlds, made), daemon=True).start()
                theirs.close()
                children.append(ours)
            gathered(children)
        some = AT_ONCE // max(len(children), 1)
        for first in range(0, len(worlds), some) if "ask" in order else []:
            for child in children:
                child.send((order["ask"], slice(first, first + some)))
            answers += gathered(children)
        if "end" in order:
            for child in children:
                child.send(None)
            gathered(children)
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
