"""Tokens of 20 s with default settings: token requests for each life, while a caller asks twenty times a second."""

from __future__ import annotations

import threading
import time

from peers import Account, load
from server import Control

NEEDS = "token"
ALONGSIDE = True  # counts only: all peers at once, each on a server of its own
LIFE, LIVES = 20.0, 2


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    server.reset(life=LIFE)
    peer = load(name).make(account)
    end = time.monotonic() + LIVES * LIFE
    while time.monotonic() < end:
        peer.token()
        threading.Event().wait(0.05)
    return {"requests_per_life": server.counts()["requests"] / LIVES}
