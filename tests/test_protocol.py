"""The shared sign-in's commands, carried out on a store in memory: who sends, who waits, and what is saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from conftest import Clock, credentials
from enkash_auth._fleet.commands import Delete, Ended, Lease, Pause, Read, Release, Save, Send, Source, Steps
from enkash_auth._fleet.member import Member
from enkash_auth._fleet.protocol import sign_in
from enkash_auth._fleet.sealed import Sealed
from enkash_auth._policy.attempts import Ledger
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Issued, Refused, Unavailable
from enkash_auth.stores import MemoryStore, StoreError
from world import TOKEN, outcome_of

WRONG = Answer(400, "invalid_grant", json=True)
STRANGE = Answer(422, json=True)
SILENT = Answer()
BUSY = Answer(503)
SIBLING = Unavailable("another process is signing in", "h", late=True)


class Forgetful(MemoryStore):
    """Forgets, when the test says so."""

    def forget(self) -> None:
        self._entries.clear()

    def forget_leases(self) -> None:
        self._leases.clear()


class Process:
    """A process of the fleet: carries out its commands, until `before` says otherwise."""

    def __init__(self, fleet: Fleet, strict: bool = False, timeout: float = 10.0) -> None:
        self.fleet, self.timeout = fleet, timeout
        self.member = Member("h", timeout, strict, fleet.new_id, lambda: 0.0)
        self.sealed = fleet.sealed()
        self.before: Callable[[Any], object] = well
        self.instead: Any = None  # what the source says but these credentials
        self.commands: list[Any] = []

    def sign_in(self, record: TokenRecord | None = None, reachable: bool = True) -> Ended:
        now = self.fleet.now
        return self.carry_out(sign_in(self.member, record, now, now.after(self.timeout), reachable=reachable))

    def fails(self) -> Unavailable:
        outcome = self.sign_in().outcome
        assert isinstance(outcome, Unavailable)
        return outcome

    def record(self, before: TokenRecord | None = None) -> TokenRecord:
        outcome = self.sign_in(before).outcome
        assert isinstance(outcome, TokenRecord), outcome
        return outcome

    def token(self, before: TokenRecord | None = None) -> str:
        return self.record(before).token.access_token

    def reset(self) -> None:
        self.carry_out(self.member.reset(self.fleet.new_id(), self.fleet.now))

    def has_done(self, kind: type) -> bool:
        return any(isinstance(command, kind) for command in self.commands)

    def carry_out(self, steps: Steps) -> Any:
        try:
            command = next(steps)
            while True:
                self.commands.append(command)
                self.sealed.renew_patience()
                try:
                    self.before(command)
                    value = self.do(command)
                except StoreError as error:
                    command = steps.throw(error)
                else:
                    command = steps.send((self.fleet.now, value))
        except StopIteration as end:
            return end.value

    def do(self, command: Any) -> object:
        match command:
            case Read(kind):
                return self.sealed.load(kind)
            case Save(kind, entry, seconds, written):
                return self.sealed.save(kind, entry, seconds, written)
            case Delete(kind):
                return self.sealed.delete(kind)
            case Lease(seconds):
                return self.sealed.lease(seconds)
            case Release():
                return self.sealed.release()
            case Pause(seconds):
                return self.fleet.passes(seconds)
            case Source():
                return self.instead
            case Send(record, deadline):
                return self.fleet.send(record, deadline)
        raise AssertionError(command)


class Fleet:
    """Processes, their store and their server; `passwords` says when each password left."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.store = clock, Forgetful(clock=lambda: clock.monotonic)
        self.passwords: list[float] = []
        self.answers: list[Answer] = []
        self.answer, self.life, self.ids = TOKEN, 300.0, 0
        self.on_send: Callable[[], object] = lambda: None
        self.passes = clock.passes

    @property
    def now(self) -> Moment:
        return self.clock.runtime.now()

    def new_id(self) -> str:
        self.ids += 1
        return f"id{self.ids}"

    def process(self, **options: Any) -> Process:
        return Process(self, **options)

    def sealed(self) -> Sealed:
        return Sealed(self.store, credentials(), self.clock.runtime)

    def send(self, record: TokenRecord | None, deadline: Any) -> tuple[Any, Answer]:
        started = self.now
        if started.until(deadline) <= 0:  # as the gateway does
            return Unavailable("no time was left", "h", late=True), Answer(departed=False)
        self.passwords.append(started.monotonic)
        answer, name = self.answers.pop(0) if self.answers else self.answer, f"t{len(self.passwords)}"
        self.on_send()
        outcome: Any = outcome_of(answer, name, self.life)
        if isinstance(outcome, Issued):
            outcome = TokenRecord.from_answer(outcome, started, self.now, before=record, draw=0.5)
        return outcome, answer

    def ledger(self) -> Ledger:
        found = self.sealed().load("ledger")
        return Ledger.from_entry(found[0], self.now.after(-found[1])) if found else Ledger()

    @property
    def kinds(self) -> list[Kind]:
        return [one.kind for one in self.ledger().attempts]


