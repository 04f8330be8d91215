"""A sticky server in a simulated world, without threads: how long callers wait at an expiry, and at what price.

`TokenCache` decides and `Direct` signs in, both as they are; time passes when they pause and while a request is under
way. A caller comes at every moment, or every so many seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import floor
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import table
from enkash_auth._policy.cache import Fail, Serve, Start, TokenCache
from enkash_auth._policy.classification import Answer
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.outcome import Issued
from enkash_auth._policy.sign_in import Identity, Result
from enkash_auth._runtime import Runtime
from enkash_auth._signin.account import SignIn
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth._signin.direct import Direct
from enkash_auth._signin.gateway import Reply

LEARNT, CHANGES = 4, 6  # lives: after which a server is known; after which those of `later` are shorter or longer


@dataclass
class Server:
    """A sticky server, the way to it, the clocks here, and the service that uses it."""

    life: float | None = 300.0
    there: float = 0.05  # seconds
    back: float = 0.05
    connect: float = 0.05
    jitter: float = 0.0  # seconds that a trip may take longer
    strangers: float = 0.0  # seconds between two requests of other clients
    reads: float = 0.001  # seconds from making a token to reading its life
    gap: float = 0.0  # seconds between two callers
    clock_set: float = 0.0  # seconds by which the wall clock is set, to and fro, every 1,000 s
    lead: float = 1.0
    later: float = 0.0  # if not 0, how long later tokens live
    age: float = 0.0  # seconds since another client asked for the first token
    seed: int = 1
    ends: list[float] = field(default_factory=list)
    requests: Counter[int] = field(default_factory=Counter)  # by life
    waits: dict[int, float] = field(default_factory=dict)  # the longest, by the life that ended it
    dead: int = 0  # times that a token was served that had expired
    dying: int = 0  # times that those who had waited got a token that expires within a second

    def __post_init__(self) -> None:
        self.chance, self.now, self.gateway = Random(self.seed), 1000.0, self
        self.identity = Identity("token.example", (), "fingerprint")
        self.stranger_comes = self.now + self.chance.uniform(0, 2 * self.strangers)
        self.ends += [self.now - self.age + (self.life or 0)] if self.age else []
        self.runtime = Runtime(lambda: self.now, self.wall, self.passes, self.chance.random)

    def wall(self) -> float:
        return 1e9 + self.now + self.clock_set * (self.now // 1000 % 2)

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def trip(self, seconds: float) -> None:
        self.passes(seconds + self.chance.uniform(0, self.jitter))

    def decide(self, now: float) -> int | None:
        """Make a token unless there is one; return the whole seconds that it has left."""
        if made := not self.ends or now >= self.ends[-1]:
            life = self.later if self.later and len(self.ends) >= CHANGES else self.life
            self.ends.append(now + (life or 1e9))
        return None if self.life is None else floor(self.ends[-1] - now - self.reads * made)

    def grant(self, deadline: Moment, runtime: Runtime, leaves: float) -> Reply:
        self.trip(self.connect)
        self.now = max(self.now, leaves)
        sent = runtime.now()
        self.trip(self.there)
        while self.strangers and self.stranger_comes < self.now:
            self.decide(self.stranger_comes)
            self.stranger_comes += self.chance.uniform(0, 2 * self.strangers)
        left, number = self.decide(self.now), len(self.ends)
        self.requests[number] += 1
        self.trip(self.back)
        return Reply(Issued(str(number), left), Answer(200, token=True), sent)

    def serve(self, lives: int, timeout: float = 10.0) -> Server:
        """Let the service use the server for so many lives, or for a million seconds."""
        cache, direct = TokenCache(self.identity, timeout), Direct(self.runtime, Attempts(None, self.runtime))
        lands: tuple[float, Result] | None = None
        waiting: float | None = None  # since when
        while len(self.ends) <= lives and self.now < 1e6:
            now = self.runtime.now()
            if lands and self.now >= lands[0] - 1e-9:
                cache, lands = cache.finished(cache.pending.number, lands[1], now, 0.5), None
                if waiting is not None:
                    self.waits[len(self.ends)] = max(self.waits.get(len(self.ends), 0.0), self.now - waiting)
                    self.dying += not cache.record.alive(now)
                    waiting = None
            decision = cache.ask(now)
            assert not isinstance(decision, Fail)
            if isinstance(decision, Start):
                cache = cache.started(now)
                result = direct.sign_in(SignIn(self, cache.record, cache.pending.end, lambda: None))
                lands, self.now = (self.now, result), now.monotonic
                decision = decision.meanwhile or decision
            if isinstance(decision, Serve):
                until = min(decision.until, lands[0]) if lands else decision.until
                self.dead += (now.monotonic if self.gap else until) > self.ends[int(decision.token.access_token) - 1]
                self.now += max(self.gap or until - self.now, 1e-6)
            else:
                waiting = self.now if waiting is None else waiting
                self.now = lands[0]
        return self

    def check(self, wait: float, requests: float, learnt: int = LEARNT) -> None:
        """Demand what is promised of a known server, but for the last life, which has not ended."""
        assert max((seconds for life, seconds in self.waits.items() if life > learnt), default=0.0) <= wait
        assert fmean(count for life, count in self.requests.items() if learnt < life < len(self.ends)) <= requests
        assert not self.dead


@pytest.mark.parametrize("strangers", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("reads", [0.0, 0.001])
@pytest.mark.parametrize("life", [5, 20.7, 300, 300.5])
@table(
    "way",
    ("near", (0.005, 0.005, 0.015)),
    ("far", (0.05, 0.05, 0.0)),
    ("slow there", (0.2, 0.02, 0.5)),
    ("slow back", (0.02, 0.2, 0)),
)
def test_callers_of_a_known_server_wait_two_round_trips_and_a_request_at_most(
    life: float, way: tuple[float, float, float], reads: float, strangers: float
) -> None:
    server = Server(life, *way, reads=reads, strangers=strangers).serve(LEARNT + 10)
    there, back, connect = way
    server.check(3 * (there + back) + connect + 0.155, 4 if strangers else 2.2)
    assert not server.dying


CASES: list[tuple[int, dict[str, float]]] = [
    *((1, one) for one in ({}, {"life": 2.0}, {"life": 86_400.0}, {"gap": 0.7}, {"gap": 4.0}, {"jitter": 0.02})),
    *((2, one) for one in ({"life": 20.7, "lead": 0.0, "connect": 0.0}, {"age": 100.3})),
    *((LEARNT, {"clock_set": seconds}) for seconds in (5.0, -0.3)),
    *((CHANGES + 1, {"later": life}) for life in (200.0, 199.5, 400.0)),
    (CHANGES + 2, {"later": 300.4}),
]


@pytest.mark.parametrize(("learnt", "options"), CASES, ids=str)
def test_100_ms_away_callers_wait_half_a_second_at_most(learnt: int, options: dict[str, float]) -> None:
    Server(**options).serve(learnt + 14).check(0.5, 2.2, learnt)


@given(
    life=st.sampled_from([1.5, 2, 2.5, 3, 10, 300.5]),
    there=st.floats(0, 0.3),
    back=st.floats(0, 0.3),
    jitter=st.sampled_from([0, 0.1]),
    strangers=st.sampled_from([0, 0.1, 1, 20]),
    reads=st.sampled_from([0, 0.001]),
    clock_set=st.sampled_from([0, 1, -1]),
    seed=st.integers(0, 1000),
)
def test_no_expired_token_is_served_and_nobody_waits_longer_than_before(**options: float) -> None:
    server = Server(connect=0, **options).serve(10)
    trips = 4 * (options["there"] + options["back"] + 2 * options["jitter"])
    assert not server.dead
    assert max(server.waits.values()) <= 1.5 + trips
    assert max(server.requests.values()) <= 6


@pytest.mark.parametrize("life", [20.7, 300.0])
@pytest.mark.parametrize(("trip", "timeout"), [(0.5, 2.5), (2.0, 5.0), (6.0, 10.0), (7.0, 10.0)])
def test_callers_of_a_slow_server_get_a_token_within_their_timeout(life: float, trip: float, timeout: float) -> None:
    server = Server(life, trip / 2, trip / 2, connect=0.0).serve(LEARNT + 10, timeout)
    server.check(timeout, 2.2, learnt=0)


def test_a_token_that_never_expires_costs_no_wait_and_a_request_an_hour() -> None:
    server = Server(life=None).serve(1)
    assert list(server.waits) == [1] and server.waits[1] < 0.2
    assert server.requests[1] <= 1e6 / 3500
