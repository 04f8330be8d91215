"""Several processes, one store and one server in a simulated world: the fleet's promises hold after every step.

As in `test_simulation`, but machines do not stall: time passes when nobody has anything to do at once. Their clocks
disagree, their store hangs, raises, forgets and is emptied, they are killed, forked and reset.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from enkash_auth import Token
from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import CLOCK_CHECK
from enkash_auth.errors import ProtocolError, RefusedError, UnavailableError
from enkash_auth.stores import MemoryStore, StoreError
from world import ANSWERS, TICK, World, current_fiber

HANG = 2.0  # seconds that a call of a hanging store costs


class Lossy(MemoryStore):
    """A store on true time. `mood`: `well`, `raises`, `hangs` (and does it or not), `forgets` (says it has saved)."""

    def __init__(self, world: World) -> None:
        super().__init__(clock=lambda: world.true)
        self.world, self.mood, self.operations = world, "well", 0

    def _meet(self, write: bool) -> bool:
        """Take part in the interleaving; return whether the operation is done."""
        self.operations += 1
        fiber = current_fiber()
        if fiber:
            fiber.hold()
        if self.mood == "raises":
            raise StoreError("it raises")
        if self.mood == "hangs" and fiber:
            fiber.hold(self.world.monotonic() + HANG)
        return not (write and self.mood == "forgets")

    def empty(self) -> None:
        self._entries.clear()
        self._leases.clear()

    def _left(self) -> None:
        if self.mood == "hangs":
            raise TimeoutError

    def load(self, key: str) -> Any:
        self._meet(False)
        self._left()
        return super().load(key)

    def save(self, key: str, value: bytes, seconds: float, lock: Any = None) -> bool:
        called = self.world.true
        kept = self._meet(True)
        saved = kept and super().save(key, value, seconds - (self.world.true - called), lock)
        self._left()
        return saved

    def delete(self, key: str) -> None:
        if self._meet(True):
            super().delete(key)
        self._left()

    def lock(self, key: str, seconds: float) -> Any:
        lease = super().lock(key, seconds) if self._meet(False) else None
        self._left()
        return lease


@dataclass
class Caller:
    """One call of `token()` that waits, in one of the processes."""

    world: World
    engine: Engine
    flight: Flight
    deadline: float

    @property
    def due(self) -> float:
        return min(self.deadline, self.flight.end + self.world.monotonic() - self.engine.runtime.monotonic())


class Fleets(RuleBasedStateMachine):
    """Processes, their callers and their store, in any order."""

    @initialize(
        seed=st.integers(0, 2**32),
        life=st.sampled_from([2, 20, 300, 86_399]),
        sticky=st.booleans(),
        timeout=st.sampled_from([3.0, 10.0]),
        password=st.sampled_from(["p0", "p0", "wrong"]),
        skews=st.lists(st.sampled_from([0.0, 0.4, -300.0, 90_000.0]), min_size=2, max_size=4),
    )
    def begin(self, seed: int, life: float, sticky: bool, timeout: float, password: str, skews: list[float]) -> None:
        self.world = World(seed, life=life, sticky=sticky, offered=("user", password))
        self.world.on_grant, self.world.on_refusal = self.granted, self.refused
        self.store, self.timeout, self.skews = Lossy(self.world), timeout, skews
        self.engines = [self.world.engine(timeout, self.store, skew) for skew in skews]
        self.callers: list[Caller] = []
        self.last: tuple[Engine, Token, float] | None = None
        self.attempts: Counter[str] = Counter()
        self.spare = 0  # attempts and grants that trouble may cost
        self.calm()

    def calm(self) -> None:
        self.since: list[float] = []

    def trouble(self) -> None:
        """Something happened after which each process may have to ask for itself once more."""
        self.spare += len(self.engines)
        self.calm()

    # what happens

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(self.engines)))

    @rule()
    def all_call(self) -> None:
        for engine in self.engines:
            self.ask(engine)

    @rule(data=st.data(), steps=st.integers(1, 12))
    def fly(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            if ready := self.ready():
                self.step(data.draw(st.sampled_from(ready)))

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 1.3, 3.0, 5.0, 19.0, 60.0, 290.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        target = self.world.monotonic() + seconds
        while True:
            self.all_fly()
            dues = [caller.due for caller in self.callers] + [fiber.due for fiber in self.world.fibers]
            due = min([*dues, target])
            self.world.true += max(0.0, due - self.world.monotonic()) + TICK
            for caller in [caller for caller in self.callers if caller.due <= self.world.monotonic()]:
                self.go_on(caller)
            if due >= target:
                return

    @rule()
    def time_passes_to_a_renewal(self) -> None:
        ends = [engine.cache.record.life for engine in self.engines if engine.cache.record]
        if ends:
            renew = min(life.lower.monotonic - life.window / 2 for life in ends)
            self.time_passes(min(90_000.0, max(0.0, renew - self.world.monotonic())))
            self.all_call()
            self.time_passes(0.01)

    @rule(answers=st.lists(st.sampled_from([a for a in ANSWERS if a != "hangs"]), min_size=1, max_size=3))
    def server_will_answer(self, answers: list[str]) -> None:
        self.world.answers = answers
        self.trouble()

    @rule()
    def server_is_replaced(self) -> None:
        self.world.sticky = not self.world.sticky
        self.trouble()

    @precondition(lambda self: self.last)
    @rule()
    def server_revokes(self) -> None:
        self.world.revoked |= self.world.ends.keys()
        engine, token, asked = self.last
        if engine in self.engines:
            engine.reject(token, asked)
        self.trouble()

    @rule(mood=st.sampled_from(["well", "well", "raises", "hangs", "forgets"]))
    def store_is_in_a_mood(self, mood: str) -> None:
        self.store.mood = mood
        self.trouble()

    @rule()
    def store_is_emptied(self) -> None:
        self.store.empty()
        self.trouble()

    @rule(data=st.data())
    def a_process_is_killed_and_another_starts(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.engines) - 1))
        self.gone(self.engines[place])
        self.engines[place] = self.world.engine(self.timeout, self.store, self.skews[place])

    @rule(data=st.data())
    def a_process_forks(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.engines) - 1))
        parent = self.engines[place]
        child = self.engines[place] = copy.copy(parent)
        child.signer = copy.copy(child.signer)
        child.after_fork()
        self.gone(parent)

    @rule(password=st.sampled_from(["p0", "p1", "wrong"]), right=st.sampled_from(["p0", "p1"]))
    def credentials_are_rotated(self, password: str, right: str) -> None:
        self.world.offered, self.world.right_password = ("user", password), right
        self.trouble()

    @rule(data=st.data())
    def a_process_is_reset(self, data: st.DataObject) -> None:
        engine = data.draw(st.sampled_from(self.engines))
        engine.reset()
        # all of the fleet may try again, once
        self.world.refusals_told.clear()
        self.world.not_before.clear()
        self.trouble()

    # what must hold

    def check(self, engine: Engine, token: Token, flight: Flight | None) -> None:
        world = self.world
        assert world.owners[token.access_token] == "user"
        if token.access_token in world.revoked or (flight and getattr(flight.outcome, "single_use", False)):
            return
        assert world.true < world.ends[token.access_token] + TICK * CLOCK_CHECK, "a token past its end"

    def refused(self, engine: Engine, fingerprint: str) -> None:
        """One attempt with refused credentials for the whole fleet, and one for each process after trouble."""
        self.attempts[fingerprint] += 1
        assert self.attempts[fingerprint] <= 1 + self.spare, "refused credentials were sent again"

    def granted(self, token: str) -> None:
        """At most two grants per lifetime for the whole fleet, one more while the server is learnt."""
        if self.store.mood != "well":
            return
        self.since.append(self.world.true)
        allowed = 3 + (len(self.engines) if self.spare else 0)
        if len(self.since) > allowed:
            assert self.since[-1] - self.since[-1 - allowed] >= int(self.world.life), "too many grants"

    # how

    def ready(self) -> list[Any]:
        now = self.world.monotonic()
        return [fiber for fiber in self.world.fibers if not fiber.done and fiber.due <= now]

    def step(self, fiber: Any) -> None:
        fiber.step()
        if fiber.done:
            self.world.fibers.remove(fiber)
            for caller in [caller for caller in self.callers if caller.flight is fiber.flight]:
                self.go_on(caller)

    def all_fly(self) -> None:
        while ready := self.ready():
            self.step(self.world.chance.choice(ready))

    def gone(self, engine: Engine) -> None:
        """The process and its threads are no more, in the middle of whatever they did."""
        for fiber in [fiber for fiber in self.world.fibers if fiber.engine is engine]:
            fiber.kill()
            self.world.fibers.remove(fiber)
        self.callers = [caller for caller in self.callers if caller.engine is not engine]
        self.trouble()

    def ask(self, engine: Engine) -> None:
        now = self.world.monotonic()
        if engine.runtime.monotonic() < engine.until:
            token = engine.token
            self.check(engine, token, None)
            self.last = engine, token, engine.runtime.monotonic()
            return
        self.settle(engine, engine.join_or_start, now + self.timeout, None)

    def go_on(self, caller: Caller) -> None:
        self.callers.remove(caller)
        engine, flight = caller.engine, caller.flight
        late = (
            caller.deadline - self.world.monotonic() + engine.runtime.monotonic()
        )  # the deadline on the engine's clock
        self.settle(engine, lambda: engine.after_wait(flight, late), caller.deadline, flight)

    def settle(self, engine: Engine, ask: Any, deadline: float, flight: Flight | None) -> None:
        try:
            got = ask()
        except (RefusedError, UnavailableError, ProtocolError):
            got = None
        if isinstance(got, Flight):
            assert self.world.monotonic() < deadline, "a caller waits past its deadline"
            self.callers.append(Caller(self.world, engine, got, deadline))
            return
        if got is not None:
            self.check(engine, got, flight)
            self.last = engine, got, engine.runtime.monotonic()
        assert self.world.monotonic() <= deadline + 3 * TICK, "a caller was answered past its deadline"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.stop()


TestFleets = Fleets.TestCase
TestFleets.settings = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