Kinds = tuple[type, ...]
Two = tuple[Process, Process]


class Killed(BaseException):
    """Ends a process."""


def well(command: Any) -> None:
    """Let a process do all that it wants."""


def away(*kinds: type) -> Callable[[Any], None]:
    """Let the store fail at commands of these kinds, or at each."""

    def fail(command: Any) -> None:
        if isinstance(command, kinds or (Read, Save, Delete, Lease)):
            raise StoreError("the token store is down")

    return fail


def kill(process: Process, at: type) -> None:
    """Let a process end before it carries out a command."""

    def before(command: Any) -> None:
        if isinstance(command, at):
            raise Killed

    process.before = before
    with pytest.raises(Killed):
        process.sign_in()


def refused(*processes: Process) -> bool:
    return all(isinstance(process.sign_in().outcome, Refused) for process in processes)


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    return Fleet(clock)


def test_a_siblings_token_is_adopted_without_the_lease(fleet: Fleet) -> None:
    first, second = fleet.process(), fleet.process()
    assert first.token() == second.token() == "t1"
    assert not second.has_done(Lease)
    assert fleet.ledger() == Ledger((), True, "", 1, fleet.now)


def test_a_siblings_token_that_has_expired_is_not_adopted(fleet: Fleet) -> None:
    assert fleet.process().token() == "t1"
    fleet.passes(fleet.life + 0.5)  # the store still holds it: until the upper bound of its expiry
    assert fleet.process().token() == "t2"


def test_a_token_from_before_a_rejection_is_not_adopted_again(fleet: Fleet) -> None:
    one = fleet.process()
    rejected = evolve(one.record(), rejected=True)
    fleet.passes(1)
    fleet.answer = WRONG
    for _ in range(2):
        assert isinstance(one.sign_in(rejected).outcome, Refused)
        assert fleet.process().token() == "t1"
    assert len(fleet.passwords) == 2


def test_a_password_is_written_before_it_leaves_and_its_answer_after(fleet: Fleet) -> None:
    fleet.answer, seen = STRANGE, []
    fleet.on_send = lambda: seen.extend(fleet.kinds)
    decision = fleet.process().sign_in().decision
    assert (seen, fleet.kinds) == ([Kind.OPEN], [Kind.MAYBE])
    assert decision and (decision.row, decision.passwords) == (Kind.MAYBE, 1)


@pytest.mark.parametrize("answer", [WRONG, Answer(401, basic=True)])
def test_a_clear_refusal_is_final_for_the_fleet(fleet: Fleet, answer: Answer) -> None:
    fleet.answer = answer
    for process in (fleet.process(strict=number % 2 == 1) for number in range(8)):
        outcome = process.sign_in().outcome
        assert isinstance(outcome, Refused)
        assert (outcome.status, outcome.error, outcome.final) == (answer.status, answer.error, True)
        fleet.passes(2000)
    assert len(fleet.passwords) == 1


def test_trouble_is_tried_a_second_time_at_once_and_then_paused_for_the_fleet(fleet: Fleet) -> None:
    fleet.answer = BUSY

    def wait() -> float:
        fleet.process().sign_in()
        seconds = fleet.process().fails().retry_after or 0.0
        fleet.passes(seconds)
        return seconds

    assert [wait() for _ in range(4)] == pytest.approx([0.5, 1, 2, 4])
    assert (len(fleet.passwords), fleet.kinds) == (8, [])
    fleet.passes(400)  # failures in a row are forgotten
    assert wait() == pytest.approx(0.5)


