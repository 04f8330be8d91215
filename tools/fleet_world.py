"""A fleet's store, lease, clocks and processes as values, on which `explore.py` plays the real protocol."""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import evolve, field, frozen

from enkash_auth._fleet.commands import Ended, Lease, Pause, Read, Release, Save, Send, Source
from enkash_auth._fleet.member import Member
from enkash_auth._fleet.protocol import sign_in
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.memory import Memory
from enkash_auth._policy.outcome import Issued, Refused, Unavailable
from enkash_auth.stores import StoreError

LONG_AGO, LIFE = float("-inf"), 20
OPEN, REMOVED, SUCCESS, UNKNOWN, MAYBE, CLIENT, CLEAR, RESET = Kind
MOVED = "other credentials"  # as a source's reply
FAULTS = {"kill": 1, "suspend": 1, "lose": 1, "fail": 1, "reset": 1, "rotate": 1}
Told = tuple[Answer, Kind]  # what the server says, and what the promise takes that for


class Broken(Exception):
    """A promise was broken."""


@frozen(eq=False)
class Process:
    name: str
    strict: bool = False
    memory: Memory = field(factory=Memory)  # as its sign-in began
    flights: int = 0
    moved: bool = False  # it has other credentials by now
    began: Moment | None = None  # None: idle
    replies: tuple[Any, ...] = ()
    command: Any = None  # the next one
    marks: dict[tuple[float, int], str] = field(init=False, factory=dict)  # for `key`

    def live(self) -> tuple[Member, Any, Any]:
        """Return its member, its generator and the command that comes next: all that was replied is replied again."""
        ids = iter(range(99))
        member = Member(
            "h", 10.0, self.strict, lambda: f"@{self.name}{self.flights}.{next(ids)}", lambda: 0.5, memory=self.memory
        )
        assert self.began
        steps = sign_in(member, None, self.began, self.began.after(10))
        command = next(steps)
        for reply in self.replies:
            command = replied(steps, reply)
        return member, steps, command

    def mark(self, at: tuple[float, int], live: Any = None) -> str:
        """Return what it knows, without the hour: its memory, and the variables of its generators."""
        if at not in self.marks:
            known = [self.moved, self.memory]
            if self.began:
                member, steps, command = live or self.live()
                known = [self.moved, self.began, member.memory, command]
                while steps is not None and steps.gi_frame:
                    names = sorted(steps.gi_frame.f_locals.items())
                    known += [steps.gi_code.co_name, steps.gi_frame.f_lasti, [one for one in names if one[0] != "self"]]
                    steps = steps.gi_yieldfrom
            self.marks[at] = repr(plain(known, *at))
        return self.marks[at]


def replied(steps: Any, reply: Any) -> Any:
    """Return the next command after a reply, or after a store's failure."""
    return steps.throw(reply) if isinstance(reply, StoreError) else steps.send(reply)


