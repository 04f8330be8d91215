"""`TokenCache` by itself, in any order of its transitions: no thread, no lock; a sign-in under way is a small value.

Hypothesis prints the transitions of a failing run; `--hypothesis-seed=N` repeats a search.
"""

from dataclasses import dataclass
from math import floor, inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from enkash_auth._policy.attempts import Attempt, Ledger
from enkash_auth._policy.backoff import second_request
from enkash_auth._policy.cache import Fail, Join, Serve, Start, TokenCache
from enkash_auth._policy.classification import classify
from enkash_auth._policy.lifetime import CLOCK_CHECK, Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Unavailable
from enkash_auth._policy.sign_in import Identity, Result
from enkash_auth._policy.token import Token
from test_simulation import LOGINS, RIGHT, SETTINGS, worlds
from world import ANSWERS, GRANTS, HOST, OUTAGES, Machine, Password, World, check_grants, outcome_of

POINTS = "early", "lower", "upper"  # of a token's life


@dataclass(eq=False)
class SignIn:
    """One under way: when its next request may leave, and once it has left, its attempt."""

    number: int
    login: tuple[str, str]
    record: TokenRecord | None
    end: Moment
    due: float
    requests: int = 0
    sent: Moment | None = None
    attempt: Attempt | None = None
    password: Password | None = None
    outcome: TokenRecord | Failure | None = None

    @property
    def fingerprint(self) -> str:
        return "/".join(self.login)


