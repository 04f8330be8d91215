"""Play two processes of a fleet in every order, breadth first, and look for a password too many, or one too few.

`python tools/explore.py [SECONDS]`: the real protocol (`_fleet/protocol.py`) on a store, a lease, clocks and a server that
are values. A step is a process's way to its next request or pause (`fine`: to its next command), a kill, a suspension,
a save that is lost, a reset, a rotation, or time that passes. States that differ in names and in the hour alone are met
once. Then each row of the rules is broken in turn, and the shortest counter-example is printed.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from attrs import evolve, field, fields, frozen, has

from enkash_auth._fleet.protocol import Ended, Lease, Member, Pause, Read, Release, Save, Send, Sent, Source
from enkash_auth._policy import attempts, classification
from enkash_auth._policy.attempts import Ledger, Memory
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Issued, Refused, Unavailable

SUCCESS, STRANGE, SILENCE = Answer(200, json=True, token=True), Answer(400, json=True), Answer()
LIFE, NEVER = 20, float("-inf")


class Broken(Exception):
    """A promise was broken."""


@frozen
class Process:
    name: str
    memory: Memory = Memory()  # as its sign-in began
    began: Moment | None = None  # None: idle
    replies: tuple[Any, ...] = ()
    flights: int = 0
    moved: bool = False  # it has other credentials by now
    command: Any = None  # the next one
    marks: dict[float, str] = field(init=False, factory=dict, eq=False)  # for `key`, by the time


@frozen
class World:
    """`sent`: when each password since the last success left, and the kind of its answer; a reset counts as one."""

    answers: tuple[tuple[Answer, Kind], ...]  # what the server may say, and what the promise takes that for
    proven: bool
    processes: tuple[Process, ...]
    now: float = 0.0
    entries: tuple[tuple[str, str, float, float], ...] = ()  # kind, text, written, end
    lease: tuple[str, float] = ("", NEVER)
    sent: tuple[tuple[float, Kind], ...] = ()
    reset: str = ""
    rotated: bool = False
    forbidden: bool = False  # the source named other credentials when a person reset
    killed: int = 0
    faults: tuple[tuple[str, int], ...] = ()
    spare: int = 99  # faults in all
    trace: tuple[str, ...] = ()

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.now)

    def can(self, fault: str) -> bool:
        return self.spare > 0 and dict(self.faults)[fault] > 0

    def spend(self, fault: str) -> World:
        faults = tuple((name, left - (name == fault)) for name, left in self.faults)
        return evolve(self, faults=faults, spare=self.spare - 1)

    def put(self, process: Process) -> World:
        return evolve(self, processes=tuple(process if one.name[0] == process.name[0] else one for one in self.processes))

    def entry(self, kind: str) -> tuple[Any, float, float] | None:
        found = [one for one in self.entries if one[0] == kind and one[3] > self.now]
        return (json.loads(found[0][1]), self.now - found[0][2], found[0][3] - self.now) if found else None

    def write(self, kind: str, entry: Any, seconds: float) -> World:
        kept = tuple(one for one in self.entries if one[0] != kind)
        text = json.dumps(entry)
        return evolve(self, entries=tuple(sorted((*kept, (kind, text, self.now, self.now + seconds)))))

    def ledger(self) -> Ledger:
        found = self.entry("ledger")
        return Ledger.from_entry(found[0], self.moment.after(-found[1])) if found else Ledger(proven=self.proven)


def live(process: Process) -> tuple[Member, Any, Any]:
    """Return a process where it stands: its member, its generator, and the command that comes next."""
    ids = iter(range(99))
    member = Member("h", 10.0, False, lambda: f"@{process.name}{process.flights}.{next(ids)}", lambda: 0.5)
    member.memory = process.memory
    assert process.began is not None
    steps = member.sign_in(None, process.began, process.began.after(10))
    command = next(steps)
    for reply in process.replies:
        command = steps.send(reply)
    return member, steps, command


def run(world: World, process: Process, fine: bool, answer: Any = None, lose: bool = False, hold: bool = False) -> World:
    """Let a process go on to its next stop."""
    member, steps, command = live(process)
    while True:
        world, value, lose = carry_out(world, process, member, command, answer, lose)
        process = evolve(process, replies=(*process.replies, (world.moment, value)))
        if hold and isinstance(command, Send):
            return world.put(evolve(process, command=None))
        try:
            command = steps.send((world.moment, value))
        except StopIteration as end:
            check_fair(world, end.value)
            moved = end.value.outcome is None
            return world.put(Process(process.name, member.memory, flights=process.flights + 1, moved=moved))
        if fine or isinstance(command, Send | Pause):
            return world.put(evolve(process, command=command))


def carry_out(world: World, process: Process, member: Member, command: Any, answer: Any, lose: bool) -> Any:
    match command:
        case Read(kind):
            return world, world.entry(kind), lose
        case Save(kind, entry, seconds, _, fenced):
            held = world.lease[0] == process.name and world.now < world.lease[1]
            if lose and kind == "ledger":
                return world, held, False
            return (world.write(kind, entry, seconds) if held or not fenced else world), held or not fenced, lose
        case Lease(seconds):
            if world.now < world.lease[1]:
                return world, False, lose
            return evolve(world, lease=(process.name, world.now + seconds)), True, lose
        case Release():
            return evolve(world, lease=("", NEVER)) if world.lease[0] == process.name else world, None, lose
        case Source():
            return world, not world.rotated, lose
        case Send(_, deadline):
            if world.moment.until(deadline) <= 0:  # the gateway looks at the clocks last
                return world, Sent(Unavailable("late", "h", late=True), Answer(left=False)), lose
            return *send(world, member, *answer), lose
    return world, None, lose


def send(world: World, member: Member, answer: Answer, kind: Kind) -> tuple[World, Sent]:
    """Let a password leave, if that is promised to be none too many; the server answers at once."""
    own = member.memory.own[-1]
    if own.reset == world.reset:  # else it was under way before the reset
        if world.forbidden:
            raise Broken("the old password was sent after a reset")
        check_few(world)
        world = evolve(world, sent=(*world.sent, (world.now, kind)))
    if kind is Kind.SUCCESS:
        world = evolve(world, sent=(), proven=True)
        issued = Issued(f"@t{world.now}", LIFE)
        return world, Sent(TokenRecord.from_answer(issued, world.moment, world.moment, before=None, draw=0.5), answer)
    refused = 200 < answer.status < 500
    return world, Sent(Refused(answer.status, answer.error, False, "h") if refused else Unavailable("x", "h"), answer)


MAY_BE = (Kind.MAYBE, Kind.CLEAR, Kind.RESET, Kind.CLIENT)


def check_few(world: World) -> None:
    """Raise if the password that leaves now is one too many."""
    kinds = [kind for _, kind in world.sent]
    counted = MAY_BE if world.proven else (*MAY_BE, Kind.UNKNOWN)  # silence is an outage for proven credentials
    recent = [at for at, kind in world.sent if kind in counted and world.now - at < 300]
    if len(recent) > 1:
        raise Broken("a third password within five minutes")
    if Kind.CLEAR in kinds or (not world.proven and Kind.CLIENT in kinds):
        raise Broken("a password after a clear refusal")
    if not world.proven and len(kinds) > 1 and Kind.MAYBE in kinds:
        raise Broken("a third password after what may be a refusal")
    told = [kind for kind in kinds if kind in MAY_BE and not world.killed]  # who is killed cannot tell
    if world.proven and any(kind in (Kind.MAYBE, Kind.RESET) for kind in told[:-1]):
        raise Broken("a third password after what may be a refusal")


def check_fair(world: World, ended: Ended) -> None:
    """Raise if credentials are stopped for longer than what has happened explains."""
    kinds, decision = [kind for _, kind in world.sent], ended.decision
    spent = [name for name, left in world.faults if not left]
    faulty = any(name in spent for name in ("kill", "suspend", "lose", "reset"))
    if decision is None or decision.row is None or faulty:
        return
    if not any(kind in (*MAY_BE, *(() if world.proven else (Kind.UNKNOWN,))) for kind in kinds):
        raise Broken("stopped by the ledger though nothing was refused")
    if decision.final and not any(kind in (Kind.MAYBE, Kind.CLEAR) for kind in kinds) and (world.proven or Kind.CLIENT not in kinds):
        raise Broken("final though nothing may have been a refusal")
    if decision.final and len(kinds) < 2 and not any(kind in (Kind.CLEAR, Kind.CLIENT) for kind in kinds):
        raise Broken("final after one answer that may be a refusal")
    if world.proven and Kind.CLIENT not in kinds and not decision.final and decision.until - world.now > 60:
        raise Broken("proven credentials pause for more than a minute")


def moves(world: World, fine: bool) -> Iterator[tuple[str, Any]]:
    """Yield what may happen next: a name, and a call that returns the next world."""
    busy = False
    for process in world.processes:
        name = process.name
        if process.began is None:
            if not process.moved:
                begun = evolve(process, began=world.moment)
                yield f"{name} starts", lambda p=begun: run(world, p, fine)
                if not fine and world.can("lose"):
                    yield f"{name} starts, a save is lost", lambda p=begun: run(world.spend("lose"), p, fine, lose=True)
            if world.can("reset"):
                yield f"{name} resets", lambda p=process: reset(world, p)
            continue
        command = process.command
        waits = isinstance(command, Pause) and world.now < world.lease[1] and world.lease[0] != name
        busy = busy or not waits
        if isinstance(command, Send):
            for answer in world.answers:
                yield f"{name} sends: {answer[1]}", lambda p=process, a=answer: run(world, p, fine, a)
                if not fine and (world.can("kill") or world.can("suspend")):
                    yield f"{name} sends: {answer[1]}, and stops", lambda p=process, a=answer: run(world, p, fine, a, hold=True)
        elif not waits:
            yield f"{name} goes on", lambda p=process: run(world, p, fine)
            if world.can("lose") and isinstance(command, Save) and command.kind == "ledger":
                yield f"{name} goes on, its save is lost", lambda p=process: run(world.spend("lose"), p, fine, lose=True)
        if world.can("kill"):
            dead = evolve(world.spend("kill").put(Process(name + "'")), killed=world.killed + 1)
            yield f"{name} is killed", lambda dead=dead: dead
    if world.can("rotate"):
        yield "the source is rotated", lambda: evolve(world.spend("rotate"), rotated=True)
    later = next_time(world)
    if later is not None and (not busy or world.can("suspend")):
        yield f"{later - world.now:.0f} s pass", lambda: evolve(world.spend("suspend") if busy else world, now=later)


def reset(world: World, process: Process) -> World:
    """A person resets by this process, which reads its source first."""
    id = "@r"
    memory = Memory(process.memory.ledger.after_reset(id, world.moment))
    world = evolve(world.spend("reset"), reset=id, sent=((world.now, Kind.RESET),), forbidden=world.rotated)
    world = evolve(world.write("reset", {"id": id}, 1e9), entries=tuple(
        one for one in world.write("reset", {"id": id}, 1e9).entries if one[0] != "token"
    ))  # fmt: skip
    return world.put(evolve(process, memory=memory, moved=process.moved or world.rotated))


def next_time(world: World) -> float | None:
    """Return when something changes by itself: the lease, the ledger's pause, the back-off, the token."""
    times, ledger, found = [world.lease[1]], world.ledger(), world.entry("ledger")
    decision = ledger.decide(world.moment)
    until = decision.until if decision.row and not decision.final else NEVER
    if found and found[0].get("backoff"):
        until = max(until, world.now - found[1] + found[0]["backoff"]["until"])
    times += [until, *(one[3] for one in world.entries if one[0] == "token")]
    return min((math.ceil(one) for one in times if one > world.now), default=None)


