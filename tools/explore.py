"""Play two processes of a fleet in every order, breadth first, until a password too many leaves, or one too few.

`python tools/explore.py [SECONDS]`. The protocol is the real one, `_fleet/protocol.py`; store, lease, clocks and server
are values. A step is a process's way to its next request or pause (`fine`: to its next command), or a fault: a kill, a
suspension, a save that is lost, a store that fails at a command, a reset, a rotation. After a store's failure processes
go on without it, each for itself, and the promise is one process's; with `strict` it stays the fleet's. States that
differ in names and in the hour alone are met once. At last each row of the rules is broken, to see it found.
"""

import math
import sys
import time
from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from enkash_auth._fleet.commands import Lease, Pause, Read, Save, Send
from enkash_auth._policy import attempts, classification
from enkash_auth._policy.attempts import Ledger
from enkash_auth._policy.classification import Answer
from fleet_world import (
    CLEAR,
    CLIENT,
    FAULTS,
    LONG_AGO,
    MAYBE,
    OPEN,
    REMOVED,
    RESET,
    SUCCESS,
    UNKNOWN,
    Broken,
    Process,
    World,
    go_on,
)  # fmt: skip

# an answer for each row of classification.ANSWERS
DIALECTS = (
    Answer(200, token=True), Answer(400, "invalid_grant"), Answer(400, "invalid_client"), Answer(401, basic=True),
    Answer(departed=False), Answer(429), Answer(404), Answer(), Answer(401, "unauthorized", json=True), Answer(403),
    Answer(400),
)  # fmt: skip
INSTEAD = {SUCCESS: MAYBE, CLEAR: UNKNOWN, CLIENT: MAYBE, REMOVED: UNKNOWN, UNKNOWN: REMOVED, MAYBE: UNKNOWN}
KINDS = [kind for kind, _ in classification.ANSWERS]
STORED: tuple[type, ...] = (Read, Lease, Save)  # commands that a store may fail at


def moves(world: World, fine: bool) -> Iterator[tuple[str, Any]]:
    """Yield what may happen next: its name, and a call that returns the next world."""
    busy = False
    for one in world.processes:
        if one.began is None:
            begun = evolve(one, began=world.moment)
            if not one.moved:
                yield f"{one.name} starts", lambda p=begun: go_on(world, p, fine)
            if not one.moved and not fine and world.can("lose"):
                yield (
                    f"{one.name} starts, a save is lost",
                    lambda p=begun: go_on(world.spend("lose"), p, fine, lose=True),
                )
            if not one.moved and not fine:
                yield from failures(world, begun, f"{one.name} starts")
            if world.can("reset"):
                yield f"{one.name} resets", lambda p=one: reset(world, p)
            continue
        waits = isinstance(one.command, Pause) and world.now < world.lease[1] and world.lease[0] != one.name
        busy = busy or not waits
        killed = Process(one.name + "'", one.strict)
        if isinstance(one.command, Send):
            for told in world.answers:
                name = f"{one.name} sends: {told[1]}"
                yield name, lambda p=one, t=told: go_on(world, p, fine, t)
                if not fine:
                    yield from failures(world, one, name, told)
                if not fine and world.can("suspend"):
                    yield f"{name}, and stops", lambda p=one, t=told: go_on(world, p, fine, t, stop=True)
                if not fine and world.can("kill"):
                    yield (
                        f"{name}, and is killed",
                        lambda p=one, t=told, k=killed: go_on(world, p, fine, t, stop=True).spend("kill").put(k),
                    )
        elif not waits:
            yield f"{one.name} goes on", lambda p=one: go_on(world, p, fine)
            yield from failures(world, one, f"{one.name} goes on", fine=fine)
            if isinstance(one.command, Save) and world.can("lose"):
                yield (
                    f"{one.name} goes on, its save is lost",
                    lambda p=one: go_on(world.spend("lose"), p, fine, lose=True),
                )
        if world.can("kill"):
            yield f"{one.name} is killed", lambda k=killed: world.spend("kill").put(k)
    if world.can("rotate"):
        yield "the source is rotated", lambda: evolve(world.spend("rotate"), rotated=True)
    later = next_time(world)
    if later is not None and (not busy or world.can("suspend")):
        yield f"{later - world.now:.0f} s pass", lambda: evolve(world.spend("suspend") if busy else world, now=later)


def failures(
    world: World, process: Process, name: str, told: Any = None, *, fine: bool = False
) -> Iterator[tuple[str, Any]]:
    """Yield a process's way to its next stop with a store that fails at the first command of a class."""
    for command in STORED:
        if world.can("fail") and (not fine or isinstance(process.command, command)):
            yield (
                f"{name}, the store fails at {command.__name__}",
                lambda c=command: go_on(world.spend("fail"), process, fine, told, fails=c),
            )


