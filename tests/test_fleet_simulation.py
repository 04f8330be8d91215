"""Several processes, one store and one server in a simulated world: the fleet's promises hold after every step.

As in `test_simulation`, but machines do not stall unless they are suspended: time passes when nobody has anything to
do at once. Nobody but the server knows the dialect in which it refuses.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from enkash_auth import Token
from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth._policy.classification import Kind
from enkash_auth.stores import MemoryStore, StoreError
from test_simulation import Callers
from world import DIALECTS, OUTAGES, TICK, Fiber, Machine, Outside, World, current_fiber

HANG = 2.0  # seconds that a call of a hanging store costs
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
        if self.mood == "away" or (write and self.mood == "full"):
            raise StoreError(self.mood)
        if self.mood == "hangs" and fiber:
            fiber.hold(fiber.machine.monotonic() + HANG)
        done = True if write and self.mood == "forgets" else do(self.world.true - called)
        if self.mood == "hangs":
            raise TimeoutError
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
        self.machines = [Machine(world, skew) for skew in skews]
        self.engines = [self.starts(machine) for machine in self.machines]

    def starts(self, machine: Machine) -> Engine:
        return self.world.engine(self.timeout, self.store, machine, self.strict)

    def calls_come(self) -> None:
        for engine, machine in zip(self.engines, self.machines, strict=True):
            if machine.wakes <= self.world.true:
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
            password.known = self.store.mood == "well" and self.world.true - password.answered < 0.1
            if password.known and password.kind is Kind.SUCCESS:
                self.world.book(password.fingerprint).saved = True
        for caller in [caller for caller in self.callers if caller.flight is fiber.flight]:
            self.go_on(caller)

    def check(self, engine: Engine, token: Token, flight: Flight | None) -> None:
        super().check(engine, token, flight)
        self.served.add(engine)

    def gone(self, engine: Engine) -> None:
        """The process is no more, in the middle of whatever it did."""
        self.world.kill(engine)
        self.callers = [caller for caller in self.callers if caller.engine is not engine]


class Fleets(Processes):
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

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.engines) - 1))
        if self.machines[place].wakes <= self.world.true:
            self.ask(self.engines[place])

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
        lives = [engine.held.cache.record.life for engine in self.engines if engine.held.cache.record]
        now = [engine.runtime.monotonic() for engine in self.engines if engine.held.cache.record]
        if lives:
            self.passes(
                max(0.0, min(life.lower.monotonic - life.window / 2 - at for life, at in zip(lives, now, strict=True)))
            )
            self.calls_come()
            self.passes(0.01)

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
        if engine in self.engines:
            engine.reject(token, asked)
        self.trouble()

    @rule(mood=st.sampled_from(["well", "well", "away", "full", "hangs", "forgets"]))
    def the_store_is(self, mood: str) -> None:
        self.store.mood, self.world.well = mood, mood == "well"
        for book in self.world.books.values():
            book.torn |= not self.world.well
            book.saved &= mood != "forgets"
        self.trouble()

    @rule()
    def the_store_is_emptied(self) -> None:
        self.store.empty()
        for book in self.world.books.values():
            book.torn, book.saved = True, False
        self.trouble()

    @rule(data=st.data())
    def a_process_is_killed_and_another_starts(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.engines) - 1))
        self.gone(self.engines[place])
        self.machines[place].wakes = 0.0
        self.engines[place] = self.starts(self.machines[place])
        self.trouble()

    @rule(data=st.data())
    def a_process_forks(self, data: st.DataObject) -> None:
        """The child comes in the place of another process; its parent goes on."""
        parent, place = data.draw(st.permutations(range(len(self.engines))))[:2]
        self.gone(self.engines[place])
        self.engines[place], self.machines[place] = self.world.fork(self.engines[parent]), self.machines[parent]
        self.trouble()

    @rule(data=st.data(), seconds=st.sampled_from([1.0, 3.0, 7.0, 70.0, 400.0]), asleep=st.booleans())
    def a_process_is_suspended(self, data: st.DataObject, seconds: float, asleep: bool) -> None:
        """It is stopped, or its whole machine is; what its callers then get is not looked at."""
        machine = data.draw(st.sampled_from(self.machines))
        machine.wakes = self.world.true + seconds
        machine.asleep += seconds if asleep else 0.0
        self.callers = [one for one in self.callers if self.machines[self.engines.index(one.engine)] is not machine]
        self.trouble()

    @rule(password=st.sampled_from(["p0", "p1", "wrong"]), right=st.sampled_from(["p0", "p1"]))
    def credentials_are_rotated(self, password: str, right: str) -> None:
        self.world.offered, self.world.right_password = ("user", password), right
        self.trouble()

    @rule(data=st.data())
    def a_process_is_reset(self, data: st.DataObject) -> None:
        self.world.reset(data.draw(st.sampled_from(self.engines)), self.engines)
        self.trouble()

    @rule()
    def all_is_well_again(self) -> None:
        """Proven credentials have a token again within one back-off, without a person."""
        world = self.world
        world.answers, world.outage, world.locked, world.well, self.store.mood = [], None, False, True, "well"
        world.offered = ("user", world.right_password)
        for machine in self.machines:
            machine.wakes = 0.0
        self.trouble()
        self.passes(self.timeout + 6)
        book = world.book(world.credentials().fingerprint())
        kinds = [one.kind for one in book.passwords]
        if book.saved and not book.final(kinds):
            self.served.clear()
            seconds = LONGEST if kinds else BACKOFF
            self.work(seconds + self.timeout + 6, seconds / 30)
            assert self.served >= {*self.engines}, "no token though all is well"

    # what must hold

    def granted(self, token: str) -> None:
        """At most two grants a life for the whole fleet, one more while the server is found to be sticky."""
        if self.store.mood != "well":
            return
        self.grants.append(self.world.true)
        if len(self.grants) > (allowed := 3 + self.spare):
            assert self.grants[-1] - self.grants[-1 - allowed] >= int(self.world.life), "too many grants"


TestFleets = Fleets.TestCase
TestFleets.settings = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
