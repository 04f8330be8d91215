"""One module for each thing measured, with `run(peer name, account, server, quick)`.

Each run is a process of its own. It returns numbers by name; a time is in a ratio to something of the same run wherever
it is to be compared.
"""

from __future__ import annotations

NAMES = ["cached", "stampede", "wrong_password", "imports", "steady", "short_life", "fleet", "growth", "size", "leaks"]
QUICK = NAMES[:4]


def at(part: float, times: list[float]) -> float:
    """Return the percentile, in milliseconds."""
    return 1000 * sorted(times)[min(len(times) - 1, int(len(times) * part))]