def key(world: World) -> int:
    """Return the same number for states that differ in names, in the hour and in their past alone."""

    def mark(process: Process) -> str:
        if world.now not in process.marks:
            process.marks[world.now] = repr((process.moved, local(process, world.now)))
        return f"{process.marks[world.now]} {process.name == world.lease[0]}"

    entries = [(one[0], plain(world.entry(one[0]), world.now)) for one in world.entries if one[3] > world.now]
    sent = [(min(300.0, world.now - at), kind.value) for at, kind in world.sent]
    lease = max(0.0, world.lease[1] - world.now)
    flags = world.proven, world.reset, world.rotated, world.forbidden, world.killed, world.faults, world.spare
    text = repr((sorted(map(mark, world.processes)), entries, sent, lease, flags))
    names: dict[str, str] = {}
    return hash(re.sub(r"@[\w'.]+", lambda found: names.setdefault(found[0], str(len(names))), text))


def local(process: Process, now: float) -> Any:
    """Return what a process knows, its generators' variables included."""
    if process.began is None:
        return plain(process.memory, now)
    member, steps, command = live(process)
    stack = [plain((process.began, command, member.memory), now)]
    while steps is not None and steps.gi_frame:
        names = {one: value for one, value in steps.gi_frame.f_locals.items() if one != "self"}
        stack.append((steps.gi_code.co_name, steps.gi_frame.f_lasti, plain(names, now)))
        steps = steps.gi_yieldfrom
    return stack