@frozen
class World:
    """`sent`: each password since the last success: when it left, how it was answered, by whom; a reset counts as one.

    Whose it was counts only once a store has failed under processes that go on without it.
    """

    answers: tuple[Told, ...]
    proven: bool
    processes: tuple[Process, ...]
    faults: dict[str, int]
    spare: int  # faults in all
    spent: tuple[str, ...] = ()
    now: float = 0.0
    entries: dict[str, tuple[str, float, float]] = field(factory=dict)  # text, written, end
    lease: tuple[str, float] = ("", LONG_AGO)
    sent: tuple[tuple[float, Kind, str], ...] = ()
    reset: str = ""
    rotated: bool = False
    forbidden: bool = False  # the source named other credentials when a person reset
    trace: tuple[str, ...] = ()

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.now)

    @property
    def at(self) -> tuple[float, int]:
        """The hour, and the number of the last attempt that was cleared: what states may differ in."""
        return self.now, json.loads(self.entries["ledger"][0])["cleared"]

    def can(self, fault: str) -> bool:
        """Whether a fault may come. Nobody can see a save that is lost together with an answer that is not saved."""
        unsaved = {"kill", "suspend", "fail"}
        apart = unsaved if fault == "lose" else {"lose"} if fault in unsaved else set()
        return self.spare > 0 and self.faults[fault] > 0 and not apart & {*self.spent}

    def spend(self, fault: str) -> World:
        faults = {**self.faults, fault: self.faults[fault] - 1}
        return evolve(self, faults=faults, spare=self.spare - 1, spent=(*self.spent, fault))

    def put(self, process: Process) -> World:
        return evolve(
            self, processes=tuple(process if one.name[0] == process.name[0] else one for one in self.processes)
        )

    def entry(self, kind: str) -> tuple[Any, float, float] | None:
        text, written, end = self.entries.get(kind, ("", 0.0, LONG_AGO))
        return (json.loads(text), self.now - written, end - self.now) if end > self.now else None

    def write(self, kind: str, entry: Any, seconds: float) -> World:
        return evolve(self, entries={**self.entries, kind: (json.dumps(entry), self.now, self.now + seconds)})

    def key(self) -> int:
        entries = [(kind, self.entry(kind)) for kind in sorted(self.entries)]
        at = self.at
        sent = [(min(300.0, self.now - at), kind, name) for at, kind, name in self.sent]
        processes = sorted((one.mark(at), one.name == self.lease[0]) for one in self.processes)
        left = max(0.0, self.lease[1] - self.now)
        rest = self.proven, self.reset, self.rotated, self.forbidden, self.faults, sorted(self.spent)
        names: dict[str, str] = {}
        text = repr((processes, plain(entries, *at), sent, left, rest))
        return hash(re.sub(r"@[\w'.]+", lambda found: names.setdefault(found[0], str(len(names))), text))


def plain(value: Any, now: float, base: int, name: str = "") -> Any:
    """Return a value without the hour, and with the numbers of attempts counted from `base`."""
    if name in ("number", "cleared"):
        return value - base
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Moment):
        return round(max(-4000.0, value.monotonic - now), 2)
    if isinstance(value, float):
        return round(max(-4000.0, value - now), 2) if name in ("until", "sticky_until", "leaves") else value
    if isinstance(value, dict):  # an entry, whose times count from its saving
        return [(one, plain(value[one], now, base, one.replace("until", ""))) for one in sorted(value)]
    if isinstance(value, tuple | list):
        return [plain(one, now, base) for one in value]
    names = [one.name for one in getattr(type(value), "__attrs_attrs__", ())]
    return type(value).__name__, [plain(getattr(value, one), now, base, one) for one in names]


def go_on(
    world: World, process: Process, fine: bool, told: Told | None = None, *,
    lose: bool = False, fails: type | None = None, stop: bool = False,
) -> World:  # fmt: skip
    """Let a process do its next command, and go on to its next stop; `stop`: it stops right behind its request.

    `fails`: the store does, at the next command of this class.
    """
    member, steps, command = process.live()
    while True:
        lost = lose and isinstance(command, Save) and command.kind == "ledger"
        if fails and isinstance(command, fails):
            fails, reply = None, StoreError("it failed")
        else:
            world, value = carry_out(world, process, member, command, told, lost)
            lose, reply = lose and not lost, (world.moment, value)
        process = evolve(process, replies=(*process.replies, reply), command=None)
        stopped = stop and isinstance(command, Send)
        try:
            command = replied(steps, reply)
        except StopIteration as end:
            check_fair(world, end.value)
            moved = end.value.outcome == MOVED
            return world.put(Process(process.name, process.strict, member.memory, process.flights + 1, moved))
        if stopped:
            return world.put(process)
        if fine or isinstance(command, Send | Pause):
            process = evolve(process, command=command)
            process.mark(world.at, (member, steps, command))
            return world.put(process)


