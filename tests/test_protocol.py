"""The shared sign-in's commands, carried out on a store in memory: who sends, who waits, and what is saved."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from attrs import evolve

from conftest import Clock, credentials
from enkash_auth._fleet.commands import Delete, Ended, Lease, Pause, Read, Release, Save, Send, Source
from enkash_auth._fleet.member import Member
from enkash_auth._fleet.protocol import sign_in
from enkash_auth._fleet.sealed import Sealed
from enkash_auth._policy.attempts import Ledger
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import TokenRecord
from enkash_auth._policy.outcome import Issued, Refused, Unavailable
from enkash_auth.stores import MemoryStore, StoreError
from world import TOKEN, outcome_of

WRONG = Answer(400, "invalid_grant", json=True)
STRANGE = Answer(422, json=True)
SILENT = Answer()
BUSY = Answer(503)
Steps = Generator[Any, Any, Any]


class Forgetful(MemoryStore):
    """Forgets, when the test says so."""

    def forget(self) -> None:
        self._entries.clear()

    def forget_leases(self) -> None:
        self._leases.clear()

    def entries(self) -> dict[str, tuple[bytes, float]]:
        return dict(self._entries)


class Process:
    """A process of the fleet: carries out its commands, until `before` says otherwise."""

    def __init__(self, fleet: Fleet, strict: bool = False, timeout: float = 10.0) -> None:
        self.fleet, self.clock, self.timeout = fleet, fleet.clock, timeout
        self.member = Member("h", timeout, strict, fleet.new_id, lambda: 0.0)
        self.sealed = Sealed(fleet.store, credentials(), fleet.clock.runtime)
        self.before: Callable[[Any], object] = lambda command: None
        self.instead: Any = None  # what the source says but these credentials
        self.commands: list[Any] = []

    def sign_in(self, record: TokenRecord | None = None, reachable: bool = True) -> Ended:
        now = self.clock.runtime.now()
        return self.carry_out(sign_in(self.member, record, now, now.after(self.timeout), reachable=reachable))

    def reset(self) -> None:
        self.carry_out(self.member.reset(self.fleet.new_id(), self.clock.runtime.now()))

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
                    command = steps.send((self.clock.runtime.now(), value))
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
                return self.clock.passes(seconds)
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

    def new_id(self) -> str:
        self.ids += 1
        return f"id{self.ids}"

    def process(self, **options: Any) -> Process:
        return Process(self, **options)

    def send(self, record: TokenRecord | None, deadline: Any) -> tuple[Any, Answer]:
        started = self.clock.runtime.now()
        assert started.until(deadline) > 0
        self.passwords.append(started.monotonic)
        answer, name = self.answers.pop(0) if self.answers else self.answer, f"t{len(self.passwords)}"
        self.on_send()
        outcome: Any = outcome_of(answer, name, self.life)
        if isinstance(outcome, Issued):
            outcome = TokenRecord.from_answer(outcome, started, self.clock.runtime.now(), before=record, draw=0.5)
        return outcome, answer

    def ledger(self) -> Ledger:
        found = Sealed(self.store, credentials(), self.clock.runtime).load("ledger")
        assert found
        return Ledger.from_entry(found[0], self.clock.runtime.now().after(-found[1]))

    @property
    def kinds(self) -> list[Kind]:
        return [one.kind for one in self.ledger().attempts]


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    return Fleet(clock)


def record_of(ended: Ended) -> TokenRecord:
    assert isinstance(ended.outcome, TokenRecord), ended
    return ended.outcome


def token(ended: Ended) -> str:
    return record_of(ended).token.access_token


def refused(*processes: Process) -> bool:
    return all(isinstance(process.sign_in().outcome, Refused) for process in processes)


def test_a_siblings_token_is_adopted_without_the_lease(fleet: Fleet) -> None:
    first, second = fleet.process(), fleet.process()
    assert token(first.sign_in()) == token(second.sign_in()) == "t1"
    assert not any(isinstance(command, Lease) for command in second.commands)
    assert fleet.ledger() == Ledger((), True, "", 1, fleet.clock.runtime.now())


def test_a_token_from_before_a_rejection_is_not_adopted_again(fleet: Fleet, clock: Clock) -> None:
    one = fleet.process()
    rejected = evolve(record_of(one.sign_in()), rejected=True)
    clock.passes(1)
    fleet.answer = WRONG
    for _ in range(2):
        assert isinstance(one.sign_in(rejected).outcome, Refused)
        assert token(fleet.process().sign_in()) == "t1"
    assert len(fleet.passwords) == 2


def test_a_password_is_written_before_it_leaves_and_its_answer_after(fleet: Fleet) -> None:
    fleet.answer, seen = STRANGE, []
    fleet.on_send = lambda: seen.extend(fleet.kinds)
    ended = fleet.process().sign_in()
    assert (seen, fleet.kinds) == ([Kind.OPEN], [Kind.MAYBE])
    assert ended.decision and (ended.decision.row, ended.decision.passwords) == (Kind.MAYBE, 1)


@pytest.mark.parametrize("answer", [WRONG, Answer(401, basic=True)])
def test_a_clear_refusal_is_final_for_the_fleet(fleet: Fleet, clock: Clock, answer: Answer) -> None:
    fleet.answer = answer
    for _ in range(4):
        for process in (fleet.process(), fleet.process(strict=True)):
            outcome = process.sign_in().outcome
            assert isinstance(outcome, Refused)
            assert (outcome.status, outcome.error, outcome.final) == (answer.status, answer.error, True)
        clock.passes(4000)
    assert len(fleet.passwords) == 1


@pytest.mark.parametrize("status", [200, 422])
def test_what_may_be_a_refusal_is_tried_once_more_after_a_minute(fleet: Fleet, clock: Clock, status: int) -> None:
    fleet.answer = Answer(status, json=True)
    process = fleet.process()
    for _ in range(100):
        process.sign_in()
        clock.passes(5)
        fleet.process().sign_in()
        clock.passes(5)
    assert len(fleet.passwords) == 2
    assert fleet.passwords[1] - fleet.passwords[0] >= 60
    ended = process.sign_in()
    assert ended.decision and ended.decision.final and isinstance(ended.outcome, Refused)


def test_trouble_is_tried_a_second_time_at_once_and_then_paused_for_the_fleet(fleet: Fleet, clock: Clock) -> None:
    fleet.answer = BUSY
    waits = []
    for _ in range(4):
        fleet.process().sign_in()
        failure = fleet.process().sign_in().outcome
        assert isinstance(failure, Unavailable) and failure.retry_after
        waits.append(failure.retry_after)
        clock.passes(failure.retry_after)
    assert len(fleet.passwords) == 8
    assert waits == pytest.approx([0.5, 1, 2, 4])
    assert fleet.kinds == []
    clock.passes(400)  # failures in a row are forgotten
    fleet.process().sign_in()
    failure = fleet.process().sign_in().outcome
    assert isinstance(failure, Unavailable) and failure.retry_after == pytest.approx(0.5)


@pytest.mark.parametrize("answer", [WRONG, STRANGE, SILENT])
def test_one_reset_lets_one_password_through(fleet: Fleet, clock: Clock, answer: Answer) -> None:
    fleet.answer = answer
    members = [fleet.process(), fleet.process(), fleet.process()]
    for one in members:
        one.sign_in()
    clock.passes(60)
    members[0].sign_in()
    members[1].reset()
    clock.passes(61)
    before = len(fleet.passwords)
    for _ in range(3):
        for one in members:
            one.sign_in()
        clock.passes(61)
    assert len(fleet.passwords) == before + 1
    assert fleet.kinds[0] is Kind.RESET


def test_who_sees_a_reset_reads_the_source_before_it_sends(fleet: Fleet) -> None:
    fleet.answer = WRONG
    one, other = fleet.process(), fleet.process()
    one.sign_in()
    other.sign_in()
    other.reset()
    one.instead = "others"
    assert one.sign_in() == Ended("others")
    assert len(fleet.passwords) == 1
    assert Source() not in other.commands
    fleet.answer = TOKEN
    assert token(other.sign_in()) == "t2"
    assert Source() not in other.commands


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("answer", [WRONG, BUSY])
def test_an_answer_from_before_a_reset_does_not_undo_it(fleet: Fleet, answer: Answer, who: int) -> None:
    one, other = processes = fleet.process(), fleet.process()
    fleet.answers = [answer] * 2
    fleet.on_send = lambda: processes[who].reset() if fleet.answers else None
    assert not isinstance(one.sign_in().outcome, TokenRecord)
    fleet.answers.clear()
    assert token(other.sign_in()) == token(one.sign_in()) == token(fleet.process().sign_in())


@pytest.mark.parametrize("answers", [[], [BUSY] * 2], ids=["success", "trouble"])
def test_a_process_that_was_refused_before_a_reset_does_not_undo_it(
    fleet: Fleet, clock: Clock, answers: list[Answer]
) -> None:
    fleet.answer = WRONG
    idle, other = fleet.process(), fleet.process()
    assert refused(idle, other)
    other.reset()
    fleet.answer, fleet.answers = TOKEN, answers
    other.sign_in()
    clock.passes(1000)  # what stood in the way is forgotten, and the token has expired
    idle.sign_in()
    assert token(other.sign_in()) == token(fleet.process().sign_in())


def test_a_living_token_says_as_much_as_a_reset_that_the_store_has_lost(fleet: Fleet, clock: Clock) -> None:
    fleet.answer = WRONG
    idle, other = fleet.process(), fleet.process()
    assert refused(idle, other)
    other.reset()
    fleet.store.forget()
    fleet.answer = TOKEN
    assert token(other.sign_in()) == token(idle.sign_in()) == "t2"
    clock.passes(300)
    assert token(other.sign_in()) == "t3"


def test_a_refusal_without_the_store_counts_beside_a_siblings_success_of_the_same_moment(
    fleet: Fleet, clock: Clock
) -> None:
    fleet.life = 5.0
    fleet.process().sign_in()
    one, fleet.on_send = fleet.process(), lambda: clock.passes(0.1)
    fleet.answer = STRANGE
    one.sign_in(reachable=False)
    clock.passes(21)
    assert refused(one)
    assert len(fleet.passwords) == 2


@pytest.mark.parametrize(("answer", "seconds"), [(TOKEN, 0.0), (STRANGE, 0.1)], ids=["a success", "a refusal"])
def test_without_the_store_a_success_counts_from_its_start_and_a_refusal_from_its_answer(
    fleet: Fleet, clock: Clock, answer: Answer, seconds: float
) -> None:
    """So a success clears no refusal that came after it, and no success before it clears a refusal."""
    began, one = clock.monotonic, fleet.process()
    fleet.answer, fleet.on_send = answer, lambda: clock.passes(0.1)
    one.sign_in(reachable=False)
    assert one.member.memory.own[-1].start.monotonic == began + seconds


@pytest.mark.parametrize("reset_first", [True, False])
def test_a_refusal_from_a_time_without_the_store_costs_one_more_password_for_a_reset(
    fleet: Fleet, reset_first: bool
) -> None:
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

    def killed(self, process: Process, at: type) -> None:
        """Let a process end before it carries out a command."""

        class Killed(BaseException):
            pass

        def kill(command: Any) -> None:
            if isinstance(command, at):
                raise Killed

        process.before = kill
        with pytest.raises(Killed):
            process.sign_in()

    @pytest.mark.parametrize(("timeout", "seconds"), [(60.0, 6.0), (10.0, 6.0), (5.0, 3.0)])
    def test_a_lease_lasts_six_seconds_at_most(self, fleet: Fleet, timeout: float, seconds: float) -> None:
        process = fleet.process(timeout=timeout)
        process.sign_in()
        assert Lease(seconds) in process.commands

    def test_waiting_ends_with_ones_own_time_and_is_no_failure(self, fleet: Fleet, clock: Clock) -> None:
        self.killed(fleet.process(), Send)
        process, asked = fleet.process(timeout=2.0), clock.monotonic
        ended = process.sign_in()
        assert ended == Ended(Unavailable("another process is signing in", "h", late=True))
        assert clock.monotonic - asked <= 2
        assert len(process.commands) < 40

    @pytest.mark.parametrize("clock_that_runs", ["monotonic", "wall"])
    @pytest.mark.parametrize("before", [Read, Save, Send])
    def test_a_holder_that_was_suspended_sends_nothing(
        self, fleet: Fleet, clock: Clock, clock_that_runs: str, before: type
    ) -> None:
        process = fleet.process()

        def suspend(command: Any) -> None:
            if isinstance(command, before) and Lease(6.0) in process.commands:
                process.before = lambda command: None
                setattr(clock, clock_that_runs, getattr(clock, clock_that_runs) + 5.5)

        process.before = suspend
        if before is Send:  # the gateway looks at the deadline itself
            with pytest.raises(AssertionError):
                process.sign_in()
        else:
            outcome = process.sign_in().outcome
            assert isinstance(outcome, Unavailable) and outcome.late
        assert fleet.passwords == []

    def test_an_attempt_that_came_too_late_to_be_sent_leaves_the_ledger(self, fleet: Fleet, clock: Clock) -> None:
        process = fleet.process()
        late = iter([5.5])
        process.before = lambda command: isinstance(command, Save) and clock.passes(next(late, 0.0))
        process.sign_in()
        assert fleet.kinds == []

    def test_a_late_holders_answer_is_saved_under_a_lease_taken_again(self, fleet: Fleet, clock: Clock) -> None:
        fleet.answer, fleet.on_send = WRONG, lambda: clock.passes(7)
        assert refused(fleet.process())
        assert fleet.kinds == [Kind.CLEAR]

    def test_a_late_holders_token_is_its_own(self, fleet: Fleet, clock: Clock) -> None:
        def late() -> None:
            if len(fleet.passwords) == 1:
                clock.passes(7)
                assert token(fleet.process().sign_in()) == "t2"

        fleet.on_send = late
        assert token(fleet.process().sign_in()) == "t1"
        assert token(fleet.process().sign_in()) == "t2"
        assert fleet.ledger().cleared == 2

    def test_an_answer_that_finds_no_lease_is_saved_before_the_next_password(self, fleet: Fleet, clock: Clock) -> None:
        process, other = fleet.process(), fleet.process()

        def late() -> None:
            if len(fleet.passwords) == 1:
                clock.passes(7)
                self.killed(other, Send)  # and holds the lease now

        fleet.on_send, fleet.answer = late, WRONG
        process.sign_in()
        assert fleet.kinds == [Kind.OPEN, Kind.OPEN]
        clock.passes(7)
        assert refused(process)
        assert fleet.kinds == [Kind.CLEAR, Kind.OPEN]

    def test_a_lost_lease_sends_nothing(self, fleet: Fleet) -> None:
        process = fleet.process()
        process.before = lambda command: fleet.store.forget_leases() if isinstance(command, Save) else None
        assert process.sign_in().outcome == Unavailable("another process is signing in", "h", late=True)
        assert fleet.passwords == []

    @pytest.mark.parametrize("answer", [TOKEN, WRONG])
    def test_a_sibling_may_save_between_the_first_look_and_the_lease(self, fleet: Fleet, answer: Answer) -> None:
        fleet.answer, process = answer, fleet.process()
        others = [fleet.process()]
        process.before = lambda command: others and isinstance(command, Lease) and others.pop().sign_in()
        process.sign_in()
        assert len(fleet.passwords) == 1


class TestLostWrites:
    """A store may forget what it said it has kept."""

    def test_an_emptied_store_gets_back_what_a_process_knows(self, fleet: Fleet) -> None:
        fleet.answer, process = WRONG, fleet.process()
        process.sign_in()
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
            fleet.process().sealed.save(kind, entry, 600.0)
        assert token(fleet.process().sign_in()) == token(fleet.process().sign_in()) == "t1"

    def test_a_reset_of_another_version_undoes_no_refusal(self, fleet: Fleet) -> None:
        fleet.answer, process = WRONG, fleet.process()
        for _ in range(2):
            assert refused(fleet.process())
            process.sealed.save("reset", {}, 600.0)
        assert len(fleet.passwords) == 1


class TestWithoutTheStore:
    """The store may be away, or full."""

    def away(self, *kinds: type) -> Callable[[Any], None]:
        def fail(command: Any) -> None:
            if isinstance(command, kinds or (Read, Save, Delete, Lease)):
                raise StoreError("the token store is down")

        return fail

    @pytest.mark.parametrize("answer", [WRONG, STRANGE, SILENT])
    @pytest.mark.parametrize("at", [(), (Save,), (Lease,)])
    def test_a_process_sends_one_unproven_password_at_most_and_none_if_the_store_can_be_read(
        self, fleet: Fleet, clock: Clock, answer: Answer, at: tuple[type, ...]
    ) -> None:
        fleet.answer, process = answer, fleet.process()
        process.before = self.away(*at)
        for reachable in (True, False) * 20:
            assert process.sign_in(reachable=reachable).outcome
            clock.passes(200)
        assert len(fleet.passwords) == (0 if at else 1)

    def test_its_answer_is_saved_when_the_store_is_back(self, fleet: Fleet) -> None:
        fleet.answer, process = WRONG, fleet.process()
        process.before = self.away()
        process.sign_in()
        process.before = lambda command: None
        assert refused(process, fleet.process())
        assert len(fleet.passwords) == 1

    @pytest.mark.parametrize("at", [(), (Save,), (Lease,)])
    def test_proven_credentials_go_on(self, fleet: Fleet, clock: Clock, at: tuple[type, ...]) -> None:
        process = fleet.process()
        process.sign_in()
        process.before = self.away(*at)
        for _ in range(3):
            clock.passes(301)
            fleet.answers = [] if at else [SILENT]
            assert token(process.sign_in())

    @pytest.mark.parametrize("at", [Read, Save])
    def test_the_lease_is_given_back_if_the_store_fails_and_before_it_is_done_without(
        self, fleet: Fleet, clock: Clock, at: type
    ) -> None:
        process = fleet.process()
        process.sign_in()
        clock.passes(301)
        process.commands.clear()

        def before(command: Any) -> None:
            if isinstance(command, at) and any(isinstance(one, Lease) for one in process.commands):
                raise StoreError("away")

        process.before = before
        assert token(process.sign_in()) == "t2"
        order = [type(command) for command in process.commands]
        assert order.index(Lease) < order.index(Release)
        assert at is Save or order.index(Release) < order.index(Send)

    @pytest.mark.parametrize("at", [(), (Save,)])
    @pytest.mark.parametrize("proven", [False, True])
    def test_where_it_is_needed_nothing_is_sent(
        self, fleet: Fleet, clock: Clock, at: tuple[type, ...], proven: bool
    ) -> None:
        process = fleet.process(strict=True)
        if proven:
            process.sign_in()
            clock.passes(301)
        process.before = self.away(*at)
        outcome = process.sign_in().outcome
        assert isinstance(outcome, Unavailable) and "token store" in outcome.reason
        assert len(fleet.passwords) == proven

    def test_a_reset_lets_one_more_through(self, fleet: Fleet) -> None:
        fleet.answer, process = WRONG, fleet.process()
        process.before = self.away()
        process.sign_in()
        with pytest.raises(StoreError):
            process.reset()
        for _ in range(3):
            process.sign_in()
        assert len(fleet.passwords) == 2

    @pytest.mark.parametrize("answer", [TOKEN, WRONG])
    def test_a_store_that_fails_after_the_request_changes_no_outcome(self, fleet: Fleet, answer: Answer) -> None:
        fleet.answer, process = answer, fleet.process()
        fleet.on_send = lambda: setattr(process, "before", self.away())
        outcome = process.sign_in().outcome
        assert isinstance(outcome, TokenRecord if answer is TOKEN else Refused)
        assert len(fleet.passwords) == 1


def test_a_sticky_servers_next_token_is_waited_for_by_the_holder(fleet: Fleet, clock: Clock) -> None:
    first = record_of(fleet.process().sign_in())
    clock.passes(300.1)
    now = clock.runtime.now()
    record = evolve(first, sticky_until=clock.monotonic + 9)
    waits = record.seconds_until_request(now, 5.0)
    assert waits > 0
    process = fleet.process()
    assert token(process.sign_in(record)) == "t2"
    assert [command for command in process.commands if isinstance(command, Pause)] == [Pause(waits)]


def test_a_sticky_servers_next_token_is_not_waited_for_past_the_lease(fleet: Fleet, clock: Clock) -> None:
    first = record_of(fleet.process().sign_in())
    clock.passes(300.1)
    fleet.store.forget()
    until = clock.monotonic + 900
    life = evolve(first.life, lower=clock.runtime.now(), upper=clock.runtime.now().after(8))
    outcome = fleet.process().sign_in(evolve(first, life=life, sticky_until=until)).outcome
    assert isinstance(outcome, Unavailable) and outcome.retry_after == pytest.approx(8)
    assert len(fleet.passwords) == 1


def test_that_a_server_is_sticky_is_saved_and_taken_back(fleet: Fleet, clock: Clock) -> None:
    process = fleet.process()
    first = record_of(process.sign_in())
    fleet.passwords.clear()  # so that the server gives the same token again
    clock.passes(290)
    assert record_of(process.sign_in(first)).sticky(clock.runtime.now())
    assert process.sealed.load("sticky")
    process.sealed.delete("token")
    fresh = record_of(fleet.process().sign_in())
    assert fresh.sticky(clock.runtime.now()) and process.sealed.load("sticky")
    assert token(fleet.process().sign_in(evolve(fresh, rejected=True))) == "t3"
    assert not process.sealed.load("sticky")


def test_a_token_for_one_use_is_not_saved_for_siblings(fleet: Fleet) -> None:
    fleet.life = 0.0
    processes = fleet.process(), fleet.process()
    assert [token(process.sign_in()) for process in processes] == ["t1", "t2"]
    assert not any(isinstance(command, Pause) for command in processes[1].commands)


def test_a_look_changes_nothing(fleet: Fleet) -> None:
    process = fleet.process()
    process.sign_in()
    before = fleet.store.entries()
    record, ledger, backoff = process.carry_out(process.member.look())
    assert record and ledger.proven and not backoff.failures
    assert fleet.store.entries() == before