def plain(value: Any, now: float, name: str = "") -> Any:
    """Return a value without the hour."""
    if isinstance(value, Moment):
        return round(max(-4000.0, value.monotonic - now), 2)
    if isinstance(value, float) and name in ("until", "sticky_until"):
        return round(max(-4000.0, value - now), 2)
    if isinstance(value, dict):
        return [(one, plain(value[one], now)) for one in sorted(value)]
    if isinstance(value, tuple | list):
        return [plain(one, now) for one in value]
    if has(type(value)):
        return (type(value).__name__, [plain(getattr(value, one.name), now, one.name) for one in fields(type(value))])
    return value if isinstance(value, int | float | str | None) else type(value).__name__


@frozen
class Found:
    depth: int
    states: int
    counter: tuple[str, ...] = ()


def start(proven: bool = False, answers: Any = None, spare: int = 99, **faults: int) -> World:
    told = answers or ((SUCCESS, Kind.SUCCESS), (STRANGE, Kind.MAYBE), (SILENCE, Kind.UNKNOWN))
    every = {"kill": 1, "suspend": 1, "lose": 1, "reset": 1, "rotate": 1, **faults}
    world = World(told, proven, (Process("a"), Process("b")), faults=tuple(every.items()), spare=spare)
    return world.write("ledger", {**Ledger(proven=proven).to_entry(world.moment), "backoff": {}}, 1e9)


def explore(world: World, depth: int, seconds: float = math.inf, fine: bool = False) -> Found:
    """Return how far it came, or the shortest way to a broken promise."""
    seen, level, end = {key(world)}, [world], time.monotonic() + seconds
    for reached in range(depth):
        following = []
        for one in level:
            if time.monotonic() > end:
                return Found(reached, len(seen))
            for name, move in moves(one, fine):
                try:
                    after = move()
                except Broken as broken:
                    return Found(reached + 1, len(seen), (*one.trace, name, str(broken)))
                if (mark := key(after)) not in seen:
                    seen.add(mark)
                    following.append(evolve(after, trace=(*one.trace, name)))
        level = following
    return Found(depth, len(seen))


if __name__ == "__main__":
    for proven in (False, True):
        for fine in (False, True):
            found = explore(start(proven), 99, float((sys.argv[1:] or ["60"])[0]), fine)
            print("proven" if proven else "unproven", "fine" if fine else "coarse", found.depth, found.states, *found.counter, sep="; ")
