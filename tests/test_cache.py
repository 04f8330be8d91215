"""What a provider knows, and each transition of it: on values alone."""

import math
from operator import methodcaller as step
from typing import Any

import pytest
from attrs import evolve

from conftest import table
from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.brake import Brake
from enkash_auth._policy.cache import Fail, Join, Serve, Start, TokenCache
from enkash_auth._policy.lifetime import LONG_AGO, Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Limit, Malformed, Refused, Unavailable
from enkash_auth._policy.sign_in import Identity, Pending, Result

NOON = Moment(1000.0, 1e9)


def record(access_token: str = "t") -> TokenRecord:
    """A token of noon that is renewed after 240 seconds and expires after 300."""
    return TokenRecord.from_answer(Issued(access_token, 300.0), NOON, NOON, before=None, draw=0.5)


HELD = record()
TROUBLE, LATE = Unavailable("status 503", "host"), Unavailable("no answer within 10 s", "host", late=True)
FORBIDDEN, MALFORMED = Refused(403, None, False, "host"), Malformed("no token", "host")
FINAL = Refused(400, "invalid_grant", True, "host", Limit("clear", 1, None))
LIMITED = Refused(422, None, False, "host", Limit("maybe", 1, 60.0))
WAITED = Unavailable("another process is signing in", "host", late=True)
OURS, OTHER = Identity("host", ("user",), "ours"), Identity("host", ("other",), "other")
EMPTY = TokenCache(OURS, timeout=10.0)
STARTED = EMPTY.started(NOON)
HOLDING = evolve(EMPTY, record=HELD)
RENEWING = HOLDING.started(NOON.after(250))
REFUSED = evolve(EMPTY, backoff=Backoff(math.inf, 0, FINAL), suspect=True)
PAUSED = evolve(EMPTY, backoff=Backoff(1060.0, 0, LIMITED), suspect=True)
REJECTED = evolve(HOLDING, record=evolve(HELD, rejected=True))
RESET = STARTED.reset()
ONCE = Backoff().failed(TROUBLE, 1000.0, 1.0)  # for a second
TWICE = ONCE.failed(TROUBLE, 1000.0, 1.0)  # for two
IDLE = evolve(STARTED, pending=None)
OTHERS = evolve(EMPTY, record=record("other"))
GIVEN_UP = STARTED.given_up(NOON.after(10), 1.0).started(NOON.after(20))
THEIRS = evolve(TROUBLE, retry_after=20.0)
SETTINGS = {"rereads": True, "reread_at": 990.0}
FULL = evolve(RENEWING, backoff=REFUSED.backoff, brake=Brake(0.0, 1000.0), **SETTINGS)
FORKED = evolve(EMPTY, started_count=1, valid_from=1, **SETTINGS)


@table(
    "cache, seconds, decision",
    ("without a token a sign-in starts", EMPTY, 0, Start(None)),
    ("without a token callers join the sign-in under way", STARTED, 1, Join()),
    ("a token is served until the clocks are checked", HOLDING, 10, Serve(HELD.token, 1030.0)),
    ("a token is served until its renewal", HOLDING, 230, Serve(HELD.token, 1240.0)),
    ("a renewal starts while the token is served", HOLDING, 250, Start(Serve(HELD.token, 1260.0))),
    ("a token is served until it expires", HOLDING, 295, Start(Serve(HELD.token, 1300.0))),
    ("one renewal at a time; decided again when it is overdue", RENEWING, 255, Serve(HELD.token, 1260.0)),
    ("an expired token is waited for", HOLDING, 300, Start(None)),
    ("callers join a renewal when the token expires", RENEWING, 300, Join()),
    ("a rejected token is waited for", REJECTED, 10, Start(None)),
    ("a back-off fails", evolve(EMPTY, backoff=ONCE), 0.5, Fail(evolve(TROUBLE, retry_after=0.5))),
    ("after a back-off a sign-in starts", evolve(EMPTY, backoff=ONCE), 1, Start(None)),
    ("in a back-off no renewal starts", evolve(HOLDING, backoff=Backoff(1251.0, 1, TROUBLE)), 250,
     Serve(HELD.token, 1251.0)),
    ("a final refusal fails for ever", REFUSED, 1e9, Fail(FINAL)),
    ("a final refusal forbids renewals", evolve(REFUSED, record=HELD), 250, Serve(HELD.token, 1270.0)),
    ("a limit on attempts fails while it lasts", PAUSED, 20,
     Fail(evolve(LIMITED, limit=Limit("maybe", 1, 40.0)))),
    ("and no longer", PAUSED, 60, Start(None)),
    ("its source is read meanwhile", evolve(PAUSED, rereads=True, reread_at=1000.0), 5, Start(None)),
    ("a source is read at once", evolve(REFUSED, rereads=True), 0, Start(None)),
    ("not again for 5 s", evolve(REFUSED, rereads=True, reread_at=1000.0), 4.9, Fail(FINAL)),
    ("again after 5 s", evolve(REFUSED, rereads=True, reread_at=1000.0), 5, Start(None)),
    ("a token is served until the source is read",
     evolve(REFUSED, rereads=True, reread_at=1248.0, record=HELD), 250, Serve(HELD.token, 1253.0)),
)  # fmt: skip
def test_ask(cache: TokenCache, seconds: float, decision: object) -> None:
    assert cache.ask(NOON.after(seconds)) == decision


