"""Compares time, modules and memory of an import with `import httpx`, in new processes in turns, from compiled files.

Optional packages that httpx would load are hidden: they would make httpx look slow, and every peer good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median

from peers import Account, load
from server import Control

STARTS = 11
HIDDEN = ("brotli", "brotlicffi", "click", "h2", "pygments", "rich", "socksio", "trio", "zstandard")
PROGRAM = f"""
import sys, time
sys.modules |= dict.fromkeys({HIDDEN})
before, started = len(sys.modules), time.perf_counter()
import {{module}}
took, pages = time.perf_counter() - started, int(open("/proc/self/statm").read().split()[1])
import json
print(json.dumps([took, len(sys.modules) - before, pages]))
"""


def start(module: str) -> tuple[float, int, int]:
    """Return seconds, modules and resident pages."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    seconds, modules, pages = json.loads(done.stdout)
    return seconds, modules, pages


def beside_httpx(module: str, starts: int) -> dict[str, float]:
    pairs = [(start("httpx"), start(module)) for _ in range(starts)][1:]  # the first pair writes the bytecode
    # times: the fastest start, because a busy machine only adds time; modules and memory: the median
    least = [min, median, median]
    times = [kind(one[side] for one, _ in pairs) for side, kind in enumerate(least)]
    found = [kind(other[side] for _, other in pairs) for side, kind in enumerate(least)]
    names = ("time", "modules", "memory")
    ratios = {f"{name}_ratio": ours / bare for name, ours, bare in zip(names, found, times, strict=True)}
    return {"time_ms": 1000 * found[0], "modules": found[1], "memory_mb": found[2] * 4096 / 1e6, **ratios}


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    adapter, starts = load(name), STARTS // 2 if quick else STARTS
    found = beside_httpx(adapter.IMPORT, starts)
    if hasattr(adapter, "LIGHT"):  # an import that loads httpx later
        found |= {f"light_{key}": value for key, value in beside_httpx(adapter.LIGHT, starts).items()}
    return found
