"""How often a password may be sent: the kinds of answers, and what the attempts since the last success allow."""

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from enkash_auth._policy import classification
from enkash_auth._policy.attempts import Attempt, Ledger
from enkash_auth._policy.classification import Answer, Kind, classify
from enkash_auth._policy.lifetime import Moment
from enkash_auth._policy.memory import Memory
from enkash_auth._policy.outcome import Failure, Limit, Refused, Unavailable
from enkash_auth._signin.answers import read_body

NOW = Moment(1000.0, 1e9)
OPEN, REMOVED, SUCCESS, UNKNOWN, MAYBE, CLIENT, CLEAR, RESET = Kind

KINDS: list[tuple[Answer, Kind]] = [
    (Answer(200, json=True, token=True), SUCCESS),
    *((Answer(status, "invalid_grant", json=True), CLEAR) for status in (200, 400, 401, 403, 422, 429, 503)),
    (Answer(401, "invalid_grant", basic=True, json=True), CLEAR),
    (Answer(401, basic=True), CLIENT),
    (Answer(401, "unauthorized", basic=True, json=True), CLIENT),
    *((Answer(status, "invalid_client", json=True), CLIENT) for status in (400, 401, 403, 500)),
    (Answer(departed=False), REMOVED),
    *((Answer(status, json=json), REMOVED) for status in (408, 421, 425, 429, 503) for json in (False, True)),
    *((Answer(status), REMOVED) for status in (404, 405, 413, 415)),
    (Answer(), UNKNOWN),
    *((Answer(status, json=json), UNKNOWN) for status in (500, 501, 502, 504, 520, 599) for json in (False, True)),
    *((Answer(status, json=json), UNKNOWN) for status in (301, 302, 307, 399) for json in (False, True)),
    *((Answer(status, json=True), UNKNOWN) for status in (404, 405)),
    (Answer(401, "unauthorized", json=True), UNKNOWN),
    *((Answer(status), UNKNOWN) for status in (200, 401, 403)),
    *((Answer(status, json=json), MAYBE) for status in (400, 409, 412, 422, 423, 451) for json in (False, True)),
    *((Answer(status, json=True), MAYBE) for status in (200, 401, 403, 413, 415)),
    (Answer(400, "invalid_request", json=True), MAYBE),
    (Answer(204), MAYBE),
]

SILENT = "no answer came to the last request"
GO, FINAL = "go", "final"
# what unproven and proven credentials may do (at once, never, or so many seconds after the last start), and after what
DECISIONS: dict[tuple[Any, Any], list[list[Kind]]] = {
    (GO, GO): [[], [OPEN], [UNKNOWN], [RESET]],
    (60, 60): [[MAYBE]],
    (300, 300): [[UNKNOWN] * 2],
    (600, 600): [[UNKNOWN] * 3],
    (1200, 1200): [[UNKNOWN] * 4],
    (1800, 1800): [[UNKNOWN] * 5, [UNKNOWN] * 9],
    (300, FINAL): [[RESET, UNKNOWN]],
    (FINAL, 60): [[CLIENT]],
    (FINAL, 300): [
        [OPEN, OPEN], [UNKNOWN, OPEN], [UNKNOWN, MAYBE], [OPEN, MAYBE],
        [CLIENT, CLIENT], [CLIENT, UNKNOWN], [CLIENT, MAYBE],
    ],
    (FINAL, 600): [[OPEN] * 3, [OPEN, OPEN, MAYBE]],
    (FINAL, 1200): [[UNKNOWN, UNKNOWN, UNKNOWN, MAYBE]],
    (FINAL, 1800): [[CLIENT] * 5],
    (FINAL, FINAL): [
        [CLEAR], [CLIENT, CLEAR], [RESET, OPEN], [RESET, MAYBE], [RESET, CLIENT],
        [MAYBE, MAYBE], [MAYBE, UNKNOWN], [MAYBE, OPEN], [MAYBE, CLIENT], [CLIENT, MAYBE, CLIENT],
    ],
}  # fmt: skip