def carry_out(world: World, process: Process, member: Member, command: Any, told: Any, lost: bool) -> tuple[World, Any]:
    holds = world.lease[0] == process.name
    match command:
        case Read(kind):
            return world, world.entry(kind)
        case Save(kind, entry, seconds):
            kept = holds and world.now < world.lease[1]
            return (world.write(kind, entry, seconds) if kept and not lost else world), kept
        case Lease(seconds):
            free = world.now >= world.lease[1]
            return (evolve(world, lease=(process.name, world.now + seconds)) if free else world), free
        case Release():
            return (evolve(world, lease=("", LONG_AGO)) if holds else world), None
        case Source():
            return world, MOVED if world.rotated else None
        case Send(_, deadline) if world.moment.until(deadline) > 0:
            return send(world, process, member, *told)
        case Send():  # the gateway looks at the clocks last
            return world, (Unavailable("late", "h", late=True), Answer(departed=False))
    return world, None


def send(world: World, process: Process, member: Member, answer: Answer, kind: Kind) -> tuple[World, Any]:
    """Let a password leave, if that is promised to be none too many; the server answers at once."""
    if member.memory.own[-1].reset == world.reset:  # else it was under way before the reset
        name = process.name if world.faults["fail"] + world.spent.count("fail") and not process.strict else ""
        check_few(world, name if "fail" in world.spent else "")
        world = evolve(world, sent=(*world.sent, (world.now, kind, name)))
    if kind is SUCCESS:
        # an answer takes a moment: what begins after it does not begin with the request
        world, issued = evolve(world, sent=(), proven=True, now=world.now + 0.01), Issued(f"@t{world.now}", LIFE)
        return world, (TokenRecord.from_answer(issued, world.moment, world.moment, before=None, draw=0.5), answer)
    refused = 200 < answer.status < 500 and answer.status != 429
    return world, (Refused(answer.status, answer.error, False, "h") if refused else Unavailable("x", "h"), answer)


def check_few(world: World, name: str) -> None:
    """Raise if the password that leaves now is one too many, of the fleet's or of one process's."""
    sent, proven = [one for one in world.sent if not name or one[2] in ("", name)], world.proven
    kinds = [kind for _, kind, _ in sent]
    counted = [one for one in sent if one[1] not in ((REMOVED, UNKNOWN) if proven else (REMOVED,))]
    told = [kind for _, kind, _ in counted if not {"kill", "fail"} & {*world.spent}]  # else nobody may know an answer
    soon = [kind for at, kind, _ in counted if world.now - at < 60 and kind in (MAYBE, CLIENT)]
    rules = {
        "the old password after a reset": world.forbidden,
        "a password after a clear refusal": CLEAR in told or (not proven and CLIENT in told),
        "a password within a minute after a refusal": soon and not faulty(world),
        "a third password within five minutes": len([at for at, _, _ in counted if world.now - at < 300]) > 1,
        "a third password after what may be a refusal": not proven
        and len(counted) > 1
        and {MAYBE, CLIENT, CLEAR} & {*kinds},
        "a third password after one more": proven and {MAYBE, RESET} & {*told[:-1]},
    }
    if broken := [name for name, holds in rules.items() if holds]:
        raise Broken(broken[0])


def faulty(world: World) -> bool:
    return bool({*world.spent} - {"rotate"})


def check_fair(world: World, ended: Ended) -> None:
    """Raise if the ledger forbids more than what was answered explains."""
    kinds, decision = {kind for _, kind, _ in world.sent if kind is not REMOVED}, ended.decision
    if decision is None or decision.row is None or faulty(world):
        return
    refused, client = kinds & {MAYBE, CLEAR}, CLIENT in kinds
    rules = {
        "stopped though nothing was refused": not (refused or client or (kinds and not world.proven)),
        "final though nothing may have been a refusal": decision.final and not refused and (world.proven or not client),
        "final at the first answer that may be one": decision.final and len(world.sent) < 2 and kinds == {MAYBE},
        "proven and stopped for longer": world.proven
        and not decision.final
        and not client
        and decision.until > world.now + 60,
    }
    if broken := [name for name, holds in rules.items() if holds]:
        raise Broken(broken[0])
