"""Measures what a fleet costs its token server and its store: the real engine in the simulated world of the tests.

`python benchmarks/scale.py [REPLICAS ...]` prints a Markdown table. All replicas are always busy and start at
once. A sign-in takes 0.2 s, a store operation 1 ms.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth.errors import UnavailableError
from enkash_auth.stores import MemoryStore
from world import TICK, Fiber, World, current_fiber

LIFE, LIVES, LATENCY, STEP, TIMEOUT = 300.0, 4, 0.2, 0.001, 10.0


class Counted(MemoryStore):
    """A store whose operations take 1 ms; they are counted per second."""

    def __init__(self, world: World) -> None:
        super().__init__(clock=lambda: world.true)
        self.world = world
        self.seconds: Counter[int] = Counter()

    def _meet(self) -> None:
        self.seconds[int(self.world.true)] += 1
        fiber = current_fiber()
        assert fiber
        fiber.hold(self.world.monotonic() + STEP)

    def load(self, key: str) -> Any:
        self._meet()
        return super().load(key)

    def save(self, *given: Any) -> bool:
        self._meet()
        return super().save(*given)

    def delete(self, key: str) -> None:
        self._meet()
        super().delete(key)

    def lock(self, key: str, seconds: float) -> Any:
        self._meet()
        return super().lock(key, seconds)


class Run:
    """A fleet during some lives of its token."""

    def __init__(self, replicas: int, sticky: bool) -> None:
        self.world = World(1, life=LIFE + 0.5, sticky=sticky, latency=LATENCY)
        self.store = Counted(self.world)
        self.began, self.grants = self.world.true, list[float]()
        self.failed, self.longest = 0, 0.0
        self.world.on_grant = self._granted
        self._due: list[tuple[float, int, Any]] = []
        self._number = count()
        self._waiting: dict[Flight, tuple[Engine, float]] = {}
        for _ in range(replicas):
            self._at(self.world.monotonic(), self.world.engine(TIMEOUT, self.store))

    def _granted(self, token: str) -> None:
        self.grants.append(self.world.true - self.began)

    def sign_ins(self) -> tuple[int, float]:
        """Return how many the first life took, in which the server becomes known, and each later one."""
        first = sum(at < LIFE for at in self.grants)
        return first, (len(self.grants) - first) / (LIVES - 1)

    def _at(self, time: float, what: Any) -> None:
        heapq.heappush(self._due, (time, next(self._number), what))

    def go(self) -> None:
        """Run the simulation from one event to the next."""
        end = self.world.true + LIVES * LIFE
        while self._due and self._due[0][0] < end:
            due, _, what = heapq.heappop(self._due)
            self.world.true = max(self.world.true, due)
            if isinstance(what, Fiber):
                self._step(what)
            else:
                self._call(what, self.world.true)
        self.world.stop()

    def _step(self, fiber: Fiber) -> None:
        fiber.step()
        if not fiber.done:
            self._at(max(fiber.due, self.world.true), fiber)
        elif waiting := self._waiting.pop(fiber.flight, None):
            self._call(*waiting, fiber.flight)

    def _call(self, engine: Engine, asked: float, flight: Flight | None = None) -> None:
        deadline = asked + TIMEOUT
        try:
            got = engine.after_wait(flight, deadline) if flight else engine.join_or_start()
        except UnavailableError as error:
            self.failed += 1
            self._at(self.world.true + (error.retry_after or 1.0), engine)
            return
        for fiber in self.world.fibers:
            self._at(self.world.true, fiber)
        self.world.fibers.clear()  # they are on the heap now
        if isinstance(got, Flight):
            self._waiting[got] = engine, asked
            return
        self.longest = max(self.longest, self.world.true - asked)
        self._at(max(engine.held.serving[1], self.world.true + STEP) + TICK, engine)


def main(sizes: list[int]) -> None:
    """Print the table."""
    threading.stack_size(256 * 1024)
    print("| replicas | server | sign-ins in the first life | in each later one |", end="")
    print(" store operations per replica and life | in the busiest second | longest wait | failed calls |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for size in sizes:
        for sticky in (False, True):
            run = Run(size, sticky)
            run.go()
            first, later = run.sign_ins()
            operations, peak = sum(run.store.seconds.values()) / LIVES / size, max(run.store.seconds.values())
            row = [
                f"{size:,}",
                "sticky" if sticky else "fresh",
                first,
                f"{later:.2f}",
                f"{operations:.1f}",
                f"{peak:,}",
            ]
            print("|", *(f"{cell} |" for cell in [*row, f"{run.longest:.2f} s", run.failed]), flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10, 100, 1_000, 10_000])
