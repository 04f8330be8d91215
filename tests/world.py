"""A world for the engine, moved by hand: clocks, a token server, and flights that advance one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor
from random import Random
from typing import Any

from enkash_auth import Credentials
from enkash_auth._engine import Engine
from enkash_auth._fleet.shared import Shared
from enkash_auth._flight import Flight
from enkash_auth._policy.cache import TokenCache
from enkash_auth._policy.outcome import Issued, Outcome, Refused, Unavailable
from enkash_auth._runtime import Runtime
from enkash_auth._signin.account import Account
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth._signin.direct import Direct
from enkash_auth._signin.gateway import Reply
from enkash_auth.stores import Store

ANSWERS = ("issue", "overdue", "server_error", "retry_after", "lost", "hangs", "forbidden")


TICK = 1e-6  # seconds by which a timer may be late


class _Killed(BaseException):
    """Ends the fiber of a flight that nobody advances any more."""


class Fiber:
    """A flight's code on a thread of its own, which runs only while `step` waits for it."""

    def __init__(self, run: Callable[[], None], flight: Flight, clock: Callable[[], float]) -> None:
        self.flight, self.done, self.due = flight, False, clock()
        self.engine: Engine = run.func.__self__  # type: ignore[attr-defined]
        self._run, self._killed = run, False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None
        threading.Thread(target=self._main, daemon=True).start()

    def step(self) -> None:
        """Let the flight run to its next `hold` or its end."""
        _current.append(self)
        self._go.release()
        self._back.acquire()
        _current.remove(self)
        if self.error:
            raise self.error

    def hold(self, due: float = float("-inf")) -> None:
        """Called by the flight: give way until `step`, which makes sense from `due` on (monotonic seconds)."""
        self.due = due
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise _Killed

    def kill(self) -> None:
        self._killed = True
        self._go.release()
        self._back.acquire()

    def _main(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self._run()
        except _Killed:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self._back.release()


_current: list[Fiber] = []


def current_fiber() -> Fiber | None:
    """Return the flight that runs now, None for a caller's own code."""
    return _current[-1] if _current else None


@dataclass
class World:
    """Time, the server's state, and what it has seen. `true` is the time by which tokens really end."""

    seed: int
    life: float = 300.0
    latency: float = 0.0  # seconds that a grant takes
    sticky: bool = True
    true: float = 10_000.0
    slept: float = 0.0
    wall_offset: float = 1e9
    right_password: str = "p0"
    offered: tuple[str, str] = ("user", "p0")  # what the credentials' source says: user name and password
    answers: list[str] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    current: dict[str, str] = field(default_factory=dict)
    refusals_told: set[tuple[Engine, str]] = field(default_factory=set)
    not_before: dict[Engine, float] = field(default_factory=dict)
    fibers: list[Fiber] = field(default_factory=list)
    on_grant: Callable[[str], None] = lambda token: None
    on_refusal: Callable[[Engine, str], None] = lambda engine, fingerprint: None

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)

    def runtime(self, skew: float = 0.0) -> Runtime:
        """One machine's: its clocks are wrong by `skew`, the one this way, the other that way."""
        return Runtime(
            monotonic=lambda: self.monotonic() - skew,
            wall=lambda: self.true + self.wall_offset + skew,
            pause=lambda seconds: _current[-1].hold(self.monotonic() + seconds),
            draw=self.chance.random,
            spawn=self._spawn,
            call_within=lambda seconds, call: call(),
        )

    def monotonic(self) -> float:
        return self.true - self.slept

    def credentials(self) -> Credentials:
        return Credentials("https://token.example", *self.offered, "id", "secret")

    def engine(self, timeout: float, store: Store | None = None, skew: float = 0.0) -> Engine:
        runtime, account = self.runtime(skew), Account.of(self.credentials(), self.gateway)
        direct = Direct(runtime, Attempts(None, runtime))
        signer = direct if store is None else Shared(direct, store, timeout=timeout, strict=False)
        cache = TokenCache(account.identity, timeout, rereads=True)
        return Engine(cache, account, signer, runtime, source=self.credentials)

    def gateway(self, credentials: Credentials) -> Any:
        return Gateway(self, credentials)

    def _spawn(self, run: Callable[[], None]) -> None:
        self.fibers.append(Fiber(run, run.args[0], self.monotonic))  # type: ignore[attr-defined]

    def decide(self, user: str, password: str) -> str | Refused:
        """What a server as EnKash's is inferred to be does with a sign-in now."""
        if password != self.right_password:
            return Refused(400, "invalid_grant", True, "token.example")
        token = self.current.get(user)
        if not (self.sticky and token and token not in self.revoked and self.true < self.ends[token]):
            token = self.current[user] = f"token-{len(self.ends)}"
            self.ends[token], self.owners[token] = self.true + self.life, user
        return token

    def stop(self) -> None:
        for fiber in self.fibers:
            if not fiber.done:
                fiber.kill()
        self.fibers.clear()


class Gateway:
    """Stands in for the gateway: two steps to the server and back."""

    host = "token.example"

    def __init__(self, world: World, credentials: Credentials) -> None:
        self.world, self.fingerprint = world, credentials.fingerprint()
        self.login = credentials.username, credentials.password.reveal()

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass

    def grant(self, timeout: float) -> Outcome:
        world, fiber = self.world, _current[-1]

        def current() -> bool:
            return fiber.flight.number >= fiber.engine.cache.valid_from  # else begun before a reset

        if current():
            assert (fiber.engine, self.fingerprint) not in world.refusals_told, "refused credentials were sent again"
            assert world.monotonic() >= world.not_before.get(fiber.engine, 0.0), "asked before Retry-After had passed"
        end = world.monotonic() + timeout
        answer = world.answers.pop(0) if world.answers else "issue"
        fiber.hold(world.monotonic() + world.latency / 2)  # on its way there
        decided = world.decide(*self.login) if answer in ("issue", "overdue", "lost") else None
        expires_in = floor(world.ends[decided] - world.true) if isinstance(decided, str) else 0
        if answer == "hangs":
            fiber.hold(float("inf"))
        fiber.hold(end if answer in ("lost", "overdue") else world.monotonic() + world.latency / 2)  # on its way back
        if answer != "overdue" and (world.monotonic() >= end or answer == "lost"):
            return Unavailable("too late", self.host, late=True)
        if isinstance(decided, Refused):
            world.on_refusal(fiber.engine, self.fingerprint)
            if current():
                world.refusals_told.add((fiber.engine, self.fingerprint))
            return decided
        if decided is not None:
            if current():
                world.on_grant(decided)
            return Issued(decided, expires_in)
        if answer == "retry_after":
            if current():
                world.not_before[fiber.engine] = world.monotonic() + 20
            return Unavailable("status 429", self.host, 20.0)
        if answer == "forbidden":
            return Refused(403, None, False, self.host)
        return Unavailable("status 500", self.host)
