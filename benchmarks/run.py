"""Measures enkash-auth and its peers in one run: [--quick | --table] [--only MEASURE ...] [--peer PEER ...].

Without options it writes tables and plots of docs/performance.md. `--quick` measures this package alone and fails on a
wrong count, or on a ratio that is worse by half than in benchmarks/baseline.json; `--set-baseline` writes that file.
`--table` writes the page again from the numbers of the last full run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import measures
import peers
from server import Server

HERE = Path(__file__).resolve().parent
BASELINE, RESULTS = HERE / "baseline.json", HERE / "results.json"
WORSE, TRIES = 1.5, 3
TIMEOUT = 240.0  # seconds for one measure of one peer
Numbers = dict[str, Any]


def measure(name: str, peer: str, base_url: str, quick: bool) -> Numbers:
    """Return the numbers of one measure of one peer; if it failed, the reason as `error`."""
    command = [sys.executable, str(HERE / "worker.py"), name, peer, base_url, *(["quick"] if quick else [])]
    try:
        with tempfile.TemporaryDirectory() as state:  # no measure writes into the user's own
            environment = {**os.environ, "ENKASH_ATTEMPTS": f"{state}/attempts.db"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {TIMEOUT:g} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


def run(names: list[str], of: list[str], quick: bool) -> dict[str, dict[str, Numbers]]:
    """Return all numbers, by measure and peer."""
    found: dict[str, dict[str, Numbers]] = {}
    for name in names:
        alongside = getattr(importlib.import_module(f"measures.{name}"), "ALONGSIDE", False)
        with ExitStack() as stack:
            servers = [stack.enter_context(Server()) for _ in (of if alongside else of[:1])]
            pool = stack.enter_context(ThreadPoolExecutor(len(servers)))
            jobs = [
                pool.submit(measure, name, peer, servers[n % len(servers)].base_url, quick) for n, peer in enumerate(of)
            ]
            found[name] = {}
            for peer, job in zip(of, jobs, strict=True):
                found[name][peer] = job.result()
                print(f"{name:15}{peer:24}{found[name][peer].get('error', 'ok')}", flush=True)
    return found


def judged(found: dict[str, dict[str, Numbers]]) -> dict[str, float]:
    """Return the ratios for the baseline; raise `SystemExit` for a wrong count or a measure that failed."""
    ours = {f"{name}.{key}": value for name, of in found.items() for key, value in of["enkash"].items()}
    wrong = [f"{key}: {value}" for key, value in ours.items() if key.endswith(".error")]
    for key, value in ours.items():
        one = key.endswith("_requests") or key.startswith("wrong_password.")
        if (one and value != 1) or (key.endswith("_failed") and value):
            wrong.append(f"{key} is {value}, not {1 if one else 0}")
    if wrong:
        raise SystemExit("\n".join(wrong))
    # a stall is a single gap on each side: it varies by a factor of two
    return {key: round(value, 3) for key, value in ours.items() if key.endswith("_ratio") and "stall" not in key}


def quick(names: list[str], set_baseline: bool) -> None:
    """Compare with the baseline. A worse ratio is measured three times, because the machine may be busy."""
    kept = {} if set_baseline else json.loads(BASELINE.read_text())
    best: dict[str, float] = {}
    worse = names
    for _ in range(TRIES):
        for key, value in judged(run(worse, ["enkash"], quick=True)).items():
            best[key] = min(value, best.get(key, value))
        bad = {key for key, value in best.items() if value > WORSE * max(1.0, kept.get(key, value))}
        worse = [name for name in names if any(key.startswith(f"{name}.") for key in bad)]
        if not worse:
            break
    print("\n| ratio | baseline | now |\n| --- | --- | --- |")
    for key, value in best.items():
        print(f"| {key} | {kept.get(key, '')} | {value}{' WORSE' if key in bad else ''} |")
    if set_baseline:
        BASELINE.write_text(json.dumps(best, indent=2) + "\n")
    if bad:
        raise SystemExit(f"worse by more than half than benchmarks/baseline.json: {', '.join(sorted(bad))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--set-baseline", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", nargs="+", choices=measures.NAMES)
    parser.add_argument("--peer", nargs="+", choices=peers.NAMES)
    asked = parser.parse_args()
    if asked.quick:
        quick(asked.only or measures.QUICK, asked.set_baseline)
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not asked.table:
        new = run(asked.only or measures.NAMES, asked.peer or peers.NAMES, quick=False)
        for name, of in new.items():
            found[name] = found.get(name, {}) | of
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    import report

    report.write(found)


if __name__ == "__main__":
    main()
