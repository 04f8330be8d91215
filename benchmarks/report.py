"""The numbers of a run as the Markdown tables and SVG plots of docs/performance.md."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peers
import plots

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
ABSOLUTE = ("_ms", "_mb", "_ns", "_us", "_kb", "megabytes", "modules")  # times and sizes are compared as ratios only
NEAR = 1.1  # a smaller difference counts as equal
# tables whose ratios cannot really be below 1 (to a plain comparison, one caller, a static header): less is noise
FLOORED = ("A cached token", "200 threads", "10,000 tasks", "Steady load")
Found = plots.Found
Column = tuple[str, str, str]  # heading, key, format

TABLES: list[tuple[str, str, str, list[Column]]] = [
    (
        "A cached token",
        "cached",
        "Nanoseconds per call, and their ratio to the attribute-and-clock check of the same run. The microseconds that "
        "the auth flow adds to an httpx request with a static header.",
        [
            ("`token()` ns", "sync_ns", ".0f"),
            ("ratio", "sync_ratio", ".2f"),
            ("`await` ns", "async_ns", ".0f"),
            ("ratio", "async_ratio", ".2f"),
            ("flow µs", "flow_us", ".1f"),
            ("async flow µs", "async_flow_us", ".1f"),
        ],
    ),
    (
        "200 threads at once",
        "stampede",
        "Token requests, and the callers' waits in milliseconds, on a server that takes 100 ms: at the first call, and "
        "after the cached token has expired. The ratio compares the longest wait with the wait of a single caller.",
        [
            (f"{when} {head}", f"threads_{key}_{what}", form)
            for when, key in (("first:", "first"), ("expiry:", "expiry"))
            for head, what, form in (
                ("requests", "requests", "d"),
                ("p50", "p50_ms", ".0f"),
                ("p99", "p99_ms", ".0f"),
                ("max", "max_ms", ".0f"),
                ("ratio", "ratio", ".2f"),
            )
        ],
    ),
    (
        "10,000 tasks at once",
        "stampede",
        "The same on one event loop (200 tasks for the check without a lock). The stall compares the loop's longest gap "
        "with that of as many tasks that wait for one `asyncio.Event`.",
        [
            (f"{when} {head}", f"tasks_{key}_{what}", form)
            for when, key in (("first:", "first"), ("expiry:", "expiry"))
            for head, what, form in (
                ("requests", "requests", "d"),
                ("failed", "failed", "d"),
                ("p50", "p50_ms", ".0f"),
                ("p99", "p99_ms", ".0f"),
                ("max", "max_ms", ".0f"),
                ("stall", "stall_ratio", ".1f"),
            )
        ],
    ),
    (
        "Steady load across expiries",
        "steady",
        "100 requests a second for 36 s, tokens of 12 s, a server that takes 100 ms; renewal 3.6 s early if a peer has "
        "such a setting. p99 and max are ratios to a static header, measured in turns in the same threads.",
        [
            (f"{kind}: {head}", f"{kind}_{what}", form)
            for kind in ("fresh", "sticky")
            for head, what, form in (
                ("p99", "p99_ratio", ".2f"),
                ("max", "max_ratio", ".1f"),
                ("failed calls", "failed", "d"),
                ("requests per token life", "requests_per_life", ".1f"),
            )
        ],
    ),
    (
        "Wrong passwords that arrive at the server",
        "wrong_password",
        "The vendor locks an account after three of them.",
        [("50 calls", "calls", "d"), ("20 threads", "threads", "d"), ("20 processes", "processes", "d")],
    ),
    (
        "Tokens of 20 s, default settings",
        "short_life",
        "Token requests per token life while a caller asks twenty times a second. The caller's longest wait after the first "
        "token, as a ratio to the 100 ms that the server takes.",
        [("requests per token life", "requests_per_life", ".1f"), ("longest wait", "wait_ratio", ".2f")],
    ),
    (
        "20 processes that start together",
        "fleet",
        "Token requests, with a shared cache in files if the peer has one.",
        [("requests", "file_20_requests", "d"), ("without a token", "file_20_failed", "d")],
    ),
    (
        "Import",
        "imports",
        "Time, modules and resident memory of what a service imports, each with its ratio to `import httpx`. Here that "
        "is `from enkash_auth import EnkashAuth`, which imports httpx.",
        [
            ("ms", "time_ms", ".0f"),
            ("time ratio", "time_ratio", ".2f"),
            ("modules", "modules", ".0f"),
            ("modules ratio", "modules_ratio", ".2f"),
            ("MB", "memory_mb", ".0f"),
            ("memory ratio", "memory_ratio", ".2f"),
        ],
    ),
    (
        "Installed size",
        "size",
        "With all dependencies, without bytecode.",
        [("MB", "megabytes", ".1f"), ("over httpx", "ratio", ".2f"), ("packages", "packages", "d")],
    ),
    (
        "Where secrets leak",
        "leaks",
        "Secrets found in `repr` and `str` of the objects, in pickles, in the log at DEBUG, in the texts and the frames' "
        "locals of the error after a wrong password, and in the files of a shared cache.",
        [(head, head, "s") for head in ("repr", "pickle", "debug log", "errors", "frames", "files")],
    ),
    (
        "Tenants in one process",
        "growth",
        "One provider per tenant, signed in one after another: milliseconds and kB per tenant, and nanoseconds for a "
        "cached token, the tenants in turns.",
        [
            (f"{size:,}: {unit}", f"tenants_{size}_{key}", form)
            for size in (1, 100, 1_000, 10_000)
            for unit, key, form in (("ms", "ms", ".1f"), ("kB", "kb", ".0f"), ("ns", "held_ns", ".0f"))
        ],
    ),
]
# the page's first table: heading, measure, key, format
ANSWER: list[tuple[str, str, str, str]] = [
    ("cached token", "cached", "sync_ratio", ".2f"),
    ("p99, fresh", "steady", "fresh_p99_ratio", ".1f"),
    ("p99, sticky", "steady", "sticky_p99_ratio", ".1f"),
    ("failed calls, sticky", "steady", "sticky_failed", "d"),
    ("requests a life, sticky", "steady", "sticky_requests_per_life", ".1f"),
    ("import", "imports", "time_ratio", ".2f"),
]
# goal, measure, key, maximum
GOALS: list[tuple[str, str, str, float]] = [
    ("cached token over the hand-written check", "cached", "sync_ratio", 1.2),
    ("the same, async", "cached", "async_ratio", 1.2),
    ("auth flow over a static header, µs", "cached", "flow_us", 3.0),
    ("the same, async", "cached", "async_flow_us", 3.0),
    ("requests of 200 threads, first call", "stampede", "threads_first_requests", 1),
    ("requests of 200 threads, expiry", "stampede", "threads_expiry_requests", 1),
    ("requests of 10,000 tasks, first call", "stampede", "tasks_first_requests", 1),
    ("requests of 10,000 tasks, expiry", "stampede", "tasks_expiry_requests", 1),
    ("steady load p99 over a static header, fresh server", "steady", "fresh_p99_ratio", 1.1),
    ("requests per token life, sticky server", "steady", "sticky_requests_per_life", 2.2),
    ("wrong passwords sent, 50 calls", "wrong_password", "calls", 1),
    ("the same, 20 threads", "wrong_password", "threads", 1),
    ("the same, 20 processes on a store", "wrong_password", "processes", 1),
    ("`import enkash_auth`: time over `import httpx`", "imports", "light_time_ratio", 1.25),
    ("the same, modules", "imports", "light_modules_ratio", 1.25),
]


def cell(numbers: dict[str, Any], key: str, form: str) -> str:
    if key not in numbers:
        return "failed" if "error" in numbers else "–"
    value = numbers[key]
    if form == "s":
        return value or "nothing"
    return format(round(value) if form == "d" else value, form)


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(of: dict[str, dict[str, Any]], columns: list[Column]) -> list[str]:
    lines = [row(["", *(head for head, _, _ in columns)]), row(["---"] * (len(columns) + 1))]
    for name in peers.NAMES:
        if any(key in of.get(name, {}) for _, key, _ in columns) or "error" in of.get(name, {}):
            lines.append(row([peers.load(name).TITLE, *(cell(of[name], key, form) for _, key, form in columns)]))
    return lines


def second(found: Found) -> list[str]:
    """Return one line for each column in which another package is first."""
    lines = []
    for title, measure, _, columns in TABLES:
        of = found.get(measure, {})
        for head, key, form in columns:
            mine = of.get("enkash", {}).get(key)
            rest = {name: numbers[key] for name, numbers in of.items() if key in numbers and name != "enkash"}
            if mine is None or form == "s" or not rest or key.endswith(ABSOLUTE):
                continue
            name = min(rest, key=lambda name: rest[name])
            best = max(rest[name], 1.0) if key.endswith("_ratio") and title.startswith(FLOORED) else rest[name]
            if mine > max(best * NEAR, best + 10 ** -int(form[1:-1] or 0) if form != "d" else best):
                ours, theirs = (cell(of[who], key, form) for who in ("enkash", name))
                lines.append(row([f"{title}, {head}", ours, theirs, peers.load(name).TITLE]))
    return lines


def answer(found: Found) -> list[str]:
    """Return the page's first picture and table."""
    merged = {name: {key: found.get(of, {}).get(name, {}).get(key) for _, of, key, _ in ANSWER} for name in peers.NAMES}
    merged = {name: {key: value for key, value in of.items() if value is not None} for name, of in merged.items()}
    return [*plots.answer(found), *table(merged, [(head, key, form) for head, _, key, form in ANSWER])]