class TestResets:
    """A person lets one more password through, whatever was under way."""

    @pytest.fixture
    def processes(self, fleet: Fleet) -> Two:
        """Two that were refused, before the second reset."""
        fleet.answer = WRONG
        one, other = fleet.process(), fleet.process()
        assert refused(one, other)
        other.reset()
        return one, other

    def test_who_sees_a_reset_reads_the_source_before_it_sends(self, fleet: Fleet, processes: Two) -> None:
        one, other = processes
        one.instead = "others"
        assert one.sign_in() == Ended("others")
        assert len(fleet.passwords) == 1
        fleet.answer = TOKEN
        assert other.token() == "t2"
        assert not other.has_done(Source)

    @pytest.mark.parametrize("answers", [[], [BUSY] * 2], ids=["success", "trouble"])
    def test_a_process_that_was_refused_before_it_does_not_undo_it(
        self, fleet: Fleet, processes: Two, answers: list[Answer]
    ) -> None:
        idle, other = processes
        fleet.answer, fleet.answers = TOKEN, answers
        other.sign_in()
        fleet.passes(1000)  # what stood in the way is forgotten, and the token has expired
        idle.sign_in()
        assert other.token() == fleet.process().token()

    def test_a_living_token_says_as_much_as_one_that_the_store_has_lost(self, fleet: Fleet, processes: Two) -> None:
        idle, other = processes
        fleet.store.forget()
        fleet.answer = TOKEN
        assert other.token() == idle.token() == "t2"
        fleet.passes(300)
        assert other.token() == "t3"

    @pytest.mark.parametrize("who", [0, 1])
    @pytest.mark.parametrize("answer", [WRONG, BUSY])
    def test_an_answer_from_before_a_reset_does_not_undo_it(self, fleet: Fleet, answer: Answer, who: int) -> None:
        one, other = processes = fleet.process(), fleet.process()
        fleet.answers = [answer] * 2
        fleet.on_send = lambda: processes[who].reset() if fleet.answers else None
        assert not isinstance(one.sign_in().outcome, TokenRecord)
        fleet.answers.clear()
        assert other.token() == one.token() == fleet.process().token()

    @pytest.mark.parametrize("reset_first", [True, False])
    def test_a_refusal_without_the_store_costs_it_one_more_password(self, fleet: Fleet, reset_first: bool) -> None:
        """A process that had not looked before its refusal cannot know whether the reset came before it."""
        fleet.answer = WRONG
        one, other = fleet.process(), fleet.process()
        if reset_first:
            other.reset()
        assert isinstance(one.sign_in(reachable=False).outcome, Refused)
        if not reset_first:
            other.reset()
        assert refused(one, other, one, other)
        assert len(fleet.passwords) == 2


class TestHolders:
    """The lease ends by itself, and each step is fenced by it."""

    @pytest.mark.parametrize(("timeout", "seconds"), [(60.0, 6.0), (10.0, 6.0), (5.0, 3.0)])
    def test_a_lease_lasts_six_seconds_at_most(self, fleet: Fleet, timeout: float, seconds: float) -> None:
        process = fleet.process(timeout=timeout)
        process.sign_in()
        assert Lease(seconds) in process.commands

    def test_a_killed_holder_is_waited_for_within_ones_own_time_and_for_its_lease(self, fleet: Fleet) -> None:
        kill(fleet.process(), Send)
        killed, short, long = fleet.now.monotonic, fleet.process(timeout=2.0), fleet.process()
        assert short.sign_in() == Ended(SIBLING)
        assert fleet.now.monotonic - killed <= 2
        assert long.token() == "t1"
        assert 6 <= fleet.now.monotonic - killed < 7
        assert max(len(short.commands), len(long.commands)) < 100  # no busy loop

    @pytest.mark.parametrize("runs", ["monotonic", "wall"])
    @pytest.mark.parametrize("before", [Read, Save, Send])
    def test_a_suspended_holder_sends_nothing_and_leaves_no_attempt(
        self, fleet: Fleet, runs: str, before: type
    ) -> None:
        process = fleet.process()

        def suspend(command: Any) -> None:
            if isinstance(command, before) and Lease(6.0) in process.commands:
                process.before = well
                setattr(fleet.clock, runs, getattr(fleet.clock, runs) + 5.5)

        process.before = suspend
        assert process.fails().late
        assert (fleet.passwords, fleet.kinds, process.has_done(Send)) == ([], [], before is Send)

    def test_a_late_holders_answer_is_saved_under_a_lease_taken_again(self, fleet: Fleet) -> None:
        fleet.answer, fleet.on_send = WRONG, lambda: fleet.passes(7)
        assert refused(fleet.process())
        assert fleet.kinds == [Kind.CLEAR]

    def test_a_late_holders_token_is_its_own(self, fleet: Fleet) -> None:
        def late() -> None:
            if len(fleet.passwords) == 1:
                fleet.passes(7)
                assert fleet.process().token() == "t2"

        fleet.on_send = late
        assert [fleet.process().token() for _ in range(2)] == ["t1", "t2"]
        assert fleet.ledger().cleared == 2

    def test_an_answer_that_finds_no_lease_is_saved_before_the_next_password(self, fleet: Fleet) -> None:
        def late() -> None:
            if len(fleet.passwords) == 1:
                fleet.passes(7)
                kill(fleet.process(), Send)  # and holds the lease now

        process = fleet.process()
        fleet.on_send, fleet.answer = late, WRONG
        process.sign_in()
        assert fleet.kinds == [Kind.OPEN, Kind.OPEN]
        fleet.passes(7)
        assert refused(process)
        assert fleet.kinds == [Kind.CLEAR, Kind.OPEN]

    def test_a_lost_lease_sends_nothing(self, fleet: Fleet) -> None:
        process = fleet.process()
        process.before = lambda command: fleet.store.forget_leases() if isinstance(command, Save) else None
        assert process.sign_in().outcome == SIBLING
        assert fleet.passwords == []

    @pytest.mark.parametrize("answer", [TOKEN, WRONG])
    def test_a_sibling_may_save_between_the_first_look_and_the_lease(self, fleet: Fleet, answer: Answer) -> None:
        fleet.answer, process, others = answer, fleet.process(), [fleet.process()]
        process.before = lambda command: others and isinstance(command, Lease) and others.pop().sign_in()
        process.sign_in()
        assert len(fleet.passwords) == 1


