"""Several processes, one store and one server in a simulated world: the fleet's promises hold after every step.

As in `test_simulation`, but machines do not stall unless they are suspended: time passes when nobody has anything to
do at once. Nobody but the server knows the dialect in which it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from enkash_auth import Token
from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth._policy.classification import Kind
from enkash_auth.errors import UnavailableError
from enkash_auth.stores import MemoryStore, StoreError
from test_simulation import Callers
from world import DIALECTS, GRANTS, OUTAGES, TICK, Fiber, Machine, Outside, World, check_grants, current_fiber

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
        if self.mood == "away" or (write and self.mood == "full"):
            raise self._failure(fiber)
        if self.mood == "hangs" and fiber:
            fiber.hold(fiber.machine.monotonic() + HANG)
        done = True if write and self.mood == "forgets" else do(self.world.true - called)
        if self.mood == "hangs":
            raise self._failure(fiber)
        return done

    def _failure(self, fiber: Fiber | None) -> StoreError:
        if fiber:
            fiber.machine.store_fails()
        return StoreError(self.mood)

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
            self.all_fly()
            lefts = [one.left for one in (*self.callers, *self.world.fibers)]
            left = min([*lefts, target - self.world.true])
            self.world.true += max(0.0, left) + TICK
            for caller in [caller for caller in self.callers if caller.left <= 0]:
                self.go_on(caller)
            if self.world.true >= target:
                return

    def work(self, seconds: float, every: float = 1.0) -> None:
        """Calls come again and again."""
        end = self.world.true + seconds
        while self.world.true < end:
            self.calls_come()
            self.passes(every)

    def ready(self) -> list[Fiber]:
        return [fiber for fiber in self.world.fibers if not fiber.left]

    def all_fly(self) -> None:
        while ready := self.ready():
            self.step(self.world.chance.choice(ready))

    def step(self, fiber: Fiber) -> None:
        fiber.step()
        if not fiber.done:
            return
        self.world.fibers.remove(fiber)
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
        """Another process starts in the place of one that was killed."""
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
        seed=st.integers(0, 2**32),
        life=st.sampled_from([2, 20, 300, 86_399]),
        sticky=st.booleans(),
        timeout=st.sampled_from([3.0, 10.0]),
        password=st.sampled_from(["p0", "p0", "wrong"]),
        dialect=st.sampled_from([*DIALECTS, "busy"]),
        strict=st.booleans(),
        skews=st.lists(st.sampled_from([0.0, 0.4, -300.0, 90_000.0]), min_size=2, max_size=4),
    )
    def begin(
        self, seed: int, life: float, sticky: bool, timeout: float, password: str, dialect: str, strict: bool,
        skews: list[float],
    ) -> None:  # fmt: skip
        world = World(seed, life=life, sticky=sticky, offered=("user", password), dialect=dialect)
        world.on_grant = self.granted
        self.spare = 0  # grants that trouble may cost
        self.start(world, timeout, skews, strict=strict)
        self.calm()

    def calm(self) -> None:
        self.grants: list[float] = []

    def trouble(self) -> None:
        """Something happened after which each process may have to ask for itself once more."""
        self.spare = len(self.engines)
        self.calm()

    # what happens

    @precondition(lambda self: self.awake)
    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(self.awake)))

    @rule()
    def all_call(self) -> None:
        self.calls_come()

    @rule(data=st.data(), steps=st.integers(1, 12))
    def fly(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            if ready := self.ready():
                self.step(data.draw(st.sampled_from(ready)))

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.3, 3.0, 5.0, 19.0, 60.0, 301.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.passes(seconds)

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

    @rule(password=st.sampled_from(["p0", "p1", "wrong"]), right=st.sampled_from(["p0", "p1"]))
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
        if self.store.mood != "well":
            return
        self.grants.append(self.world.true)
        check_grants(self.grants, GRANTS + self.spare, self.world.life)


class TestTraces:
    """Runs that broke a promise once."""

    def fleet(self, password: str = "p0") -> Processes:
        fleet = Processes()
        fleet.start(World(0, dialect="clear", offered=("user", password)), 10.0, [0.0, 0.0])
        return fleet

    def test_a_child_forked_in_mid_sign_in_leaves_its_parents_attempt_to_the_parent(self) -> None:
        fleet = self.fleet()
        fleet.work(2)
        fleet.passes(301)
        fleet.world.reset(fleet.engines[0], fleet.engines)
        fleet.world.outage = "silence"
        fly(fleet, lambda: any(len(book.passwords) > 1 for book in fleet.world.books.values()))
        child = fleet.world.fork(fleet.engines[0])
        fleet.passes(20)
        fleet.world.outage = None
        fleet.served.clear()
        fleet.ask(child)
        fleet.passes(3)
        assert fleet.served == {child}

    def test_a_process_that_stood_still_blames_no_store(self) -> None:
        fleet = self.fleet("wrong")
        steps = iter(range(3))
        fly(fleet, lambda: next(steps, None) is None)
        fleet.suspended(fleet.engines[0], 70)
        fleet.work(120)
        assert fleet.world.failures == 1


def fly(fleet: Processes, until: Callable[[], bool]) -> None:
    """Let the first process sign in so far."""
    fleet.ask(fleet.engines[0])
    while not until():
        fleet.step(fleet.ready()[0])


class TestLimits:
    """What no client can promise: a third password, each time for another reason (see docs/security.md)."""

    def fleet(self, dialect: str, password: str = "wrong", processes: int = 2) -> Processes:
        fleet = Processes()
        fleet.start(World(0, dialect=dialect, offered=("user", password)), 10.0, [0.0] * processes)
        return fleet

    def proven(self, dialect: str) -> Processes:
        """Credentials that have worked, until the server's password was changed and the token had expired."""
        fleet = self.fleet(dialect, "p0")
        fleet.work(2)
        fleet.world.right_password = "p1"
        fleet.passes(301)
        return fleet

    def test_unproven_credentials_and_a_server_that_is_only_silent(self) -> None:
        fleet = self.fleet("silence")
        fleet.work(290)
        assert fleet.world.failures == 2
        fleet.work(30)
        assert fleet.world.failures == 3

    @pytest.mark.parametrize("dialect", ["silence", "server_error"])
    def test_proven_credentials_whose_refusal_looks_like_an_outage(self, dialect: str) -> None:
        fleet = self.proven(dialect)
        fleet.work(60)
        assert fleet.world.failures >= 3

    def test_proven_credentials_whose_process_is_killed_before_the_answer(self) -> None:
        fleet = self.proven("maybe")
        fly(fleet, lambda: fleet.world.failures == 1)
        fleet.killed(fleet.engines[0])
        fleet.work(400, 5)
        assert fleet.world.failures == 3

    def test_another_wrong_password(self) -> None:
        fleet = self.fleet("maybe")
        fleet.work(70)
        fleet.world.offered = "user", "wrong, too"
        fleet.work(70)
        assert fleet.world.failures >= 3

    def test_a_reset(self) -> None:
        fleet = self.fleet("maybe")
        fleet.work(70)
        fleet.world.reset(fleet.engines[0], fleet.engines)
        fleet.work(400, 5)
        assert fleet.world.failures == 3

    @pytest.mark.parametrize("mood", ["well", "forgets"])
    def test_a_store_that_is_emptied_in_mid_flight_or_loses_what_it_has_kept(self, mood: str) -> None:
        fleet = self.fleet("maybe")
        fleet.store.mood = mood
        fly(fleet, lambda: fleet.world.failures == 1)
        fleet.emptied()
        fleet.killed(fleet.engines[0])
        fleet.store.mood = "well"
        fleet.work(70)
        assert fleet.world.failures == 3

    def test_a_store_that_is_down(self) -> None:
        fleet = self.fleet("maybe", processes=3)
        fleet.store.mood, fleet.world.well = "away", False
        fleet.work(400, 5)
        assert fleet.world.failures == 3

    def test_a_reset_that_the_store_does_not_keep_and_an_older_one_that_it_has_kept(self) -> None:
        fleet = self.fleet("clear", "p0")
        fleet.world.reset(fleet.engines[0], fleet.engines)
        fleet.work(2)
        fleet.store.mood, fleet.world.well, fleet.world.locked = "full", False, True
        fleet.passes(301)
        fleet.world.reset(fleet.engines[1], fleet.engines)
        fleet.work(4)
        assert fleet.world.failures == 2  # one each
        fleet.work(60)
        assert fleet.world.failures == 3

    def test_several_machines_without_a_store(self) -> None:
        fleet = self.fleet("clear", processes=3)
        fleet.world.well = False
        fleet.engines = [fleet.world.engine(10.0) for _ in fleet.engines]
        fleet.work(400, 5)
        assert fleet.world.failures == 3

    def test_a_password_that_leaves_late_was_counted(self) -> None:
        fleet = self.fleet("maybe")
        fly(fleet, lambda: any(book.passwords for book in fleet.world.books.values()))
        fleet.suspended(fleet.engines[0], 3600)
        fleet.work(3500, 50)
        assert fleet.world.failures == 1
        fleet.work(400, 60)
        assert fleet.world.failures == 2

    def test_a_refusal_in_the_words_of_a_busy_server(self) -> None:
        fleet = self.fleet("busy")
        fleet.work(60)
        assert fleet.world.failures >= 3

    def test_a_refusal_of_the_client_that_counts_against_the_user(self) -> None:
        fleet = self.proven("client")
        fleet.work(400, 5)
        assert fleet.world.failures == 3


TestFleets = Fleets.TestCase
TestFleets.settings = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