def last_run(found: Found) -> list[str]:
    """Return versions, goals, the columns in which another package is first, and all tables."""
    packages = sorted({peers.load(name).PACKAGE or "httpx" for name in peers.NAMES} - {"enkash-auth"})
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [f"{python}, {os.cpu_count()} cores, {sys.platform}. {versions}.", "", "| goal | at most | measured | |"]
    lines += ["| --- | --- | --- | --- |"]
    for what, measure, key, most in GOALS:
        value = found.get(measure, {}).get("enkash", {}).get(key)
        if value is not None:
            lines.append(row([what, f"{most:g}", f"{value:.3g}", "met" if value <= most else "**not met**"]))
    better = second(found)
    lines += [
        "",
        "Another package's ratio or count is better by more than a tenth:" if better else "No other package is better.",
        "",
    ]
    if better:
        lines += ["| column | enkash-auth | best | whose |", "| --- | --- | --- | --- |", *better, ""]
    for title, measure, text, columns in TABLES:
        if measure in found:
            lines += [f"### {title}", "", text, "", *table(found[measure], columns), ""]
    return [*lines, "### As work grows", "", *plots.growing(found)]


def write(found: Found) -> None:
    """Write the page's two parts between their markers."""
    page = PAGE.read_text()
    for name, lines in (("the answer", answer(found)), ("the last run", last_run(found))):
        before, begin, rest = page.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        page = f"{before}{begin}\n\n{chr(10).join(lines).rstrip()}\n\n{end}{after}"
    PAGE.write_text(page)