@table(
    "cache, decision",
    ("after one failure another sign-in starts", evolve(EMPTY, backoff=ONCE), Start(None)),
    ("after two none does", evolve(EMPTY, backoff=TWICE), Fail(evolve(TROUBLE, retry_after=2.0))),
    ("none against a Retry-After", evolve(EMPTY, backoff=evolve(ONCE, failure=evolve(TROUBLE, retry_after=1.0))),
     Fail(evolve(TROUBLE, retry_after=1.0))),
    ("none against a limit", REFUSED, Fail(FINAL)),
)  # fmt: skip
def test_ask_of_a_caller_that_waited_in_vain(cache: TokenCache, decision: object) -> None:
    assert cache.ask(NOON, late=True) == decision


@table(
    "cache, outcome, changes",
    ("a token ends the back-off", evolve(STARTED, backoff=TWICE), HELD, {"record": HELD, "backoff": Backoff()}),
    ("trouble backs off", STARTED, TROUBLE, {"backoff": ONCE}),
    ("trouble in a row backs off for longer", evolve(STARTED, backoff=ONCE), TROUBLE, {"backoff": TWICE}),
    ("a refusal backs off, and makes the credentials suspect", STARTED, FORBIDDEN,
     {"backoff": evolve(ONCE, failure=FORBIDDEN), "suspect": True}),
    ("a limit on attempts alone says how long", evolve(STARTED, backoff=TWICE), LIMITED,
     {"backoff": Backoff(1060.0, 2, LIMITED), "suspect": True}),
    ("waiting for another process is no failure", STARTED, WAITED, {}),
    ("another process's back-off is kept, and no failure", evolve(STARTED, backoff=ONCE), THEIRS,
     {"backoff": Backoff(1020.0, 1, THEIRS)}),
    ("a token ends the suspicion", evolve(STARTED, suspect=True), HELD, {"record": HELD, "suspect": False}),
    ("an answer without a token backs off", STARTED, MALFORMED, {"backoff": evolve(ONCE, failure=MALFORMED)}),
    ("a failed renewal keeps the token", evolve(STARTED, record=HELD), TROUBLE, {"backoff": ONCE}),
    ("a final refusal is for ever", STARTED, FINAL, {"backoff": REFUSED.backoff, "suspect": True}),
    ("given up, a token is dropped", GIVEN_UP, HELD, {"pending": GIVEN_UP.pending}),
    ("given up, trouble is no second failure", GIVEN_UP, TROUBLE, {"pending": GIVEN_UP.pending}),
    ("given up, a final refusal counts", GIVEN_UP, FINAL,
     {"pending": GIVEN_UP.pending, "backoff": Backoff(math.inf, 1, FINAL), "suspect": True}),
    ("and while no other runs", evolve(STARTED, pending=None), FINAL,
     {"backoff": REFUSED.backoff, "suspect": True}),
    ("but not once other credentials are held", evolve(GIVEN_UP, identity=OTHER), FINAL,
     {"pending": GIVEN_UP.pending}),
    ("after a reset, a token is dropped", RESET, HELD, {}),
    ("after a reset, a final refusal is dropped", RESET, FINAL, {}),
)  # fmt: skip
def test_finished(cache: TokenCache, outcome: TokenRecord | Failure, changes: dict[str, Any]) -> None:
    assert cache.finished(0, Result("ours", outcome), NOON, 1.0) == evolve(cache, **{"pending": None, **changes})


THAWED = {"frozen": NOON.after(11), "asleep": NOON._replace(wall=NOON.wall + 11)}


@pytest.mark.parametrize("now", THAWED.values(), ids=THAWED)
@pytest.mark.parametrize("outcome", [None, TROUBLE, LATE], ids=["given up", "trouble", "late"])
def test_after_a_thaw_a_sign_in_without_an_answer_is_nobodys_failure(outcome: Failure | None, now: Moment) -> None:
    after = STARTED.finished(0, Result("ours", outcome, 1), now, 1.0) if outcome else STARTED.given_up(now, 1.0)
    assert after == IDLE