def reset(world: World, process: Process) -> World:
    """A person resets by this process, which reads its source first."""
    memory = evolve(process.memory, ledger=process.memory.ledger.after_reset("@r", world.moment), own=())
    world = evolve(world.spend("reset"), reset="@r", sent=((world.now, RESET, ""),), forbidden=world.rotated)
    entries = {
        kind: entry for kind, entry in world.write("reset", {"id": "@r"}, 1e9).entries.items() if kind != "token"
    }
    return evolve(world, entries=entries).put(evolve(process, memory=memory, moved=process.moved or world.rotated))


def next_time(world: World) -> float | None:
    """Return when something changes by itself: the lease, the token, the ledger's pause with the back-off."""
    (entry, age, _), times = (
        world.entry("ledger") or ({}, 0, 0),
        [world.lease[1], world.entries.get("token", (0, 0, LONG_AGO))[2]],
    )
    decision = Ledger.from_entry(entry, world.moment.after(-age)).decide(world.moment)
    times.append(max(
        decision.until if decision.row and not decision.final else LONG_AGO,
        world.now - age + entry["backoff"]["until"] if entry["backoff"] else LONG_AGO,
    ))  # fmt: skip
    return min((math.ceil(one) for one in times if one > world.now), default=None)


def start(
    proven: bool = False, dialect: Answer = DIALECTS[-1], spare: int = 99, *, strict: bool = False, **faults: int
) -> World:
    told = {
        answer: kind for answer, kind in zip(DIALECTS, KINDS, strict=True) if answer in (DIALECTS[0], dialect, Answer())
    }
    world = World(
        tuple(told.items()), proven, (Process("a", strict), Process("b", strict)), {**FAULTS, **faults}, spare
    )
    return world.write("ledger", {**Ledger(proven=proven).to_entry(world.moment), "backoff": {}}, 1e9)


@frozen
class Found:
    depth: int
    states: int
    counter: tuple[str, ...] = ()


def explore(world: World, depth: int, seconds: float = math.inf, fine: bool = False) -> Found:
    """Return how far it came, or the shortest way to a broken promise."""
    seen, level, end = {world.key()}, [world], time.monotonic() + seconds
    for reached in range(1, depth + 1):
        following = []
        for one in level:
            if time.monotonic() > end:
                return Found(reached - 1, len(seen))
            for name, move in moves(one, fine):
                try:
                    after = move()
                except Broken as broken:
                    return Found(reached, len(seen), (*one.trace, name, str(broken)))
                if (mark := after.key()) not in seen:
                    seen.add(mark)
                    following.append(evolve(after, trace=(*one.trace, name)))
        level = following
        if not level:
            break
    return Found(reached, len(seen))


def broken_rows() -> Iterator[tuple[str, Found]]:
    """Break each row of the tables in turn, and yield what is found."""
    for place, (kind, row) in enumerate(classification.ANSWERS):
        rows = list(classification.ANSWERS)
        rows[place] = (INSTEAD[kind], row)
        yield f"answer {place}: {kind}", found_with(classification, "ANSWERS", rows, start(False, DIALECTS[place], 0))
    for table in ("UNPROVEN", "PROVEN"):
        for place, rule in enumerate(getattr(attempts, table)):
            rows = [row for row in getattr(attempts, table) if row is not rule]
            dialect = next((one for one, kind in zip(DIALECTS, KINDS, strict=True) if kind is rule.kind), DIALECTS[-1])
            kills = 2 if rule.kind is OPEN else 0
            world = start(table == "PROVEN", dialect, kills, kill=kills, suspend=0, lose=0, fail=0, reset=0, rotate=0)
            yield f"{table.lower()} {place}: {rule.kind}", found_with(attempts, table, rows, world)


def found_with(module: Any, name: str, rows: list[Any], world: World) -> Found:
    whole = getattr(module, name)
    setattr(module, name, rows)
    try:
        return explore(world, 9)
    finally:
        setattr(module, name, whole)


def main(seconds: float) -> None:
    for spare, strict in ((0, False), (1, False), (1, True), (2, False), (2, True)):
        for proven, fine in ((False, False), (False, True), (True, False), (True, True)):
            found = explore(start(proven, spare=spare, strict=strict), 99, seconds, fine)
            words = "proven" if proven else "unproven", "each command" if fine else "each request", f"{spare} faults"
            needed = "strict" if strict else "not strict"
            came = f"{found.states} states, {found.depth} steps deep"
            print(*words, needed, came, *found.counter, sep="; ", flush=True)
    for name, found in broken_rows():
        print(f"without {name}: {found.depth} steps:", *found.counter, sep="; ", flush=True)


if __name__ == "__main__":
    main(float((sys.argv[1:] or ["60"])[0]))
