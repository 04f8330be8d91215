"""One module per measure, with `run(peer name, account, server, quick)`.

Each run is a new process and returns numbers by name. Times are compared as ratios of the same run.
"""

from __future__ import annotations

NAMES = ["cached", "stampede", "wrong_password", "imports", "steady", "short_life", "fleet", "growth", "size", "leaks"]
QUICK = NAMES[:4]


def at(part: float, times: list[float]) -> float:
    """Return the percentile, in milliseconds."""
    return 1000 * sorted(times)[min(len(times) - 1, int(len(times) * part))]
