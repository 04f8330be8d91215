"""The engine in a simulated world: its callers, and its sign-ins one step at a time, in any order.

Hypothesis prints the steps of a failing run and replays them; `--hypothesis-seed=N` reproduces a whole search, and
`nox -s simulation` makes a longer one. What the cache decides by itself is `test_cache_simulation`'s.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enkash_auth import Token
from enkash_auth._engine import Engine
from enkash_auth._flight import Flight
from enkash_auth._policy.lifetime import CLOCK_CHECK, TokenRecord
from enkash_auth.errors import ProtocolError, RefusedError, UnavailableError
from world import DIALECTS, GRANTS, OUTAGES, TICK, Fiber, Machine, World, check_grants

SETTINGS = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
LOGINS = st.tuples(st.sampled_from(["user", "other"]), st.sampled_from(["p0", "p1", "wrong"]))
RIGHT = st.sampled_from(["p0", "p1"])


def worlds(lives: list[float], passwords: list[str], dialects: Iterable[str] = DIALECTS) -> st.SearchStrategy[World]:
    offered = st.tuples(st.just("user"), st.sampled_from(passwords))
    choices = {"life": st.sampled_from(lives), "sticky": st.booleans(), "dialect": st.sampled_from([*dialects])}
    return st.builds(World, seed=st.integers(0, 2**32), offered=offered, **choices)


@dataclass(eq=False)
class Caller:
    """One call of `token()` that waits; its deadline is on its machine's clock."""

    engine: Engine
    flight: Flight | None  # that it waits for
    deadline: float
    users: set[str]  # whose token it may get: accounts that were held or named while it waited

    @property
    def left(self) -> float:
        """Seconds until it waits no more."""
        return self.flight.bound(self.deadline) - self.engine.runtime.monotonic()


class Callers:
    """What this simulation and the fleet's share: calls of `token()`, and what each must bring."""

    world: World
    timeout: float
    callers: list[Caller]
    last: tuple[Engine, Token, float] | None = None
    spare = 0  # grants that trouble may cost

    def ask(self, engine: Engine) -> None:
        now, users = engine.runtime.monotonic(), {engine.held.account.credentials.username, self.world.offered[0]}
        _, until, token = engine.held.serving
        if now < until:
            self.check(engine, token, None, users)
            self.last = engine, token, now
            return
        self.settle(engine.join_or_start, Caller(engine, None, now + self.timeout, users))

    def go_on(self, caller: Caller) -> None:
        self.callers.remove(caller)
        self.settle(lambda: caller.engine.after_wait(caller.flight, caller.deadline), caller)

    def settle(self, ask: Callable[[], Token | Flight], caller: Caller) -> None:
        engine, flight = caller.engine, caller.flight
        now, again = engine.runtime.monotonic(), flight and flight.extra
        due = max(flight.end, caller.deadline) if flight and again else caller.deadline
        frozen = flight and not again and engine.runtime.now().until(flight.deadline) < -0.5
        in_time = now <= due + 3 * TICK or frozen or (flight and flight.outcome)
        got = None
        with suppress(RefusedError, UnavailableError, ProtocolError):
            got = ask()
        if isinstance(got, Flight):
            assert now < due or frozen, "a caller waits past its deadline"
            self.callers.append(replace(caller, flight=got))
            return
        assert in_time, "a caller was answered past its deadline"
        if got:
            self.check(engine, got, flight, caller.users)
            self.last = engine, got, now

    def check(self, engine: Engine, token: Token, flight: Flight | None, users: set[str]) -> None:
        """Never a token past its end; it may be in its last second only for those who waited for it."""
        world, name = self.world, token.access_token
        assert world.owners[name] in {*users, engine.held.account.credentials.username}, "another account's token"
        if flight and isinstance(flight.outcome, TokenRecord) and flight.outcome.single_use:
            return
        if name not in world.revoked and engine.runtime.monotonic() > world.machines[engine].slept_at + CLOCK_CHECK:
            assert world.true < world.ends[name] + TICK * CLOCK_CHECK, "a token past its end"

    def ready(self) -> list[Fiber]:
        return [fiber for fiber in self.world.fibers if not fiber.left]

    def step(self, fiber: Fiber) -> None:
        fiber.step()
        if fiber.done:
            self.world.fibers.remove(fiber)
            self.ended(fiber)

    def ended(self, fiber: Fiber) -> None: ...

    def calm(self) -> None:
        """Start counting grants anew: something happened that may cost one more."""
        self.grants: list[float] = []

    def granted(self, token: str) -> None:
        self.grants.append(self.world.true)
        check_grants(self.grants, GRANTS + self.spare, self.world.life)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.stop()


