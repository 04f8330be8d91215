"""Several processes, one store and one server in a simulated world: the fleet's promises hold after every step.

As in `test_simulation`, but machines do not stall unless they are suspended: time passes when nobody has anything to
do at once. Nobody but the server knows the dialect in which it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from conftest import table
from enkash_auth import Token
from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth._policy.classification import Kind
from enkash_auth.errors import UnavailableError
from enkash_auth.stores import MemoryStore, StoreError
from test_simulation import RIGHT, SETTINGS, Callers, worlds
from world import DIALECTS, OUTAGES, TICK, Fiber, Machine, Outside, World, current_fiber

HANG = 2.0  # seconds that a call of a hanging store costs
LIKE_TROUBLE = ("busy", "server_error", "silence")  # refusals that look like an outage: limits 2 and 6
BACKOFF, LONGEST = 30.0, 1800.0  # seconds until the server is asked again, by the first rule and the last


class Lossy(Outside, MemoryStore):
    """A store on true time. `mood`: well, away, full, hangs (and does it), forgets (and says it has saved)."""

    def __init__(self, world: World) -> None:
        super().__init__(clock=lambda: world.true)
        self.world, self.mood = world, "well"

    def empty(self) -> None:
        super().__init__(clock=lambda: self.world.true)

    def _do(self, do: Any, *, write: bool) -> Any:
        """Take part in the interleaving."""
        called, fiber = self.world.true, current_fiber()
        if fiber:
            fiber.hold()
            fiber.troubled |= self.mood != "well"
        fails = self.mood == "away" or (write and self.mood == "full")
        if self.mood == "hangs" and fiber:
            fiber.hold(fiber.machine.monotonic() + HANG)
        lost = fails or (write and self.mood == "forgets")
        done = True if lost else do(self.world.true - called)
        if fails or self.mood == "hangs":
            if fiber:
                fiber.machine.store_fails()
            raise StoreError(self.mood)
        return done

    def load(self, key: str) -> Any:
        return self._do(lambda late: MemoryStore.load(self, key), write=False)

    def save(self, key: str, value: bytes, seconds: float, lock: Any = None) -> Any:
        return self._do(lambda late: MemoryStore.save(self, key, value, seconds - late, lock), write=True)

    def delete(self, key: str) -> None:
        self._do(lambda late: MemoryStore.delete(self, key), write=True)

    def lock(self, key: str, seconds: float) -> Any:
        return self._do(lambda late: MemoryStore.lock(self, key, seconds), write=False)


class Processes(Callers):
    """Some processes with one store; each has a machine of its own."""

    def start(self, world: World, timeout: float, skews: list[float], *, strict: bool = False) -> None:
        self.world, self.timeout, self.strict = world, timeout, strict
        self.store, self.callers, self.served = Lossy(world), [], set[Engine]()
        self.engines = [self.starts(skew) for skew in skews]

    def starts(self, skew: float) -> Engine:
        return self.world.engine(self.timeout, self.store, Machine(self.world, skew), self.strict)

    @property
    def awake(self) -> list[Engine]:
        return [engine for engine in self.engines if self.world.machines[engine].wakes <= self.world.true]

    def calls_come(self) -> None:
        for engine in self.awake:
            self.ask(engine)

    def passes(self, seconds: float) -> None:
        target = self.world.true + seconds
        while True:
            while ready := self.ready():
                self.step(self.world.chance.choice(ready))
            lefts = [one.left for one in (*self.callers, *self.world.fibers)]
            self.world.true += max(0.0, min([*lefts, target - self.world.true])) + TICK
            for caller in [caller for caller in self.callers if caller.left <= 0]:
                self.go_on(caller)
            if self.world.true >= target:
                return

    def work(self, seconds: float, every: float = 1.0) -> Self:
        """Calls come again and again."""
        end = self.world.true + seconds
        while self.world.true < end:
            self.calls_come()
            self.passes(every)
        return self

    def flies(self, until: Callable[[], bool]) -> Self:
        """Let the first process sign in so far."""
        self.ask(self.engines[0])
        while not until():
            self.step(self.ready()[0])
        return self

    def ended(self, fiber: Fiber) -> None:
        for password in fiber.passwords:
            book = self.world.book(password.fingerprint)
            password.known = self.store.mood == "well" and self.world.true - password.answered < 0.1
            if password.known and not (book.aware is None or book.lost or fiber.excused):
                book.aware.add(fiber.engine)
            if password.known and password.kind is Kind.SUCCESS:
                book.saved = True
                if not book.torn:  # else it may not know of a reset; and a success clears what is older, never later
                    book.cleared = [one for one in book.cleared if one.at > fiber.began]
        for caller in [caller for caller in self.callers if caller.flight is fiber.flight]:
            self.go_on(caller)

    def check(self, engine: Engine, token: Token, flight: Flight | None, users: set[str]) -> None:
        super().check(engine, token, flight, users)
        self.served.add(engine)

    def gone(self, engine: Engine) -> None:
        """The process is no more, in the middle of whatever it did."""
        self.world.kill(engine)
        self.callers = [caller for caller in self.callers if caller.engine is not engine]

    def killed(self, engine: Engine) -> None:
        """The process is killed, and another starts in its place."""
        self.gone(engine)
        self.engines[self.engines.index(engine)] = self.starts(self.world.machines[engine].skew)

    def suspended(self, engine: Engine, seconds: float, *, asleep: bool = False) -> None:
        """The process is stopped, or its whole machine is; what its callers then get is not looked at."""
        machine = self.world.machines[engine]
        machine.stop(seconds, asleep=asleep)
        self.callers = [one for one in self.callers if self.world.machines[one.engine] is not machine]

    def emptied(self) -> None:
        self.store.empty()
        for fiber in self.world.fibers:
            fiber.troubled = True
        for book in self.world.books.values():
            book.loses(all=True)


class Fleets(Processes, RuleBasedStateMachine):
    """Processes, their callers, their store and their server, in any order."""

    @initialize(
        world=worlds([2, 20, 300, 86_399], ["p0", "p0", "wrong"], [*DIALECTS, "busy"]),
        timeout=st.sampled_from([3.0, 10.0]), strict=st.booleans(),
        skews=st.lists(st.sampled_from([0.0, 0.4, -300.0, 90_000.0]), min_size=2, max_size=4),
    )  # fmt: skip
    def begin(self, world: World, timeout: float, strict: bool, skews: list[float]) -> None:
        world.on_grant = self.granted
        self.start(world, timeout, skews, strict=strict)
        self.calm()

    def trouble(self) -> None:
        """Something happened after which each process may have to ask for itself once more."""
        self.spare = len(self.engines)
        self.calm()

    # what happens

    @precondition(lambda self: self.awake)
    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(self.awake)))

    all_call = rule()(Processes.calls_come)
    time_passes = rule(seconds=st.sampled_from([0.01, 0.3, 1.3, 3.0, 5.0, 19.0, 60.0, 301.0, 90_000.0]))(
        Processes.passes
    )

    @rule(data=st.data(), steps=st.integers(1, 12))
    def fly(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            if ready := self.ready():
                self.step(data.draw(st.sampled_from(ready)))

    @rule(seconds=st.sampled_from([3.0, 10.0, 70.0, 400.0]))
    def there_is_work(self, seconds: float) -> None:
        self.work(seconds, seconds / 10)

    @rule()
    def time_passes_to_a_renewal(self) -> None:
        for engine in self.engines:
            if record := engine.held.cache.record:
                renewed = record.life.lower.monotonic - record.life.window / 2
                self.passes(max(0.0, renewed - engine.runtime.monotonic()))
                self.calls_come()
                self.passes(0.01)
                return

    @rule(answers=st.lists(st.sampled_from(["decides", "lost", *OUTAGES]), min_size=1, max_size=3))
    def the_server_will_answer(self, answers: list[str]) -> None:
        self.world.answers = answers
        self.trouble()

    @rule(outage=st.sampled_from([None, *OUTAGES]))
    def an_outage(self, outage: str | None) -> None:
        self.world.outage = outage
        self.trouble()

    @rule(locked=st.booleans())
    def a_stranger_locks_the_account(self, locked: bool) -> None:
        self.world.locked = locked
        self.trouble()

    @precondition(lambda self: self.last)
    @rule()
    def the_server_revokes(self) -> None:
        self.world.revoked |= self.world.ends.keys()
        engine, token, asked = self.last
        if engine in self.awake:
            engine.reject(token, asked)
        self.trouble()

    @rule(mood=st.sampled_from(["well", "well", "away", "full", "hangs", "forgets"]))
    def the_store_is(self, mood: str) -> None:
        self.store.mood, self.world.well = mood, mood == "well"
        for book in self.world.books.values():
            if not self.world.well:
                book.loses()
            book.saved &= mood != "forgets"
        self.trouble()

    @rule()
    def the_store_is_emptied(self) -> None:
        self.emptied()
        self.trouble()

    @rule(data=st.data())
    def a_process_is_killed_and_another_starts(self, data: st.DataObject) -> None:
        self.killed(data.draw(st.sampled_from(self.engines)))
        self.trouble()

    @precondition(lambda self: self.awake)
    @rule(data=st.data())
    def a_process_forks(self, data: st.DataObject) -> None:
        """The child comes in the place of another process; its parent goes on."""
        parent = data.draw(st.sampled_from(self.awake))
        place = data.draw(st.sampled_from([one for one in range(len(self.engines)) if self.engines[one] is not parent]))
        self.gone(self.engines[place])
        self.engines[place] = self.world.fork(parent)
        self.trouble()

    @precondition(lambda self: self.awake)
    @rule(data=st.data(), seconds=st.sampled_from([1.0, 3.0, 7.0, 70.0, 400.0]), asleep=st.booleans())
    def a_process_is_suspended(self, data: st.DataObject, seconds: float, asleep: bool) -> None:
        self.suspended(data.draw(st.sampled_from(self.awake)), seconds, asleep=asleep)
        self.trouble()

    @rule(password=st.sampled_from(["p0", "p1", "wrong"]), right=RIGHT)
    def credentials_are_rotated(self, password: str, right: str) -> None:
        self.world.offered, self.world.right_password = ("user", password), right
        self.trouble()

    @precondition(lambda self: self.awake)
    @rule(data=st.data())
    def a_process_is_reset(self, data: st.DataObject) -> None:
        with suppress(UnavailableError):  # its store is away, and needed
            self.world.reset(data.draw(st.sampled_from(self.awake)), self.engines)
        self.trouble()

    @rule()
    def all_is_well_again(self) -> None:
        """Proven credentials have a token again within one back-off, without a person."""
        world = self.world
        world.answers, world.outage, world.locked, world.well, self.store.mood = [], None, False, True, "well"
        world.offered = ("user", world.right_password)
        self.trouble()
        self.passes(max(0.0, *(world.machines[one].wakes - world.true for one in self.engines)) + self.timeout + 6)
        named = world.credentials().fingerprint()
        held = {one: one.held.account.identity.fingerprint for one in self.engines}
        book = world.book(named)
        kinds = [one.kind for one in (*book.cleared, *book.passwords, *book.forgotten)]
        if book.saved and not book.final(kinds):
            self.served.clear()
            # who holds other credentials sends those once more before it reads the source again
            seconds = LONGEST if kinds or {*held.values()} - {named} else BACKOFF
            self.work(seconds + self.timeout + 6, seconds / 30)
            # no answer of a busy server, or none, makes a process read the source again
            hopeful = {one for one in held if held[one] == named or world.dialect not in LIKE_TROUBLE}
            assert self.served >= hopeful, "no token though all is well"

    # what must hold

    def granted(self, token: str) -> None:
        """No more for the whole fleet than for one process, but after trouble one more for each."""
        if self.store.mood == "well":
            super().granted(token)


def fleet_of(dialect: str, password: str = "wrong", processes: int = 2) -> Processes:
    fleet = Processes()
    fleet.start(World(0, dialect=dialect, offered=("user", password)), 10.0, [0.0] * processes)
    return fleet


def proven(dialect: str) -> Processes:
    """Credentials that have worked, until the server's password was changed and the token had expired."""
    fleet = fleet_of(dialect, "p0").work(2)
    fleet.world.right_password = "p1"
    fleet.passes(301)
    return fleet


