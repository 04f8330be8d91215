"""Runs one measure of one peer in this process: MEASURE PEER BASE_URL [quick]. Prints the numbers as JSON."""

from __future__ import annotations

import importlib
import json
import sys

from peers import Account
from server import Control


def main(measure: str, peer: str, base_url: str, *quick: str) -> None:
    server = Control(base_url)
    server.reset()
    found = importlib.import_module(f"measures.{measure}").run(peer, Account(base_url), server, bool(quick))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