class Lives(Callers, RuleBasedStateMachine):
    """Callers, sign-ins, forks, faults, resets and rotations in one process."""

    @initialize(world=worlds([1.5, 2, 20, 300, 86_399], ["p0", "wrong"]), timeout=st.sampled_from([0.5, 3.0, 10.0]))
    def begin(self, world: World, timeout: float) -> None:
        self.world, self.timeout, self.callers = world, timeout, []
        self.machine, world.on_grant = Machine(world), self.granted
        self.engine = world.engine(timeout, machine=self.machine)
        self.calm()

    # what happens

    @rule(burst=st.integers(1, 3))
    def calls(self, burst: int) -> None:
        for _ in range(burst):
            self.ask(self.engine)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def fly(self, data: st.DataObject) -> None:
        self.step(data.draw(st.sampled_from(self.ready())))

    @precondition(lambda self: self.ready())
    @rule()
    def fly_home(self) -> None:
        while ready := self.ready():
            self.step(ready[0])

    @precondition(lambda self: self.callers)
    @rule()
    def wake(self) -> None:
        """Callers go on whose sign-in has ended; they may also be late to do so."""
        for caller in [caller for caller in self.callers if caller.flight.outcome is not None]:
            self.go_on(caller)

    @rule(seconds=st.sampled_from([0.01, 0.2, 0.5, 1.3, 5.0, 19.0, 60.0, 290.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.world.true + seconds
        while due := [one for one in self.callers if self.world.true + one.left <= end]:
            first = min(due, key=lambda one: one.left)
            self.world.true += max(0.0, first.left + TICK)
            self.go_on(first)
        self.world.true = max(self.world.true, end)

    @precondition(lambda self: self.engine.held.cache.record)
    @rule()
    def time_passes_to_the_renewal(self) -> None:
        life = self.engine.held.cache.record.life
        self.time_passes(max(0.0, life.lower.monotonic - life.window / 2 - self.machine.monotonic()))
        self.ask(self.engine)

    @rule(answers=st.lists(st.sampled_from(["decides", "overdue", "lost", "hangs", *OUTAGES]), min_size=1, max_size=3))
    def the_server_will_answer(self, answers: list[str]) -> None:
        self.world.answers = answers

    @precondition(lambda self: self.last)
    @rule(revoked=st.booleans())
    def an_api_says_401(self, revoked: bool) -> None:
        self.world.revoked |= self.world.ends.keys() if revoked else set()
        self.engine.reject(*self.last[1:])
        self.calm()

    @rule(login=LOGINS, right=RIGHT)
    def credentials_are_rotated(self, login: tuple[str, str], right: str) -> None:
        self.world.offered, self.world.right_password = login, right
        for caller in self.callers:
            caller.users.add(login[0])

    @rule()
    def reset(self) -> None:
        self.world.reset(self.engine, [self.engine])
        self.calm()

    @rule()
    def fork(self) -> None:
        """Go on as the child, at whatever point its parent's sign-in is."""
        child = self.world.fork(self.engine)
        for book in self.world.books.values():  # there is no store that says how the parent's sign-in ends
            book.loses()
        self.world.kill(self.engine)
        self.engine = child
        self.callers.clear()
        self.calm()

    # what must hold

    @invariant()
    def never_two_sign_ins(self) -> None:
        if hasattr(self, "world"):
            now, valid = self.machine.monotonic(), self.engine.held.cache.valid_from
            flights = [fiber.flight for fiber in self.world.fibers if not fiber.done]
            assert len([one for one in flights if one.number >= valid and now < one.end]) <= 1, "two sign-ins at once"


TestLives = Lives.TestCase
TestLives.settings = SETTINGS
