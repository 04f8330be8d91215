"""A world for the engine, moved by hand: machines, a token server, and sign-ins that advance one step at a time."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import floor, inf
from random import Random
from typing import Any, Self

from attrs import evolve

from enkash_auth import Credentials
from enkash_auth._engine import Engine
from enkash_auth._fleet.shared import Shared
from enkash_auth._policy.cache import TokenCache
from enkash_auth._policy.classification import Answer, Kind, classify
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Issued, Malformed, Outcome, Unavailable
from enkash_auth._runtime import Runtime
from enkash_auth._signin.account import Account
from enkash_auth._signin.answers import failure_of
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth._signin.call import Reply
from enkash_auth._signin.direct import Direct
from enkash_auth.stores import Store

TICK = 1e-6  # seconds by which a timer may be late
HOST = "token.example"
RETRY_AFTER = 20.0  # seconds that a busy server asks for
DOWN = 5.0  # seconds that a process goes without a store that has failed: limit 4 of docs/security.md
ANSWERS = {  # to a password that is refused, or to each in an outage
    "clear": Answer(400, "invalid_grant", json=True),
    "client": Answer(401, basic=True),
    "maybe": Answer(422, json=True),
    "envelope": Answer(200, json=True),
    "unauthorized": Answer(401, "unauthorized", json=True),
    "server_error": Answer(500),
    "silence": Answer(),
    "busy": Answer(429),
    "unreachable": Answer(departed=False),
}
TOKEN = Answer(200, json=True, token=True)
DIALECTS = ("clear", "client", "maybe", "envelope", "unauthorized", "server_error", "silence")
OUTAGES = ("client", "unauthorized", "server_error", "silence", "busy", "unreachable")
REFUSALS = (Kind.MAYBE, Kind.CLIENT)  # perhaps
GRANTS = 5  # a life, at most: the first, a renewal, and three probes of a sticky server


def check_grants(grants: list[float], allowed: int, life: float) -> None:
    if len(grants) > allowed:
        assert grants[-1] - grants[-1 - allowed] >= floor(life), "too many grants"


def outcome_of(answer: Answer, token: str = "", life: float = 0) -> Outcome:
    """Return what the gateway makes of an answer."""
    if answer.token:
        return Issued(token, life)
    if not answer.status:
        return Unavailable("no answer", HOST, late=answer.departed)
    after = RETRY_AFTER if answer.status == 429 else None
    return Malformed("?", HOST) if answer.status == 200 else failure_of(answer, HOST, after)


@dataclass(eq=False)
class Password:
    """One that has left. If not `left`, perhaps it has not: its process was killed, or a reset came before it."""

    at: float
    by: set[Hashable]
    fingerprint: str = ""
    kind: Kind = Kind.OPEN
    answered: float = -inf  # if that was in time
    known: bool = False  # to siblings
    left: bool = True


@dataclass
class Book:
    """The passwords of one set of credentials since the server's last success or a reset, and what is promised."""

    passwords: list[Password] = field(default_factory=list)
    cleared: list[Password] = field(default_factory=list)  # by a success or a reset that siblings may not know of
    forgotten: list[Password] = field(default_factory=list)  # but not if a store in trouble can be read
    proven: bool = False
    saved: bool = False  # that it is proven
    torn: bool = False  # the store was in trouble since: each process knows its own only
    aware: set[Hashable] | None = None  # processes that surely know which reset is the last; None: there was none
    lost: bool = False  # the store has lost that reset, so nobody knows
    not_before: dict[Hashable, float] = field(default_factory=dict)

    def leaves(self, password: Password, by: Hashable) -> None:
        self.passwords.append(password)
        if not password.left:
            return
        left = [one for one in self.passwords[:-1] if one.left and not (self.torn and one.kind is Kind.RESET)]
        self._check(password.at, [(one.kind, one.at) for one in left if by in one.by], "a process")
        if not self.torn:
            self._check(password.at, [(one.kind if one.known else Kind.OPEN, one.at) for one in left], "the fleet")
        assert password.at >= self.not_before.get(by, 0.0), "asked before Retry-After had passed"

    def _check(self, now: float, sent: list[tuple[Kind, float]], who: str) -> None:
        kinds = [kind for kind, _ in sent]
        assert sum(now - at < 299 for _, at in sent) < 2, f"{who} sent a third password within five minutes"
        assert not self.final(kinds), f"{who} sent a password after the last: {kinds}"
        if {*REFUSALS} & {*kinds}:
            assert now - sent[-1][1] > 59, f"{who} sent a password within a minute of what may be a refusal"

    def final(self, kinds: list[Kind]) -> bool:
        """Whether only a person can let one more through."""
        if self.proven:
            return Kind.CLEAR in kinds or any(kind in (Kind.MAYBE, Kind.RESET) for kind in kinds[:-1])
        return bool({Kind.CLEAR, Kind.CLIENT} & {*kinds}) or (len(kinds) > 1 and Kind.MAYBE in kinds)

    def answered(self, password: Password, kind: Kind) -> None:
        password.kind = kind
        refusals = [one for one in self.passwords if one.left and one.kind in REFUSALS]
        doubt = any(not self.torn or one.by & password.by for one in refusals)
        outage = kind is Kind.UNKNOWN and self.proven and not doubt
        if password in self.passwords and (kind is Kind.REMOVED or outage):
            self.passwords.remove(password)
            self.forgotten += [password] if outage and refusals else []

    def loses(self, *, all: bool = False) -> None:
        """The store is in trouble, or loses all."""
        if all:
            self.saved, self.lost, self.aware = False, True, None if self.aware is None else set()
        self.torn = True
        for password in self.passwords:
            self.doubt(password)

    def doubt(self, password: Password) -> None:
        """Limit 4 of docs/security.md: a process may hear of a reset later, even of an older one, and counts anew."""
        if self.aware is not None:
            password.by &= self.aware

    def succeeds(self, *, well: bool = True) -> None:
        self.cleared += [*self.passwords, *self.forgotten]
        self.passwords.clear()
        self.forgotten.clear()
        self.proven, self.torn = True, not well

    def resets(self, now: float, by: Hashable, fleet: Iterable[Hashable], *, well: bool = True) -> None:
        """While the store is in trouble, nobody knows which siblings hear of a reset."""
        self.cleared = [] if well else [*self.cleared, *self.passwords, *self.forgotten]
        self.forgotten.clear()
        self.passwords[:] = [Password(now, set(fleet), kind=Kind.RESET, known=True)]
        self.not_before.clear()
        self.torn, self.aware, self.lost = not well, {by} if well else set(), not well