class Caches(RuleBasedStateMachine):
    """Callers, answers, 401s, resets, forks, rotations and both clocks."""

    @initialize(
        world=worlds([1.5, 2, 5, 20, 300, 86_399], ["p0", "p0", "wrong"]),
        timeout=st.sampled_from([0.5, 3.0, 10.0]), rereads=st.booleans(),
    )  # fmt: skip
    def begin(self, world: World, timeout: float, rereads: bool) -> None:
        self.world, self.clock, self.login = world, Machine(world), world.offered
        self.cache = TokenCache(self.identity(self.login), timeout, rereads)
        self.ledgers: dict[str, Ledger] = {}
        self.signins: list[SignIn] = []
        self.callers: list[tuple[SignIn, float]] = []
        self.rejected: list[float] = []
        self.last: Token | None = None
        self.reread_at = -inf
        self.calm()
        self.forget()

    def calm(self) -> None:
        """Start counting grants anew: something happened that may cost one more."""
        self.grants: list[float] = []

    def forget(self) -> None:
        """No limit and no back-off is known."""
        self.limit = self.failed_at = -inf

    def identity(self, login: tuple[str, str]) -> Identity:
        return Identity(HOST, login[:1], "/".join(login))

    # what happens

    @rule()
    def call(self) -> None:
        self.ask(self.now.monotonic + self.cache.timeout, late=False)

    @rule(point=st.sampled_from(["now", *POINTS]), trip=st.sampled_from([0.0, 0.05]))
    def a_caller_is_answered(self, point: str, trip: float) -> None:
        """A renewal or a sign-in, whole: a course that the rules below seldom draw in a row."""
        if self.cache.record and point in POINTS:
            self.pass_to(point, 0.01)
        self.call()
        for signin in [one for one in self.flying() if not one.sent]:
            self.world.true += max(0.0, signin.due - self.now.monotonic)
            self.leave(signin)
            self.world.true += trip
            if signin.sent:
                self.answer(signin, "decides")

    @precondition(lambda self: any(signin.outcome or self.given_up(signin) for signin, _ in self.callers))
    @rule()
    def wake(self) -> None:
        """Callers go on whose sign-in has ended, or was given up."""
        for caller in [one for one in self.callers if one[0].outcome or self.given_up(one[0])]:
            self.callers.remove(caller)
            (signin, deadline), outcome = caller, caller[0].outcome
            late = outcome is None or (isinstance(outcome, Unavailable) and outcome.late)
            if late and self.now.monotonic < deadline and signin.end.monotonic < deadline:
                self.ask(deadline, late=True)
            elif isinstance(outcome, TokenRecord) and outcome.alive(self.now):
                self.check(outcome.token, signin.login)

    @precondition(lambda self: any(one.sent is None and self.now.monotonic >= one.due for one in self.signins))
    @rule(data=st.data())
    def a_request_leaves(self, data: st.DataObject) -> None:
        due = [one for one in self.signins if one.sent is None and self.now.monotonic >= one.due]
        self.leave(data.draw(st.sampled_from(due)))

    def leave(self, signin: SignIn) -> None:
        now = self.now
        ledger = self.ledgers.get(signin.fingerprint, Ledger())
        decision = ledger.decide(now)
        if decision.row:
            self.finish(signin, decision.failure(HOST, now.monotonic))
        elif now.until(signin.end) <= 0:
            self.finish(signin, Unavailable("no time was left", HOST, late=True))
        else:
            self.ledgers[signin.fingerprint], signin.attempt = ledger.started(self.world.new_id(), now)
            signin.sent, signin.password = now, Password(self.world.true, {self})
            signin.requests += 1
            if signin.number >= self.cache.valid_from:
                self.world.book(signin.fingerprint).leaves(signin.password, self)

    @precondition(lambda self: any(one.sent for one in self.signins))
    @rule(data=st.data(), saying=st.sampled_from(["decides", "decides", "decides", "lost", *OUTAGES]))
    def it_is_answered(self, data: st.DataObject, saying: str) -> None:
        self.answer(data.draw(st.sampled_from([one for one in self.signins if one.sent])), saying)

    def answer(self, signin: SignIn, saying: str) -> None:
        book, decides = self.world.book(signin.fingerprint), saying in ("decides", "lost")
        decided, token = self.world.decide(signin.login, signin.fingerprint) if decides else (ANSWERS[saying], "")
        if token and signin.number >= self.cache.valid_from:
            self.granted()
        answer = ANSWERS["silence"] if saying == "lost" else decided
        outcome = outcome_of(answer, token, floor(self.world.ends[token] - self.world.true) if token else 0)
        book.answered(signin.password, classify(answer))
        heard = self.cache.pending and self.cache.pending.number == signin.number  # a given-up one's connection is cut
        if heard and isinstance(outcome, Unavailable) and outcome.retry_after:
            book.not_before[self] = self.world.true + outcome.retry_after
        ledger = self.ledgers[signin.fingerprint].answered(signin.attempt.answered(answer))
        self.ledgers[signin.fingerprint] = ledger
        before, sent, signin.sent, left = signin.record, signin.sent, None, self.now.until(signin.end)
        if isinstance(outcome, Issued):
            draw = self.world.chance.random()
            outcome = signin.record = TokenRecord.from_answer(outcome, sent, self.now, before=before, draw=draw)
        pause = second_request(outcome, self.now, left, 0.5, before=before)
        if pause is not None and signin.requests == 1:
            signin.due = self.now.monotonic + pause
        elif isinstance(outcome, TokenRecord):
            self.finish(signin, outcome)
        else:
            self.finish(signin, ledger.decide(self.now).limiting(outcome, self.now.monotonic))

    @rule(seconds=st.sampled_from([0.01, 0.2, 0.5, 1.0, 1.3, 5.0, 19.0, 60.0, 290.0, 1800.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.true += seconds

    @precondition(lambda self: self.cache.record)
    @rule(point=st.sampled_from(POINTS), more=st.sampled_from([0.0, 0.01, 0.1]))
    def pass_to(self, point: str, more: float) -> None:
        life = self.cache.record.life
        at = life.upper if point == "upper" else life.lower
        early = life.window / 2 if point == "early" else 0.0
        self.world.true += max(0.0, at.monotonic - early - self.now.monotonic) + more

    @precondition(lambda self: self.world.wall_offset >= 1e9)  # with both at once no clock is right
    @rule(seconds=st.sampled_from([0.5, 100.0, 90_000.0]))
    def the_machine_sleeps(self, seconds: float) -> None:
        self.clock.stop(seconds, asleep=True)
        self.world.true += seconds
        self.calm()

    @rule(seconds=st.sampled_from([1.0, 3600.0, -1.0, -3600.0]))
    def the_wall_clock_is_set(self, seconds: float) -> None:
        if seconds > 0 or not self.clock.asleep:
            self.world.wall_offset += seconds
            self.calm()

    @rule(lock=st.booleans())
    def the_server_changes(self, lock: bool) -> None:
        self.world.sticky, self.world.locked = not self.world.sticky, lock
        self.calm()

    @precondition(lambda self: self.last)
    @rule()
    def an_api_says_401(self) -> None:
        before = self.cache
        self.cache = before.rejected(self.last, self.now)
        if before.record and before.record.alive(self.now) and self.cache is not before:
            self.rejected = [at for at in self.rejected if self.now.monotonic - at < 60] + [self.now.monotonic]
            assert len(self.rejected) <= 3, "more tokens were given up than two, and one a minute"
        self.calm()

    @rule(login=LOGINS, right=RIGHT)
    def credentials_are_rotated(self, login: tuple[str, str], right: str) -> None:
        self.world.offered, self.world.right_password = login, right

    @rule()
    def reset(self) -> None:
        self.cache, held = self.cache.reset(), self.login
        self.reread(self.cache.valid_from)
        for fingerprint in {"/".join(held), "/".join(self.login)}:
            ledger = self.ledgers.get(fingerprint, Ledger())
            self.ledgers[fingerprint] = ledger.after_reset(self.world.new_id(), self.now)
            self.world.book(fingerprint).resets(self.world.true, self, {self})
        self.rejected.clear()
        self.calm()
        self.forget()

    @rule()
    def fork(self) -> None:
        """Go on as the child; its parent's sign-ins and callers are not its own."""
        self.cache = self.cache.afresh()
        self.signins.clear()
        self.callers.clear()
        self.rejected.clear()
        for book in self.world.books.values():
            book.not_before.clear()
        self.calm()

    # what must hold

    def check(self, token: Token, login: tuple[str, str]) -> None:
        """Never a token past its end, nor another account's."""
        world = self.world
        assert world.owners[token.access_token] == login[0], "another account's token"
        if self.now.monotonic > self.clock.slept_at + CLOCK_CHECK:
            assert world.true < world.ends[token.access_token], "a token past its end"

    def granted(self) -> None:
        self.grants.append(self.world.true)
        if self.world.life >= 5 and self.cache.timeout >= 1:  # else most of a life is the second that is cut off
            check_grants(self.grants, GRANTS, self.world.life)

    # how

    @property
    def now(self) -> Moment:
        return self.clock.now()

    def given_up(self, signin: SignIn) -> bool:
        return self.now.monotonic >= signin.end.monotonic

    def ask(self, deadline: float, *, late: bool) -> None:
        now = self.now
        if self.cache.overdue(now.monotonic):
            before, self.cache = self.cache, self.cache.given_up(now, self.world.chance.random())
            if self.cache.backoff is not before.backoff:  # of a process that stood still, a final refusal stays
                self.limit, self.failed_at = -inf, now.monotonic
        decision, serve, login = self.cache.ask(now, late=late), None, self.login  # before the source is read again
        if isinstance(decision, Start):
            serve = decision.meanwhile
            self.start(now)
        if isinstance(decision, Serve):
            serve = decision
        if serve:
            assert now.monotonic < serve.until <= now.monotonic + CLOCK_CHECK
            self.last = serve.token
            self.check(serve.token, login)
        elif isinstance(decision, Fail):
            assert now.monotonic < max(self.failed_at + 30, self.limit), "an error for longer than a back-off"
        else:
            signin, latest = self.flying()[-1], deadline + self.cache.timeout + 1e-6
            assert isinstance(decision, Join | Start) and now.monotonic < signin.end.monotonic <= latest
            self.callers.append((signin, deadline))

    def flying(self) -> list[SignIn]:
        return [one for one in self.signins if one.number >= self.cache.valid_from and not self.given_up(one)]

    def start(self, now: Moment) -> None:
        assert not self.flying(), "two sign-ins at once"
        if now.monotonic < self.limit:
            assert self.cache.rereads and now.monotonic >= self.reread_at + 5, "a limit was not kept"
        self.cache = self.cache.started(now)
        pending = self.cache.pending
        if self.cache.suspect:
            self.reread_at = now.monotonic
            self.reread(pending.number)
        record = self.cache.record
        due = now.monotonic + (record.seconds_until_request(now, self.cache.timeout) if record else 0.0)
        self.signins.append(SignIn(pending.number, self.login, record, pending.end, due))

    def reread(self, number: int) -> None:
        if self.world.offered != self.login:
            self.login = self.world.offered
            self.cache = self.cache.moved(self.identity(self.login), number)
            self.forget()

    def finish(self, signin: SignIn, outcome: TokenRecord | Failure) -> None:
        self.signins.remove(signin)
        signin.outcome, before, now = outcome, self.cache, self.now
        self.cache = before.finished(signin.number, Result(signin.fingerprint, outcome, signin.requests), now, 0.5)
        if isinstance(outcome, TokenRecord) and self.cache is not before:
            self.forget()
        elif self.cache.backoff is before.backoff:  # one that came too late, or had no time left
            return
        elif outcome.limit and signin.fingerprint == self.cache.identity.fingerprint:
            seconds = outcome.limit.seconds
            self.limit = inf if seconds is None else now.monotonic + seconds
        else:
            self.limit, self.failed_at = -inf, now.monotonic


TestCaches = Caches.TestCase
TestCaches.settings = SETTINGS