class TestLostWrites:
    """A store may forget what it said it has kept, and was perhaps away."""

    @pytest.mark.parametrize("before", [well, away()], ids=["emptied", "away"])
    def test_a_store_gets_back_what_a_process_knows(self, fleet: Fleet, before: Callable[[Any], None]) -> None:
        fleet.answer, process = WRONG, fleet.process()
        process.before = before
        process.sign_in()
        process.before = well
        fleet.store.forget()
        assert refused(process, fleet.process())
        assert len(fleet.passwords) == 1

    @pytest.mark.parametrize(
        "entry",
        [
            {},
            {"attempts": 1},
            {"attempts": [7]},
            {"attempts": [{"id": 1}]},
            {"attempts": [], "proven": 1, "reset": "", "cleared": 0},
            {"access_token": "canary"},
            {"access_token": "t", "answered": "x", "lower": 9, "upper": 9, "sticky": 0},
        ],
    )
    def test_an_entry_of_another_version_counts_as_missing(self, fleet: Fleet, entry: dict[str, Any]) -> None:
        for kind in ("ledger", "reset", "token"):
            fleet.sealed().save(kind, entry, 600.0)
        assert fleet.process().token() == fleet.process().token() == "t1"

    def test_a_reset_of_another_version_undoes_no_refusal(self, fleet: Fleet) -> None:
        fleet.answer = WRONG
        for _ in range(2):
            assert refused(fleet.process())
            fleet.sealed().save("reset", {}, 600.0)
        assert len(fleet.passwords) == 1