class Outside:
    """What a fork does not copy."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass(eq=False)
class Machine(Outside):
    """One process's: clocks that are wrong by `skew`, each the other way, and how long it was suspended."""

    world: World = field(repr=False)
    skew: float = 0.0
    asleep: float = 0.0
    wakes: float = 0.0  # true time until which the process is stopped
    slept_at: float = -inf  # on its own clock
    down_until: float = -inf  # on its own clock: the process takes its store for down

    def stop(self, seconds: float, *, asleep: bool) -> None:
        """Stop the process, or the whole machine, which its monotonic clock does not count."""
        self.wakes = self.world.true + seconds
        if asleep:
            self.slept_at = self.monotonic()
            self.asleep += seconds

    def monotonic(self) -> float:
        return self.world.true - self.asleep - self.skew

    def wall(self) -> float:
        return self.world.true + self.world.wall_offset + self.skew

    @property
    def down(self) -> bool:
        return self.monotonic() < self.down_until

    def store_fails(self) -> None:
        self.down_until = self.monotonic() + DOWN

    def pause(self, seconds: float) -> None:
        fiber = current_fiber()
        assert fiber
        fiber.hold(self.monotonic() + seconds)

    def spawn(self, run: Callable[[], None]) -> None:
        self.world.fibers.append(Fiber(run, self))
        self.world.fibers[-1].troubled = self.down

    def call_within(self, seconds: float, call: Callable[[], Any]) -> Any:
        if (fiber := current_fiber()) and fiber.killed:
            raise _Killed  # it gives no lease back
        return call()

    def runtime(self) -> Runtime:
        world = self.world
        draw = world.chance.random
        return Runtime(self.monotonic, self.wall, self.pause, draw, self.spawn, self.call_within, world.new_id)

    def now(self) -> Moment:
        return Moment(self.monotonic(), self.wall())


class _Killed(BaseException):
    """Ends the fiber of a sign-in that nobody advances any more."""


