"""The engine in a simulated world: whatever is interleaved, its promises hold after every step.

Hypothesis prints the steps of a failing run and replays them; `--hypothesis-seed=N` reproduces a whole search, and
`nox -s simulation` makes a longer one.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enkash_auth import Token
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import CLOCK_CHECK, TokenRecord
from enkash_auth.errors import RefusedError, UnavailableError
from world import ANSWERS, TICK, Fiber, World


@dataclass
class Caller:
    """One call of `token()` that waits."""

    flight: Flight
    deadline: float

    @property
    def due(self) -> float:
        return min(self.deadline, self.flight.end)


class Lives(RuleBasedStateMachine):
    """Callers, flights, forks, clocks, faults and rotations in any order."""

    @initialize(
        seed=st.integers(0, 2**32),
        life=st.sampled_from([1.5, 2, 5, 20, 300, 86_399]),
        sticky=st.booleans(),
        timeout=st.sampled_from([0.5, 3.0, 10.0]),
        password=st.sampled_from(["p0", "wrong"]),
    )
    def begin(self, seed: int, life: float, sticky: bool, timeout: float, password: str) -> None:
        self.world = World(seed, life=life, sticky=sticky, offered=("user", password), on_grant=self.granted)
        self.timeout = timeout
        self.engine = self.world.engine(timeout)
        self.callers: list[Caller] = []
        self.last: tuple[Token, float] | None = None
        self.slept_at = float("-inf")
        self.calm()

    def calm(self) -> None:
        """Start counting grants anew: something happened that may cost one more."""
        self.counted: Counter[str] = Counter()
        self.since: list[float] = []

    # what happens

    @rule()
    def call(self) -> None:
        asked = self.world.monotonic()
        if asked < self.engine.until:
            token = self.engine.token
            self.check(token, None)
            self.last = token, asked
            return
        self.settle(lambda: self.engine.join_or_start(), asked + self.timeout, None, asked)

    @rule(burst=st.integers(2, 4))
    def calls(self, burst: int) -> None:
        for _ in range(burst):
            self.call()

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def fly(self, data: st.DataObject) -> None:
        self.step(data.draw(st.sampled_from(self.ready())))

    @precondition(lambda self: self.ready())
    @rule()
    def fly_home(self) -> None:
        for fiber in self.ready():
            while not fiber.done and fiber in self.ready():
                self.step(fiber)

    @rule()
    def call_when_renewal_is_due(self) -> None:
        self.call()
        self.fly_home()
        if known := self.engine.cache.record:
            renew = known.life.lower.monotonic - known.life.window / 2
            self.time_passes(max(0.0, renew - self.world.monotonic()))
            self.call()

    @precondition(lambda self: self.callers)
    @rule()
    def wake(self) -> None:
        """Callers whose flight has landed run on; they may also be late to do so."""
        for caller in [caller for caller in self.callers if caller.flight.outcome is not None]:
            self.go_on(caller)

    @rule(seconds=st.sampled_from([0.01, 0.2, 0.5, 1.0, 1.3, 5.0, 19.0, 60.0, 290.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        target = self.world.monotonic() + seconds
        while due := sorted((caller for caller in self.callers if caller.due <= target), key=lambda c: c.due):
            if (early := due[0].due - self.world.monotonic()) >= 0:
                self.world.true += early + TICK
            self.go_on(due[0])
        self.world.true += max(0.0, target - self.world.monotonic())

    @precondition(lambda self: self.engine.cache.record)
    @rule(data=st.data())
    def time_passes_to_a_point_of_the_tokens_life(self, data: st.DataObject) -> None:
        life = self.engine.cache.record.life
        early = life.lower.monotonic - life.window / 2
        point = data.draw(st.sampled_from([early, life.lower.monotonic, life.upper.monotonic]))
        self.time_passes(max(0.0, point - self.world.monotonic()) + data.draw(st.sampled_from([0.0, 0.01, 0.1])))

    @precondition(lambda self: self.world.wall_offset >= 1e9)  # with both at once no clock is right
    @rule(seconds=st.sampled_from([0.5, 100.0, 90_000.0]))
    def sleeps(self, seconds: float) -> None:
        self.world.true += seconds
        self.world.slept += seconds
        self.slept_at = self.world.monotonic()
        self.calm()

    @rule(seconds=st.sampled_from([1.0, 3600.0, -1.0, -3600.0]))
    def wall_clock_is_set(self, seconds: float) -> None:
        if seconds > 0 or not self.world.slept:
            self.world.wall_offset += seconds
            self.calm()

    @rule(answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=3))
    def server_will_answer(self, answers: list[str]) -> None:
        self.world.answers = answers

    @rule()
    def server_is_replaced(self) -> None:
        self.world.sticky = not self.world.sticky
        self.calm()

    @rule()
    def server_revokes(self) -> None:
        self.world.revoked |= self.world.ends.keys()
        self.calm()

    @precondition(lambda self: self.last)
    @rule()
    def api_says_401(self) -> None:
        token, asked = self.last
        self.engine.reject(token, asked)
        self.calm()

    @rule(
        user=st.sampled_from(["user", "other"]),
        password=st.sampled_from(["p0", "p1", "wrong"]),
        right=st.sampled_from(["p0", "p1"]),
    )
    def credentials_are_rotated(self, user: str, password: str, right: str) -> None:
        self.world.offered, self.world.right_password = (user, password), right

    @rule()
    def reset(self) -> None:
        self.world.refusals_told.clear()
        self.world.not_before.clear()
        self.engine.reset()
        self.calm()

    @rule()
    def fork(self) -> None:
        """Go on as the child, at whatever point its parent's flight is."""
        self.world.stop()
        self.callers.clear()
        self.world.not_before.clear()
        child = copy.copy(self.engine)
        child.after_fork()
        self.world.refusals_told = {(child, fingerprint) for _, fingerprint in self.world.refusals_told}
        self.engine = child
        self.calm()

    # what must hold

    @invariant()
    def never_two_flights(self) -> None:
        if hasattr(self, "world"):
            now = self.world.monotonic()
            flying = [
                fiber.flight
                for fiber in self.world.fibers
                if not fiber.done and fiber.flight.number >= self.engine.cache.valid_from and now < fiber.flight.end
            ]
            assert len(flying) <= 1

    @invariant()
    def only_refused_credentials_are_barred(self) -> None:
        if hasattr(self, "world"):
            assert self.engine.cache.refusals.keys() <= {fingerprint for _, fingerprint in self.world.refusals_told}

    def check(self, token: Token, flight: Flight | None) -> None:
        """Never a token past its end; it may be in its last second only for those who waited for it."""
        world = self.world
        assert world.owners[token.access_token] == self.engine.account.credentials.username, "another account's token"
        if world.monotonic() - self.slept_at <= CLOCK_CHECK or token.access_token in world.revoked:
            return
        if flight is not None and isinstance(flight.outcome, TokenRecord) and flight.outcome.single_use:
            return
        assert world.true < world.ends[token.access_token], "a token past its end"

    def granted(self, token: str) -> None:
        """At most two grants per lifetime, one more while the server is learnt."""
        self.counted[token] += 1
        assert self.counted[token] <= 3, "one token was fetched again and again"
        self.since.append(self.world.true)
        if len(self.since) > 3:
            assert self.since[-1] - self.since[-4] >= min(self.world.life, floor_life(self.world.life)), "too many"

    def ready(self) -> list[Fiber]:
        now = self.world.monotonic()
        return [fiber for fiber in self.world.fibers if not fiber.done and fiber.due <= now]

    def step(self, fiber: Fiber) -> None:
        fiber.step()
        if fiber.done:
            self.world.fibers.remove(fiber)

    def go_on(self, caller: Caller) -> None:
        self.callers.remove(caller)
        self.settle(lambda: self.engine.after_wait(caller.flight, caller.deadline), caller.deadline, caller.flight, 0.0)

    def settle(self, ask: object, deadline: float, flight: Flight | None, asked: float) -> None:
        try:
            got = ask()  # type: ignore[operator]
        except (RefusedError, UnavailableError):
            pass
        else:
            if isinstance(got, Flight):
                assert self.world.monotonic() < deadline, "a caller waits past its deadline"
                self.callers.append(Caller(got, deadline))
                return
            self.check(got, flight)
            self.last = got, asked
        assert self.world.monotonic() <= deadline + 2 * TICK or flight is None or flight.outcome is not None

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.stop()


def floor_life(life: float) -> float:
    return float(int(life))


TestLives = Lives.TestCase
TestLives.settings = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
