"""Tokens of 20 s with default settings: token requests per life while a caller asks twenty times a second.

Also the caller's longest wait after the first token, on a server that takes 100 ms.
"""

from __future__ import annotations

import threading
import time

from peers import Account, load
from server import Control

ALONGSIDE = True  # it only counts, so all peers run at once, each on its own server
LIFE, LIVES, LATENCY = 20.0, 2, 0.1


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    server.reset(life=LIFE, latency=LATENCY)
    peer = load(name).make(account)
    end, waits = time.monotonic() + LIVES * LIFE, []
    while time.monotonic() < end:
        asked = time.monotonic()
        peer.token()
        waits.append(time.monotonic() - asked)
        threading.Event().wait(0.05)
    return {"requests_per_life": server.counts()["requests"] / LIVES, "wait_ratio": max(waits[1:]) / LATENCY}