def ledger(kinds: list[Kind], *, proven: bool = False, age: float = 0.0) -> Ledger:
    """Return the ledger that holds attempts of these kinds, the last of which started `age` seconds ago."""
    attempts = [Attempt(f"a{number}", number, NOW.after(-age), kind) for number, kind in enumerate(kinds, 1)]
    return Ledger(tuple(attempts), proven)


def answered(found: Ledger, attempt: Attempt, kind: Kind) -> Ledger:
    return found.answered(evolve(attempt, kind=kind))


def kinds_of(found: Ledger) -> list[Kind]:
    return [one.kind for one in found.attempts]


def decided(kinds: list[Kind], proven: bool) -> Any:
    """Return the decision in the words of the table, so that a pause is checked on both sides of its end."""
    decision = ledger(kinds, proven=proven).decide(NOW)
    if decision.row is None or decision.final:
        return FINAL if decision.final else GO
    pause = decision.until - NOW.monotonic
    assert ledger(kinds, proven=proven, age=pause - 0.1).decide(NOW).row
    assert not ledger(kinds, proven=proven, age=pause).decide(NOW).row
    return pause


@pytest.mark.parametrize(("answer", "kind"), KINDS)
def test_the_first_row_that_fits_says_what_an_answer_is(answer: Answer, kind: Kind) -> None:
    assert classify(answer) is kind


@pytest.mark.parametrize(
    ("kinds", "may"), [pytest.param(one, may, id=" ".join(one)) for may, all in DECISIONS.items() for one in all]
)
def test_the_attempts_since_the_last_success_decide(kinds: list[Kind], may: tuple[Any, Any]) -> None:
    assert (decided(kinds, False), decided(kinds, True)) == may


def test_each_code_of_a_row_is_read_from_a_body() -> None:
    named: Any = [row["error"] for _, row in classification.ANSWERS if "error" in row]
    codes = [code for codes in named for code in codes]
    assert [read_body(json.dumps({"error": code}).encode()) for code in codes] == [(True, code) for code in codes]


@pytest.mark.parametrize(
    ("kinds", "running", "row", "final"),
    [
        ([OPEN], ["a1"], None, False),
        ([OPEN, OPEN], ["a1", "a2"], OPEN, False),
        ([OPEN, OPEN], ["a2"], OPEN, False),
        ([MAYBE, OPEN], ["a2"], OPEN, False),
        ([CLEAR, OPEN], ["a2"], CLEAR, True),
    ],
)
def test_two_attempts_that_may_still_be_answered_are_waited_for_unless_one_is_final(
    kinds: list[Kind], running: list[str], row: Kind | None, final: bool
) -> None:
    decision = ledger(kinds, age=60.0).decide(NOW, running)
    assert (decision.passwords, decision.row, decision.final) == (len(kinds), row, final)


def test_a_decision_says_its_row_the_passwords_and_the_attempt() -> None:
    found = ledger([RESET, UNKNOWN, MAYBE])
    decision = found.decide(NOW)
    assert (decision.row, decision.passwords, decision.attempt) == (MAYBE, 2, found.attempts[-1])


@pytest.mark.parametrize(
    ("kinds", "proven", "kind", "left"),
    [
        ([], False, MAYBE, [MAYBE]),
        ([], True, MAYBE, [MAYBE]),
        ([], False, UNKNOWN, [UNKNOWN]),
        ([], True, UNKNOWN, []),
        ([CLIENT], True, UNKNOWN, [CLIENT, UNKNOWN]),
        ([MAYBE], True, UNKNOWN, [MAYBE, UNKNOWN]),
        ([RESET], True, UNKNOWN, [RESET]),
        ([UNKNOWN], False, REMOVED, [UNKNOWN]),
        ([UNKNOWN, MAYBE], False, SUCCESS, []),
    ],
)
def test_an_answer_changes_its_own_attempt(kinds: list[Kind], proven: bool, kind: Kind, left: list[Kind]) -> None:
    found, attempt = ledger(kinds, proven=proven).started("new", NOW)
    after = answered(found, attempt, kind)
    assert (kinds_of(after), after.proven) == (left, proven or kind is SUCCESS)
    assert after.started("next", NOW)[1].number >= attempt.number