class TestTraces:
    """Runs that broke a promise once."""

    def test_a_child_forked_in_mid_sign_in_leaves_its_parents_attempt_to_the_parent(self) -> None:
        fleet = fleet_of("clear", "p0").work(2)
        fleet.passes(301)
        fleet.world.reset(fleet.engines[0], fleet.engines)
        fleet.world.outage = "silence"
        fleet.flies(lambda: any(len(book.passwords) > 1 for book in fleet.world.books.values()))
        child = fleet.world.fork(fleet.engines[0])
        fleet.passes(20)
        fleet.world.outage = None
        fleet.served.clear()
        fleet.ask(child)
        fleet.passes(3)
        assert fleet.served == {child}

    def test_a_process_that_stood_still_blames_no_store(self) -> None:
        fleet, steps = fleet_of("clear"), iter(range(3))
        fleet.flies(lambda: next(steps, None) is None).suspended(fleet.engines[0], 70)
        assert fleet.work(120).world.failures == 1


class TestLimits:
    """What no client can promise: a third password, each time for another reason (see docs/security.md)."""

    def test_unproven_credentials_and_a_server_that_is_only_silent(self) -> None:
        fleet = fleet_of("silence").work(290)
        assert fleet.world.failures == 2
        assert fleet.work(30).world.failures == 3

    @table(
        "begin, dialect",
        ("proven, and like an outage", proven, "silence"),
        ("proven, and like a broken server", proven, "server_error"),
        ("in the words of a busy server", fleet_of, "busy"),
    )
    def test_a_refusal_that_looks_like_trouble(self, begin: Callable[[str], Processes], dialect: str) -> None:
        assert begin(dialect).work(60).world.failures >= 3

    def test_a_refusal_of_the_client_that_counts_against_the_user(self) -> None:
        assert proven("client").work(400, 5).world.failures == 3

    def test_proven_credentials_whose_process_is_killed_before_the_answer(self) -> None:
        fleet = proven("maybe")
        fleet.flies(lambda: fleet.world.failures == 1).killed(fleet.engines[0])
        assert fleet.work(400, 5).world.failures == 3

    def test_another_wrong_password(self) -> None:
        fleet = fleet_of("maybe").work(70)
        fleet.world.offered = "user", "wrong, too"
        assert fleet.work(70).world.failures >= 3

    def test_a_reset(self) -> None:
        fleet = fleet_of("maybe").work(70)
        fleet.world.reset(fleet.engines[0], fleet.engines)
        assert fleet.work(400, 5).world.failures == 3

    @pytest.mark.parametrize("mood", ["well", "forgets"])
    def test_a_store_that_is_emptied_in_mid_flight_or_loses_what_it_has_kept(self, mood: str) -> None:
        fleet = fleet_of("maybe")
        fleet.store.mood = mood
        fleet.flies(lambda: fleet.world.failures == 1).emptied()
        fleet.killed(fleet.engines[0])
        fleet.store.mood = "well"
        assert fleet.work(70).world.failures == 3

    def test_a_store_that_is_down(self) -> None:
        fleet = fleet_of("maybe", processes=3)
        fleet.store.mood, fleet.world.well = "away", False
        assert fleet.work(400, 5).world.failures == 3

    def test_a_reset_that_the_store_does_not_keep_and_an_older_one_that_it_has_kept(self) -> None:
        fleet = fleet_of("clear", "p0")
        fleet.world.reset(fleet.engines[0], fleet.engines)
        fleet.work(2)
        fleet.store.mood, fleet.world.well, fleet.world.locked = "full", False, True
        fleet.passes(301)
        fleet.world.reset(fleet.engines[1], fleet.engines)
        assert fleet.work(4).world.failures == 2  # one each
        assert fleet.work(60).world.failures == 3

    def test_several_machines_without_a_store(self) -> None:
        fleet = fleet_of("clear", processes=3)
        fleet.world.well = False
        fleet.engines = [fleet.world.engine(10.0) for _ in fleet.engines]
        assert fleet.work(400, 5).world.failures == 3

    def test_a_password_that_leaves_late_was_counted(self) -> None:
        fleet = fleet_of("maybe")
        fleet.flies(lambda: any(book.passwords for book in fleet.world.books.values()))
        fleet.suspended(fleet.engines[0], 3600)
        assert fleet.work(3500, 50).world.failures == 1
        assert fleet.work(400, 60).world.failures == 2


TestFleets = Fleets.TestCase
TestFleets.settings = SETTINGS