class Fiber:
    """A sign-in's code on a thread of its own, which runs only while `step` waits for it."""

    def __init__(self, run: Any, machine: Machine) -> None:
        self.engine, self.flight, self.machine = run.func.__self__, run.args[0], machine
        self.done, self.killed, self.due = False, False, machine.monotonic()
        self.began = machine.world.true
        self.passwords: list[Password] = []
        self.excused = False  # begun before a reset
        self.troubled = False  # by the store
        self.error: BaseException | None = None
        self._run = run
        self._go, self._back = threading.Lock(), threading.Lock()  # each is released by the other thread
        self._go.acquire()
        self._back.acquire()
        threading.Thread(target=self._main, daemon=True).start()

    @property
    def left(self) -> float:
        """Seconds until a step makes sense."""
        stopped = self.machine.wakes - self.machine.world.true
        return 0.0 if self.done else max(0.0, self.due - self.machine.monotonic(), stopped)

    def step(self) -> None:
        """Let the sign-in run to its next `hold` or its end."""
        _current.append(self)
        self._go.release()
        self._back.acquire()
        _current.remove(self)
        if self.error:
            raise self.error

    def hold(self, due: float = -inf) -> None:
        """Called by the sign-in: give way until `step`, which makes sense from `due` on, on its machine's clock."""
        if not self.killed:
            self.due = due
            self._back.release()
            self._go.acquire()
        if self.killed:
            raise _Killed

    def kill(self) -> None:
        self.killed = True
        if not self.done:
            self.step()

    def _main(self) -> None:
        self._go.acquire()
        try:
            if not self.killed:
                self._run()
        except _Killed:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self._back.release()


_current: list[Fiber] = []


def current_fiber() -> Fiber | None:
    """Return the sign-in that runs now, None for a caller's own code."""
    return _current[-1] if _current else None


@dataclass(eq=False)
class World(Outside):
    """Time, the server's state, and what it has seen. `true` is the time by which tokens really end."""

    seed: int
    life: float = 300.0
    latency: float = 0.0  # seconds that a grant takes
    sticky: bool = True
    true: float = 10_000.0
    wall_offset: float = 1e9
    dialect: str = "clear"  # how a password is refused
    outage: str | None = None  # what each request gets instead
    locked: bool = False  # by a stranger
    well: bool = True  # whether the store is
    right_password: str = "p0"
    offered: tuple[str, str] = ("user", "p0")  # what the credentials' source says: user name and password
    answers: list[str] = field(default_factory=list)  # to the next requests, before the `outage` counts
    ends: dict[str, float] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    current: dict[str, str] = field(default_factory=dict)
    failures: int = 0  # in a row, as the server counts them
    books: dict[str, Book] = field(default_factory=dict)  # by fingerprint
    machines: dict[Engine, Machine] = field(default_factory=dict)
    fibers: list[Fiber] = field(default_factory=list)
    on_grant: Callable[[str], None] = lambda token: None

    def __post_init__(self) -> None:
        self.chance, ids = Random(self.seed), count()
        self.new_id = lambda: f"id{next(ids)}"

    def monotonic(self) -> float:
        return self.true

    def credentials(self) -> Credentials:
        return Credentials(f"https://{HOST}", *self.offered, "id", "secret")

    def engine(
        self, timeout: float, store: Store | None = None, machine: Machine | None = None, strict: bool = False
    ) -> Engine:
        machine = machine or Machine(self)
        runtime, account = machine.runtime(), Account.of(self.credentials(), partial(Gateway, self))
        direct = Direct(runtime, Attempts(None, runtime))
        signer = direct if store is None else Shared(direct, store, timeout=timeout, strict=strict)
        cache = TokenCache(account.identity, timeout, rereads=True)
        engine = Engine(cache, account, signer, runtime, source=self.credentials)
        self.machines[engine] = machine
        return engine

    @property
    def sound(self) -> bool:
        """Whether the store is well, was for each sign-in under way, and no process takes it for down."""
        troubled = any(fiber.troubled for fiber in self.fibers)
        return self.well and not troubled and not any(machine.down for machine in self.machines.values())

    def book(self, fingerprint: str) -> Book:
        return self.books.setdefault(fingerprint, Book(torn=not self.sound))

    def decide(self, login: tuple[str, str], fingerprint: str) -> tuple[Answer, str]:
        """Return what the server says to a sign-in now, and the token."""
        user, password = login
        if password != self.right_password or self.locked:
            self.failures += 1
            return ANSWERS[self.dialect], ""
        self.failures = 0
        self.book(fingerprint).succeeds(well=self.sound)
        token = self.current.get(user)
        if not (self.sticky and token and token not in self.revoked and self.true < self.ends[token]):
            token = self.current[user] = f"token-{len(self.ends)}"
            self.ends[token], self.owners[token] = self.true + self.life, user
        return TOKEN, token

    def reset(self, engine: Engine, engines: Iterable[Engine]) -> None:
        """A person resets: what is under way counts no more."""
        held = engine.held.account.identity.fingerprint
        for fiber in self.fibers:
            fiber.excused = True
        try:
            engine.reset()
        finally:
            if not self.well:
                self.machines[engine].store_fails()
            for fingerprint in {held, engine.held.account.identity.fingerprint}:
                self.book(fingerprint).resets(self.true, engine, engines, well=self.sound)

    def fork(self, engine: Engine) -> Engine:
        """Return the child of a process, which knows what its parent knew."""
        child = copy.copy(engine)
        child.held, child.signer = copy.copy(engine.held), copy.deepcopy(engine.signer)
        child.inherit()
        self.machines[child] = self.machines[engine]
        for book in self.books.values():
            for password in book.passwords:
                known = engine in password.by and password.kind is not Kind.OPEN  # the parent answers those under way
                password.by |= {child} if known else set()
            if book.aware and engine in book.aware:
                book.aware.add(child)
        return child

    def kill(self, engine: Engine) -> None:
        for fiber in [fiber for fiber in self.fibers if fiber.engine is engine]:
            book = self.book(engine.held.account.identity.fingerprint)
            book.passwords.append(Password(self.true, {engine}, left=False))
            fiber.kill()
            self.fibers.remove(fiber)

    def stop(self) -> None:
        while self.fibers:
            self.fibers.pop().kill()


