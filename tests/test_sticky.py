"""A sticky server in a simulated world, without threads: how long callers wait at an expiry, and what that costs.

`TokenCache` decides and `Direct` signs in, both as they are; time moves when they pause or a request is under way.
There is a caller at every moment.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from math import floor
from random import Random
from typing import Any

from enkash_auth._policy.cache import Fail, Identity, Serve, Start, TokenCache
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Issued
from enkash_auth._runtime import Runtime
from enkash_auth._policy.classification import Answer
from enkash_auth._signin.account import SignIn
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth._signin.direct import Direct
from enkash_auth._signin.gateway import Reply


@dataclass
class Line:
    """A server, the way to it, and the clocks here."""

    life: float = 300.0
    there: float = 0.05
    back: float = 0.05
    connect: float = 0.05
    jitter: float = 0.0
    strangers: float = 0.0  # seconds between two of their requests
    reads: float = 0.001  # seconds between making a token and reading its life
    steps: list[tuple[float, float]] = field(default_factory=list)
    lead: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        self.chance, self.true, self.wall = Random(self.seed), 1000.0, 0.0
        self.ends: list[float] = []
        self.identity = Identity("token.example", (), "f")
        self.gateway = self
        self.requests: list[tuple[float, int]] = []
        self.stranger_at = self.true + self.chance.uniform(0, 2*self.strangers)

    def runtime(self) -> Runtime:
        return Runtime(monotonic=lambda: self.true, wall=self.wall_clock, pause=self.passes, draw=self.chance.random)

    def wall_clock(self) -> float:
        return 1e9 + self.true + sum(step for at, step in self.steps if at <= self.true)

    def passes(self, seconds: float) -> None:
        self.true += seconds

    def trip(self, seconds: float) -> None:
        self.true += seconds + self.chance.uniform(0, self.jitter)

    def decide(self, now: float) -> int:
        if not self.ends or now >= self.ends[-1]:
            self.ends.append(now + self.life)
            return floor(self.life - self.reads)
        return floor(self.ends[-1] - now)

    def grant(self, deadline: Moment, runtime: Runtime, leaves: float) -> Reply:
        self.trip(self.connect)
        if self.lead:
            self.true = max(self.true, leaves)
        sent = runtime.now()
        self.trip(self.there)
        while self.strangers and self.stranger_at < self.true:
            self.decide(self.stranger_at)
            self.stranger_at += self.chance.uniform(0, 2*self.strangers)
        left = self.decide(self.true)
        self.requests.append((self.true, len(self.ends)))
        token = f"t{len(self.ends)}"
        self.trip(self.back)
        return Reply(Issued(token, left), Answer(200, token=True), sent)


@dataclass
class Told:
    waits: list[float]
    requests: list[int]
    dead: int
    dying: int
    early: int


def live(line: Line, lives: int, timeout: float = 10.0, debug=False) -> Told:
    """Let a service use the server for so many lives."""
    cache = TokenCache(line.identity, timeout)
    direct = Direct(line.runtime(), Attempts(None, line.runtime()))
    arrives: tuple[float, Any] | None = None
    waits, since, dead, dying, early = [], None, 0, 0, 0
    dense = None
    waits_of = {}
    turns = 0
    while len(line.ends) <= lives:
        turns += 1
        assert turns < 200_000, (cache, line.true)
        now = Moment(line.true, line.wall_clock())
        if arrives and now.monotonic >= arrives[0] - 1e-9:
            cache = cache.finished(cache.pending.number, arrives[1], now, 0.5)
            arrives = None
            outcome = cache.record
            if since is not None:
                n = len(line.ends)
                waits_of[n] = max(waits_of.get(n, 0), now.monotonic - since)
                if not outcome.alive(now): dying += 1; since=now.monotonic
                else: since=None
            if debug:
                r = outcome
                print(f"{now.monotonic:.3f} answer tok={r.token.access_token} looks={r.looks} bounds=[{r.life.lower.monotonic - line.ends[-1]:.3f}, {r.life.upper.monotonic - line.ends[-1]:.3f}] likely={r._likely_end - line.ends[-1]:.3f} floor={r.floor-line.ends[-1]:.3f} lesson={r.lesson} E={line.ends[-1]:.3f}")
        d = cache.ask(now)
        if isinstance(d, Start):
            cache = cache.started(now)
            began = line.true
            result = direct.sign_in(SignIn(line, cache.record, cache.pending.end, lambda: None))
            arrives = line.true, result
            line.true = began
            if d.meanwhile is None and since is None: since = began
            d = d.meanwhile
        if isinstance(d, Serve):
            if since is not None:
                since = None
            n = int(d.token.access_token[1:])
            until = min(d.until, arrives[0]) if arrives else d.until
            if until > line.ends[n - 1] + 1e-9:
                dead += 1
            line.true = max(until, line.true + 1e-6)
        else:
            assert not isinstance(d, Fail)
            if since is None: since = line.true
            line.true = arrives[0]
    requests = {}
    for _, n in line.requests: requests[n] = requests.get(n, 0) + 1
    return Told(waits_of, requests, dead, dying, early)

if __name__ == "__main__":
    import sys
    for name, kw in {
        "whole n-1": {}, "reads n": dict(reads=0), "fraction .5": dict(life=300.5), "fraction .1": dict(life=300.1), "frac .9": dict(life=300.9),
        "strangers 20s": dict(strangers=20.0), "strangers .2s": dict(strangers=.2), "strangers 1s .5": dict(strangers=1.0, life=300.5), "strangers 100": dict(strangers=100.),"strangers 1s n": dict(strangers=1.0, reads=0),
        "life 2": dict(life=2.0), "life 2 strangers": dict(life=2.0, strangers=.3), "life 2.5": dict(life=2.5), "life 2 n": dict(life=2.0, reads=0),
        "day": dict(life=86400.), "slow there": dict(there=1.0), "slow back": dict(back=1.0), "fast": dict(there=.005, back=.005, connect=.005),"fast strangers": dict(there=.005, back=.005, connect=.005,strangers=1.0),
        "fast .5": dict(there=.005, back=.005, connect=.005,life=300.5),
        "jitter .02": dict(jitter=.02), "jitter .1": dict(jitter=.1), "jitter .5": dict(jitter=.1, life=300.5),
        "clock +": dict(steps=[(1000+300*n+100*(n%3), 5.0*(-1)**n) for n in range(60)]),
        "clock .3": dict(steps=[(1000+300*n+100*(n%3), .3*(-1)**n) for n in range(60)]),
        "no lead": dict(lead=0), "long connect": dict(connect=0.3),
    }.items():
        if len(sys.argv) > 1 and sys.argv[1] != name: continue
        lives = 8 if kw.get("life", 0) > 1000 else 40
        line = Line(**kw)
        told = live(line, lives, debug=len(sys.argv) > 1)
        rtt = line.there + line.back
        allowed = 3*rtt + 2*line.jitter + .15
        early = {n: round(w,2) for n, w in told.waits.items() if 1 < n <= 7}
        late = [w for n, w in told.waits.items() if n > 7] 
        rl = [c for n, c in told.requests.items() if n > 6]
        print(f"{name:18} allowed {allowed:.2f} worst late {max(late):.3f} early {list(early.values())} req early {[c for n, c in told.requests.items() if n <= 6]} late mean {sum(rl)/len(rl):.2f} max {max(rl)} dead {told.dead} dying {told.dying}", flush=True)
