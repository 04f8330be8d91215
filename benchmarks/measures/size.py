"""Installed size: the distribution and its dependencies, without bytecode."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

from peers import Account, load
from server import Control


def closure(name: str, extra: str = "") -> set[str]:
    """Return the names of a distribution and of its dependencies on this platform."""
    found, waiting = set(), [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        name = name.lower().replace("_", "-")
        if (name, extra) in found:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # a dependency on another platform
        found.add((name, extra))
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need.name, wanted) for wanted in (need.extras or {""})] + [(need.name, "")]
    return {name for name, _ in found}


def weight(names: set[str]) -> int:
    """Return bytes."""
    files = [file for name in names for file in distribution(name).files or []]
    return sum(file.size or 0 for file in files if file.suffix != ".pyc")


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    names = closure(load(name).PACKAGE or "httpx")
    bare = weight(closure("httpx"))
    return {"megabytes": weight(names) / 1e6, "ratio": weight(names) / bare, "packages": len(names)}