class TestTraces:
    """Each broke an earlier draft. First, two attempts with no answer yet."""

    one, first = Ledger().started("first", NOW)
    found, second = one.started("second", NOW)

    def test_a_late_success_leaves_a_later_refusal(self) -> None:
        found = answered(answered(self.found, self.second, CLEAR), self.first, SUCCESS)
        assert kinds_of(found) == [CLEAR]
        assert found.decide(NOW).final

    @pytest.mark.parametrize("kind", [CLEAR, MAYBE, UNKNOWN, CLIENT, REMOVED])
    def test_a_late_answer_that_a_success_has_cleared_is_dropped(self, kind: Kind) -> None:
        found = answered(self.found, self.second, SUCCESS)
        assert answered(found, self.first, kind) == found == Ledger((), True, "", 2, NOW)

    @pytest.mark.parametrize("kind", [CLEAR, MAYBE, UNKNOWN, CLIENT, REMOVED, SUCCESS])
    def test_a_late_answer_that_a_reset_has_cleared_is_dropped_but_a_success_proves(self, kind: Kind) -> None:
        found = self.found.after_reset("r", NOW)
        assert kinds_of(found) == [RESET]
        assert answered(found, self.first, kind) == evolve(found, proven=kind is SUCCESS)

    @pytest.mark.parametrize("proven", [False, True])
    def test_one_reset_lets_one_password_through(self, proven: bool) -> None:
        found = ledger([CLEAR], proven=proven).after_reset("r", NOW)
        assert found.after_reset("r", NOW.after(9)) is found.after_reset("", NOW) is found
        assert not found.decide(NOW).row
        found, attempt = found.started("new", NOW)
        assert answered(found, attempt, MAYBE).decide(NOW.after(3600)).final

    @pytest.mark.parametrize("lost", [Ledger(), Ledger().started("other", NOW)[0]], ids=["all", "two"])
    def test_an_attempt_whose_save_was_lost_is_put_back(self, lost: Ledger) -> None:
        back = answered(answered(lost, self.second, MAYBE), self.first, MAYBE)
        assert kinds_of(back)[-2:] == [MAYBE, MAYBE]
        assert [one.number for one in back.attempts] == sorted(one.number for one in back.attempts)

    def test_in_a_store_that_was_emptied_numbers_begin_anew_and_time_says_what_is_older(self) -> None:
        old, again = Attempt("old", 57, NOW, CLIENT), NOW.after(3600)
        found, attempt = Ledger(proven=True).started("new", again)
        cleared, refused = answered(found, attempt, SUCCESS), answered(found, attempt, CLIENT)
        assert cleared.answered(old) is cleared
        assert refused.answered(old).decide(again).until == again.after(300).monotonic
        assert answered(refused, old, SUCCESS).attempts == refused.attempts

    @pytest.mark.parametrize(("apart", "left"), [(59, [CLEAR]), (61, [])])
    def test_a_success_clears_what_is_a_minute_older_whatever_the_numbers_say(self, apart: int, left: object) -> None:
        refused = Ledger((Attempt("refused", 57, NOW, CLEAR),))
        alone = Attempt("alone", 1, NOW.after(apart), SUCCESS)
        slept = evolve(alone, start=Moment(NOW.monotonic, NOW.wall + apart))
        assert (kinds_of(refused.answered(alone)), kinds_of(refused.answered(slept))) == (left, [CLEAR])

    def test_a_success_leaves_another_attempt_that_has_its_number(self) -> None:
        found, _ = Ledger().started("other", NOW)
        assert [one.id for one in answered(found, self.first, SUCCESS).attempts] == ["other"]

    def test_a_success_after_a_reset_clears_it_where_a_ledger_that_was_not_saved_reads_it_anew(self) -> None:
        _, attempt = Ledger().after_reset("r", NOW).started("own", NOW)
        read = Ledger(cleared=attempt.number - 1).after_reset("r", NOW.after(3600))
        assert not answered(read, attempt, SUCCESS).attempts

    def test_a_process_that_went_without_the_store_knows_few_numbers_and_time_says_what_is_later(self) -> None:
        found, attempt = Ledger((), True, "", 5, NOW), Attempt("alone", 1, NOW.after(7), CLEAR)
        assert kinds_of(found.answered(attempt)) == [CLEAR]
        slept = evolve(attempt, start=Moment(NOW.monotonic + 7, NOW.wall - 3600))  # NOW as read after the machine slept
        assert found.answered(slept) is found