class Gateway:
    """Stands in for the gateway: it connects, then the request is on its way there, then the answer on its way back."""

    host, lead = HOST, 1.0

    def __init__(self, world: World, credentials: Credentials) -> None:
        self.world, self.fingerprint = world, credentials.fingerprint()
        self.login = credentials.username, credentials.password.reveal()

    def close(self) -> None:
        pass

    def grant(self, deadline: Moment, runtime: Runtime, leaves: float = 0.0) -> Reply:
        world, fiber = self.world, current_fiber()
        assert fiber
        fiber.hold()
        runtime.pause(max(0.0, leaves - runtime.monotonic()))
        sent = runtime.now()
        if world.outage == "unreachable" or sent.until(deadline) <= 0:
            late = world.outage != "unreachable"
            return Reply(Unavailable("the connection failed", HOST, late=late), ANSWERS["unreachable"], sent)
        book, password = world.book(self.fingerprint), Password(world.true, {fiber.engine}, self.fingerprint)
        password.left = not fiber.excused
        book.leaves(password, fiber.engine)
        if not world.sound:
            book.doubt(password)
        runtime.pause(world.latency / 2)
        saying = world.answers.pop(0) if world.answers else world.outage
        saying = "silence" if saying == "unreachable" else saying
        answer, token = (ANSWERS[saying], "") if saying in ANSWERS else world.decide(self.login, self.fingerprint)
        life = floor(world.ends[token] - world.true) if token else 0
        if token and not fiber.excused:
            world.on_grant(token)
        if saying == "hangs":
            fiber.hold(inf)
        waits = saying in ("lost", "overdue") or not answer.status
        runtime.pause(runtime.now().until(deadline) if waits else world.latency / 2)
        late = saying != "overdue" and runtime.now().until(deadline) < 0
        if saying == "lost" or (late and answer.status == 200):
            answer = ANSWERS["silence"]
        elif late:
            answer = evolve(answer, error=None, json=False)  # the body is not read any more
        fiber.passwords.append(password)
        password.answered = -inf if late else world.true
        book.answered(password, classify(answer))
        if answer.status == 429 and not fiber.excused:
            book.not_before[fiber.engine] = world.true + RETRY_AFTER
        return Reply(outcome_of(answer, token, life), answer, sent)