class TestWithoutTheStore:
    """The store may be away, or full."""

    @pytest.mark.parametrize("answer", [WRONG, STRANGE, SILENT])
    @pytest.mark.parametrize("at", [(), (Save,), (Lease,)])
    def test_one_unproven_password_leaves_at_most_and_none_if_the_store_can_be_read(
        self, fleet: Fleet, answer: Answer, at: Kinds
    ) -> None:
        fleet.answer, process = answer, fleet.process()
        process.before = away(*at)
        for reachable in (True, False) * 20:
            assert process.sign_in(reachable=reachable).outcome
            fleet.passes(200)
        assert len(fleet.passwords) == (0 if at else 1)

    @pytest.mark.parametrize("at", [(), (Save,), (Lease,)])
    def test_proven_credentials_go_on(self, fleet: Fleet, at: Kinds) -> None:
        process = fleet.process()
        process.sign_in()
        process.before = away(*at)
        for _ in range(3):
            fleet.passes(301)
            fleet.answers = [] if at else [SILENT]
            assert process.token()

    @pytest.mark.parametrize("at", [Read, Save])
    def test_the_lease_is_given_back_before_the_store_is_done_without(self, fleet: Fleet, at: type) -> None:
        process = fleet.process()
        process.sign_in()
        fleet.passes(301)
        process.commands.clear()
        process.before = lambda command: process.has_done(Lease) and away(at)(command)
        assert process.token() == "t2"
        order = [type(command) for command in process.commands]
        assert order.index(Lease) < order.index(Release)
        assert at is Save or order.index(Release) < order.index(Send)

    @pytest.mark.parametrize("at", [(), (Save,)])
    @pytest.mark.parametrize("proven", [False, True])
    def test_where_it_is_needed_nothing_is_sent(self, fleet: Fleet, at: Kinds, proven: bool) -> None:
        process = fleet.process(strict=True)
        if proven:
            process.sign_in()
            fleet.passes(301)
        process.before = away(*at)
        assert "token store" in process.fails().reason
        assert len(fleet.passwords) == proven

    def test_a_reset_lets_one_more_through(self, fleet: Fleet) -> None:
        fleet.answer, process = WRONG, fleet.process()
        process.before = away()
        process.sign_in()
        with pytest.raises(StoreError):
            process.reset()
        assert refused(process, process, process)
        assert len(fleet.passwords) == 2

    @pytest.mark.parametrize("answer", [TOKEN, WRONG])
    def test_a_store_that_fails_after_the_request_changes_no_outcome(self, fleet: Fleet, answer: Answer) -> None:
        fleet.answer, process = answer, fleet.process()
        fleet.on_send = lambda: setattr(process, "before", away())
        assert isinstance(process.sign_in().outcome, TokenRecord if answer is TOKEN else Refused)
        assert len(fleet.passwords) == 1

    def test_a_refusal_counts_beside_a_siblings_success_of_the_same_moment(self, fleet: Fleet) -> None:
        fleet.life = 5.0
        fleet.process().sign_in()
        one, fleet.on_send = fleet.process(), lambda: fleet.passes(0.1)
        fleet.answer = STRANGE
        one.sign_in(reachable=False)
        fleet.passes(21)
        assert refused(one)
        assert len(fleet.passwords) == 2

    @pytest.mark.parametrize(("answer", "seconds"), [(TOKEN, 0.0), (STRANGE, 0.1)], ids=["a success", "a refusal"])
    def test_a_success_counts_from_its_start_and_a_refusal_from_its_answer(
        self, fleet: Fleet, answer: Answer, seconds: float
    ) -> None:
        """So a success clears no refusal that came after it, and no success before it clears a refusal."""
        began, one = fleet.now.monotonic, fleet.process()
        fleet.answer, fleet.on_send = answer, lambda: fleet.passes(0.1)
        one.sign_in(reachable=False)
        assert one.member.memory.own[-1].start.monotonic == began + seconds


class TestSticky:
    """A server that re-issues its current token until that expires."""

    def test_its_next_token_is_waited_for_by_the_holder(self, fleet: Fleet) -> None:
        first = fleet.process().record()
        fleet.passes(300.1)
        record, process = evolve(first, sticky_until=fleet.now.monotonic + 9), fleet.process()
        waits = record.seconds_until_request(fleet.now, 5.0)
        assert waits > 0
        assert process.token(record) == "t2"
        assert [command for command in process.commands if isinstance(command, Pause)] == [Pause(waits)]

    def test_its_next_token_is_not_waited_for_past_the_lease(self, fleet: Fleet) -> None:
        first = fleet.process().record()
        fleet.passes(300.1)
        fleet.store.forget()
        now = fleet.now
        life = evolve(first.life, lower=now, upper=now.after(8))
        outcome = fleet.process().sign_in(evolve(first, life=life, sticky_until=now.monotonic + 900)).outcome
        assert isinstance(outcome, Unavailable) and outcome.retry_after == pytest.approx(8)
        assert len(fleet.passwords) == 1

    def test_that_it_is_one_is_saved_and_taken_back(self, fleet: Fleet) -> None:
        process = fleet.process()
        first = process.record()
        fleet.passwords.clear()  # so that the server gives the same token again
        fleet.passes(290)
        assert process.record(first).sticky(fleet.now)
        assert fleet.sealed().load("sticky")
        fleet.sealed().delete("token")
        fresh = fleet.process().record()
        assert fresh.sticky(fleet.now) and fleet.sealed().load("sticky")
        assert fleet.process().token(evolve(fresh, rejected=True)) == "t3"
        assert not fleet.sealed().load("sticky")


def test_a_token_for_one_use_is_not_saved_for_siblings(fleet: Fleet) -> None:
    fleet.life = 0.0
    one, other = fleet.process(), fleet.process()
    assert (one.token(), other.token()) == ("t1", "t2")
    assert not other.has_done(Pause)


def test_a_look_changes_nothing(fleet: Fleet) -> None:
    fleet.process().sign_in()
    looks = fleet.process()
    record, ledger, backoff = looks.carry_out(looks.member.look())
    assert record and ledger.proven and not backoff.failures
    assert {type(command) for command in looks.commands} == {Read}