@pytest.mark.parametrize("forward", [0.0, 45.0])
def test_a_ledger_survives_a_store(forward: float) -> None:
    found, attempt = Ledger((), True, "", 7, NOW).after_reset("r", NOW).started("new", NOW.after(5), (1, 2, 3))
    found = found.answered(attempt.answered(Answer(400, "invalid_scope", json=True)))
    saved, elsewhere = NOW.after(10), Moment(50.0, 5.0).after(forward)  # another machine's clocks
    moved = [evolve(one, start=elsewhere.after(saved.until(one.start))) for one in found.attempts]
    again = Ledger.from_entry(json.loads(json.dumps(found.to_entry(saved))), elsewhere)
    assert again == evolve(found, attempts=tuple(moved), cleared_at=elsewhere.after(-10))


def test_an_attempt_from_the_future_starts_when_it_was_saved() -> None:
    found, _ = Ledger().started("a", NOW.after(900))
    assert Ledger.from_entry(found.to_entry(NOW), NOW).attempts[0].start == NOW


@pytest.mark.parametrize(
    ("kinds", "status", "failure"),
    [
        ([CLEAR], 400, Refused(400, "code", True, "h", Limit(CLEAR, 1, None))),
        ([MAYBE], 422, Refused(422, "code", False, "h", Limit(MAYBE, 1, 60))),
        ([MAYBE], 200, Refused(200, "code", False, "h", Limit(MAYBE, 1, 60))),
        ([UNKNOWN, UNKNOWN], 500, Unavailable("status 500", "h", 300, limit=Limit(UNKNOWN, 2, 300))),
        ([UNKNOWN, UNKNOWN], 0, Unavailable(SILENT, "h", 300, limit=Limit(UNKNOWN, 2, 300))),
        ([OPEN, OPEN], 0, Refused(0, "code", True, "h", Limit(OPEN, 2, None))),
    ],
)
def test_a_decision_makes_the_callers_failure(kinds: list[Kind], status: int, failure: Failure) -> None:
    found = ledger(kinds)
    found = evolve(found, attempts=tuple(evolve(one, status=status, error="code") for one in found.attempts))
    decision = found.decide(NOW)
    assert decision.failure("h", NOW.monotonic) == failure
    assert decision.limiting(evolve(failure, limit=None), NOW.monotonic) == failure


def test_what_forbids_nothing_limits_nothing() -> None:
    failure = Unavailable("status 503", "h")
    assert ledger([]).decide(NOW).limiting(failure, NOW.monotonic) == failure


def test_waiting_for_siblings_is_trouble_without_a_back_off() -> None:
    failure = ledger([OPEN, OPEN]).decide(NOW, {"a1", "a2"}).failure("h", NOW.monotonic)
    assert failure == Unavailable("other processes are signing in", "h", late=True)