@pytest.mark.parametrize("outcome", [FORBIDDEN, FINAL, LIMITED, evolve(TROUBLE, retry_after=5.0)])
def test_after_a_thaw_what_the_server_has_said_counts(outcome: Failure) -> None:
    assert STARTED.finished(0, Result("ours", outcome, 1), THAWED["frozen"], 1.0).backoff.failure == outcome


@table(
    "before, transition, after",
    ("a sign-in that starts has a number and an end", EMPTY, step("started", NOON),
     evolve(EMPTY, pending=Pending(0, NOON.after(10)), started_count=1)),
    ("the next has the next number", STARTED, step("started", NOON.after(20)),
     evolve(STARTED, pending=Pending(1, NOON.after(30)), started_count=2)),
    ("a sign-in with suspect credentials reads their source", REFUSED, step("started", NOON),
     evolve(REFUSED, pending=Pending(0, NOON.after(10)), started_count=1, reread_at=1000.0)),
    ("a sign-in that is given up is a failure", STARTED, step("given_up", NOON.after(10), 1.0),
     evolve(IDLE, backoff=Backoff(1011.0, 1, LATE))),
    ("a new password keeps the token", RENEWING, step("moved", evolve(OURS, fingerprint="new"), 0),
     evolve(RENEWING, identity=evolve(OURS, fingerprint="new"))),
    ("another account drops the token", RENEWING, step("moved", OTHER, 0),
     evolve(RENEWING, identity=OTHER, record=None)),
    ("a back-off ends with the credentials", evolve(STARTED, backoff=ONCE), step("moved", OTHER, 0),
     evolve(STARTED, identity=OTHER)),
    ("other credentials are not suspect", evolve(STARTED, suspect=True), step("moved", OTHER, 0),
     evolve(STARTED, identity=OTHER)),
    ("a rejected token costs the brake one", HOLDING, step("rejected", HELD.token, NOON),
     evolve(REJECTED, brake=Brake(1.0, 1000.0))),
    ("an expired token costs the brake nothing", HOLDING, step("rejected", HELD.token, NOON.after(300)), REJECTED),
    ("a reset forgets all but the settings, and suspects the credentials", FULL, step("reset"),
     evolve(FORKED, suspect=True)),
    ("a forked child keeps a limit on attempts", FULL, step("afresh"), evolve(FORKED, backoff=REFUSED.backoff)),
    ("and no other back-off", evolve(FULL, backoff=ONCE), step("afresh"), FORKED),
)  # fmt: skip
def test_transition(before: TokenCache, transition: Any, after: TokenCache) -> None:
    assert transition(before) == after


@table(
    "cache, transition",
    ("a sign-in from before a reset moves nothing", RESET, step("moved", OTHER, 0)),
    ("a 401 where no token is held", EMPTY, step("rejected", HELD.token, NOON)),
    ("a 401 to another token than the one held", OTHERS, step("rejected", HELD.token, NOON)),
    ("a second 401", REJECTED, step("rejected", HELD.token, NOON)),
    ("a 401 that the brake forbids", evolve(HOLDING, brake=Brake(0.0, 1000.0)), step("rejected", HELD.token, NOON)),
)
def test_nothing_changes(cache: TokenCache, transition: Any) -> None:
    assert transition(cache) is cache


@table(
    "cache, question, answer",
    ("without a sign-in none is overdue", EMPTY, step("overdue", math.inf), False),
    ("before its end a sign-in is not overdue", STARTED, step("overdue", 1009.9), False),
    ("at its end it is", STARTED, step("overdue", 1010.0), True),
    ("the same limit again is no news", PAUSED, step("is_news", Result("ours", FINAL)), False),
    ("the first limit is news", EMPTY, step("is_news", Result("ours", FINAL)), True),
    ("a request that was refused again is news", PAUSED, step("is_news", Result("ours", FINAL, 1)), True),
    ("trouble after trouble is news", evolve(EMPTY, backoff=ONCE), step("is_news", Result("ours", TROUBLE)), True),
    ("waiting for another process is no news", EMPTY, step("is_news", Result("ours", WAITED)), False),
    ("a token is news", PAUSED, step("is_news", Result("ours", HELD)), True),
    ("no token was just issued", EMPTY, step("just_issued", HELD.token, LONG_AGO, NOON), False),
    ("another token was", OTHERS, step("just_issued", HELD.token, LONG_AGO, NOON), False),
    ("issued since the question", HOLDING, step("just_issued", HELD.token, 999.9, NOON.after(1)), True),
    ("issued before it", HOLDING, step("just_issued", HELD.token, 1000.0, NOON.after(1)), False),
    ("issued since, and expired", HOLDING, step("just_issued", HELD.token, 999.9, NOON.after(300)), False),
)
def test_question(cache: TokenCache, question: Any, answer: bool) -> None:
    assert question(cache) is answer