class TestMemory:
    """What a process itself knows outlives a store that forgets."""

    found, attempt = Ledger().started("own", NOW)
    memory = Memory().keeping(attempt)

    def test_its_own_attempts_are_put_back_until_they_are_cleared(self) -> None:
        assert self.memory.restored(Ledger()) == self.found
        memory = self.memory.keeping(evolve(self.attempt, kind=MAYBE))
        assert kinds_of(memory.restored(self.found)) == kinds_of(memory.restored(Ledger())) == [MAYBE]
        cleared = Ledger((), True, "", 1, NOW)
        assert memory.after(memory.restored(cleared), saved=False) == Memory(cleared)

    def test_a_later_failure_makes_it_forget_no_earlier_one(self) -> None:
        earlier, later = Attempt("a1", 1, NOW, UNKNOWN), Attempt("a2", 2, NOW.after(61), MAYBE)
        assert kinds_of(Memory().keeping(earlier).keeping(later).restored(Ledger())) == [UNKNOWN, MAYBE]

    @pytest.mark.parametrize("kind", [SUCCESS, REMOVED, UNKNOWN])  # of proven credentials, that is an outage
    def test_an_answer_that_clears_is_kept_until_it_is_saved(self, kind: Kind) -> None:
        found, attempt = Ledger(proven=True).started("own", NOW)
        memory = Memory(found).keeping(evolve(attempt, kind=kind))
        assert memory.after(memory.ledger, saved=False) == memory
        assert memory.restored(found) == memory.ledger
        assert not memory.after(memory.ledger, saved=True).own

    def test_a_forked_child_leaves_the_attempts_under_way_to_its_parent(self) -> None:
        assert not self.memory.inherited().own
        answered = Memory().keeping(evolve(self.attempt, kind=MAYBE))
        assert answered.inherited() == answered

    def test_what_was_proven_or_reset_stays_so_in_a_store_that_was_emptied(self) -> None:
        assert Memory(Ledger((), True, "r", 3)).restored(Ledger()) == Ledger((), True, "r")

    @pytest.mark.parametrize("between", [Answer(200, token=True), Answer(503)])
    def test_a_process_whose_count_cannot_be_written_knows_no_more_for_each_success(self, between: Answer) -> None:
        memory = Memory()
        for number, answer in enumerate([Answer(200, token=True), between] * 9):
            _, attempt = memory.ledger.started(f"{number}", NOW.after(number))
            memory = memory.keeping(attempt).keeping(attempt.answered(answer))
            memory = memory.after(memory.ledger, saved=False)
        assert len(memory.own) <= 3

    @pytest.mark.parametrize("saved", [False, True])
    @pytest.mark.parametrize("proven", [False, True])
    @pytest.mark.parametrize("kind", [REMOVED, UNKNOWN, CLIENT, OPEN])
    def test_a_failure_of_weeks_makes_no_process_and_no_entry_large_and_forgets_no_refusal(
        self, kind: Kind, proven: bool, saved: bool
    ) -> None:
        """A store may keep 64 KiB an entry: a ledger that was larger counted as missing, and its proof was lost."""
        refused = Attempt("refused", 1, NOW, MAYBE)
        memory = Memory(Ledger((refused,), proven), (refused,))
        for number in range(300):
            found, attempt = memory.ledger.started(f"{number:016}", NOW.after(1800 * number), (2**32, 2**22, 2**40, 11))
            memory = memory.after(found, saved=saved)
            memory = memory.keeping(attempt).keeping(evolve(attempt, kind=kind, status=401, error="invalid_client"))
            memory = memory.after(memory.ledger, saved=saved)
        assert refused in memory.own and refused in memory.ledger.attempts
        assert len(memory.own) <= 101
        assert len(json.dumps(memory.ledger.to_entry(NOW))) < 24 * 1024

    def test_a_late_success_makes_a_process_forget_no_later_refusal_whatever_its_number(self) -> None:
        refused, late = Attempt("new", 1, NOW.after(60), CLEAR), Attempt("late", 57, NOW, SUCCESS)
        assert refused in Memory().keeping(refused).keeping(late).own


KIND = st.sampled_from([REMOVED, SUCCESS, UNKNOWN, MAYBE, CLIENT, CLEAR])


@given(st.lists(KIND, max_size=8), st.booleans(), st.permutations(range(8)))
def test_answers_may_come_in_any_order(kinds: list[Kind], proven: bool, order: list[int]) -> None:
    found, flights = Ledger(proven=proven), []
    for place in range(len(kinds)):
        found, attempt = found.started(f"a{place}", NOW)
        flights.append(attempt)
    for place in (place for place in order if place < len(kinds)):
        found = answered(found, flights[place], kinds[place])
    last = max([place for place, kind in enumerate(kinds) if kind is SUCCESS], default=-1)
    left = [kind for kind in kinds[last + 1 :] if kind not in (REMOVED, UNKNOWN)]
    assert [one for one in kinds_of(found) if one is not UNKNOWN] == left
    assert found.proven == (proven or last >= 0)
