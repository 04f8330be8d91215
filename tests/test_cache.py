"""What a provider knows, and each transition of it: on values alone."""

import math
from typing import Any

import pytest
from attrs import evolve

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
TROUBLE, FORBIDDEN = Unavailable("status 503", "host"), Refused(403, None, False, "host")
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


def rule(name: str, *values: Any) -> Any:
    return pytest.param(*values, id=name)


@pytest.mark.parametrize(
    ("cache", "seconds", "decision"),
    [
        rule("without a token a sign-in starts", EMPTY, 0, Start(None)),
        rule("without a token callers join the sign-in under way", STARTED, 1, Join()),
        rule("a token is served until the clocks are checked", HOLDING, 10, Serve(HELD.token, 1030.0)),
        rule("a token is served until its renewal", HOLDING, 230, Serve(HELD.token, 1240.0)),
        rule("a renewal starts while the token is served", HOLDING, 250, Start(Serve(HELD.token, 1260.0))),
        rule("a token is served until it expires", HOLDING, 295, Start(Serve(HELD.token, 1300.0))),
        rule("one renewal at a time; decided again when it is overdue", RENEWING, 255, Serve(HELD.token, 1260.0)),
        rule("an expired token is waited for", HOLDING, 300, Start(None)),
        rule("callers join a renewal when the token expires", RENEWING, 300, Join()),
        rule("a rejected token is waited for", REJECTED, 10, Start(None)),
        rule("a back-off fails", evolve(EMPTY, backoff=ONCE), 0.5, Fail(evolve(TROUBLE, retry_after=0.5))),
        rule("after a back-off a sign-in starts", evolve(EMPTY, backoff=ONCE), 1, Start(None)),
        rule("in a back-off no renewal starts", evolve(HOLDING, backoff=Backoff(1251.0, 1, TROUBLE)), 250,
             Serve(HELD.token, 1251.0)),
        rule("a final refusal fails for ever", REFUSED, 1e9, Fail(FINAL)),
        rule("a final refusal forbids renewals", evolve(REFUSED, record=HELD), 250, Serve(HELD.token, 1270.0)),
        rule("a limit on attempts fails while it lasts", PAUSED, 20,
             Fail(evolve(LIMITED, limit=Limit("maybe", 1, 40.0)))),
        rule("and no longer", PAUSED, 60, Start(None)),
        rule("its source is read meanwhile", evolve(PAUSED, rereads=True, reread_at=1000.0), 5, Start(None)),
        rule("a source is read at once", evolve(REFUSED, rereads=True), 0, Start(None)),
        rule("not again for 5 s", evolve(REFUSED, rereads=True, reread_at=1000.0), 4.9, Fail(FINAL)),
        rule("again after 5 s", evolve(REFUSED, rereads=True, reread_at=1000.0), 5, Start(None)),
        rule("a token is served until the source is read",
             evolve(REFUSED, rereads=True, reread_at=1248.0, record=HELD), 250, Serve(HELD.token, 1253.0)),
    ],
)  # fmt: skip
def test_ask(cache: TokenCache, seconds: float, decision: object) -> None:
    assert cache.ask(NOON.after(seconds)) == decision


@pytest.mark.parametrize(
    ("backoff", "decision"),
    [
        (ONCE, Start(None)),
        (TWICE, Fail(evolve(TROUBLE, retry_after=2.0))),
        (evolve(ONCE, failure=evolve(TROUBLE, retry_after=1.0)), Fail(evolve(TROUBLE, retry_after=1.0))),
    ],
    ids=["one failure", "two", "a Retry-After"],
)
def test_a_caller_that_waited_in_vain_may_start_another_sign_in_after_one_failure(
    backoff: Backoff, decision: object
) -> None:
    assert evolve(EMPTY, backoff=backoff).ask(NOON, late=True) == decision


def test_a_caller_that_waited_in_vain_starts_nothing_against_a_limit() -> None:
    assert REFUSED.ask(NOON, late=True) == Fail(FINAL)


def test_a_sign_in_that_starts_has_a_number_and_an_end() -> None:
    assert EMPTY.started(NOON) == evolve(EMPTY, pending=Pending(0, NOON.after(10)), started_count=1)
    assert STARTED.started(NOON.after(20)).pending == Pending(1, NOON.after(30))


def test_a_sign_in_with_suspect_credentials_reads_their_source() -> None:
    assert REFUSED.started(NOON).reread_at == 1000.0


@pytest.mark.parametrize(
    ("cache", "now", "overdue"), [(EMPTY, math.inf, False), (STARTED, 1009.9, False), (STARTED, 1010.0, True)]
)
def test_a_sign_in_is_overdue_at_its_end(cache: TokenCache, now: float, overdue: bool) -> None:
    assert cache.overdue(now) is overdue


def test_a_sign_in_that_is_given_up_is_a_failure() -> None:
    late = Unavailable("no answer within 10 s", "host", late=True)
    assert STARTED.given_up(NOON.after(10), 1.0) == evolve(STARTED, pending=None, backoff=Backoff(1011.0, 1, late))


THAWED = [NOON.after(11), NOON._replace(wall=NOON.wall + 11)]  # a process was frozen; its machine slept


@pytest.mark.parametrize("now", THAWED)
def test_after_a_thaw_a_sign_in_without_an_answer_is_nobodys_failure(now: Moment) -> None:
    assert STARTED.given_up(now, 1.0) == evolve(STARTED, pending=None)
    for outcome in (TROUBLE, Unavailable("no answer within 10 s", "host", late=True)):
        assert STARTED.finished(0, Result("fingerprint", outcome, 1), now, 1.0) == evolve(STARTED, pending=None)


@pytest.mark.parametrize("outcome", [FORBIDDEN, FINAL, LIMITED, evolve(TROUBLE, retry_after=5.0)])
def test_after_a_thaw_what_the_server_has_said_counts(outcome: Failure) -> None:
    assert STARTED.finished(0, Result("fingerprint", outcome, 1), THAWED[0], 1.0).backoff.failure == outcome


GIVEN_UP = STARTED.given_up(NOON.after(10), 1.0).started(NOON.after(20))
MALFORMED = Malformed("no token", "host")
THEIRS = evolve(TROUBLE, retry_after=20.0)


@pytest.mark.parametrize(
    ("cache", "outcome", "changes"),
    [
        rule("a token ends the back-off", evolve(STARTED, backoff=TWICE), HELD, {"record": HELD, "backoff": Backoff()}),
        rule("trouble backs off", STARTED, TROUBLE, {"backoff": ONCE}),
        rule("trouble in a row backs off for longer", evolve(STARTED, backoff=ONCE), TROUBLE, {"backoff": TWICE}),
        rule("a refusal backs off, and makes the credentials suspect", STARTED, FORBIDDEN,
             {"backoff": evolve(ONCE, failure=FORBIDDEN), "suspect": True}),
        rule("a limit on attempts alone says how long", evolve(STARTED, backoff=TWICE), LIMITED,
             {"backoff": Backoff(1060.0, 2, LIMITED), "suspect": True}),
        rule("waiting for another process is no failure", STARTED, WAITED, {}),
        rule("another process's back-off is kept, and no failure", evolve(STARTED, backoff=ONCE), THEIRS,
             {"backoff": Backoff(1020.0, 1, THEIRS)}),
        rule("a token ends the suspicion", evolve(STARTED, suspect=True), HELD, {"record": HELD, "suspect": False}),
        rule("an answer without a token backs off", STARTED, MALFORMED, {"backoff": evolve(ONCE, failure=MALFORMED)}),
        rule("a failed renewal keeps the token", evolve(STARTED, record=HELD), TROUBLE, {"backoff": ONCE}),
        rule("a final refusal is for ever", STARTED, FINAL, {"backoff": REFUSED.backoff, "suspect": True}),
        rule("given up, a token is dropped", GIVEN_UP, HELD, {"pending": GIVEN_UP.pending}),
        rule("given up, trouble is no second failure", GIVEN_UP, TROUBLE, {"pending": GIVEN_UP.pending}),
        rule("given up, a final refusal counts", GIVEN_UP, FINAL,
             {"pending": GIVEN_UP.pending, "backoff": Backoff(math.inf, 1, FINAL), "suspect": True}),
        rule("and while no other runs", evolve(STARTED, pending=None), FINAL,
             {"backoff": REFUSED.backoff, "suspect": True}),
        rule("but not once other credentials are held", evolve(GIVEN_UP, identity=OTHER), FINAL,
             {"pending": GIVEN_UP.pending}),
        rule("after a reset, a token is dropped", RESET, HELD, {}),
        rule("after a reset, a final refusal is dropped", RESET, FINAL, {}),
    ],
)  # fmt: skip
def test_finished(cache: TokenCache, outcome: TokenRecord | Failure, changes: dict[str, Any]) -> None:
    assert cache.finished(0, Result("ours", outcome), NOON, 1.0) == evolve(cache, **{"pending": None, **changes})


@pytest.mark.parametrize(
    ("cache", "identity", "changes"),
    [
        rule("a new password keeps the token", RENEWING, evolve(OURS, fingerprint="new"), {}),
        rule("another account drops the token", RENEWING, OTHER, {"record": None}),
        rule("a back-off ends", evolve(STARTED, backoff=ONCE), OTHER, {"backoff": Backoff()}),
        rule("other credentials are not suspect", evolve(STARTED, suspect=True), OTHER, {"suspect": False}),
    ],
)
def test_moved(cache: TokenCache, identity: Identity, changes: dict[str, Any]) -> None:
    assert cache.moved(identity, 0) == evolve(cache, identity=identity, **changes)


def test_a_sign_in_from_before_a_reset_moves_nothing() -> None:
    assert RESET.moved(OTHER, 0) is RESET


@pytest.mark.parametrize(
    ("cache", "outcome", "requests", "news"),
    [
        rule("the same limit again is none", PAUSED, FINAL, 0, False),
        rule("the first limit", EMPTY, FINAL, 0, True),
        rule("a request that was refused again", PAUSED, FINAL, 1, True),
        rule("trouble after trouble", evolve(EMPTY, backoff=ONCE), TROUBLE, 0, True),
        rule("waiting for another process is none", EMPTY, WAITED, 0, False),
        rule("a token", PAUSED, HELD, 0, True),
    ],
)
def test_is_news(cache: TokenCache, outcome: TokenRecord | Failure, requests: int, news: bool) -> None:
    assert cache.is_news(Result("ours", outcome, requests)) is news


def test_a_rejected_token_costs_the_brake_one() -> None:
    assert HOLDING.rejected(HELD.token, NOON) == evolve(REJECTED, brake=Brake(1.0, 1000.0))


def test_an_expired_token_costs_the_brake_nothing() -> None:
    assert HOLDING.rejected(HELD.token, NOON.after(300)) == REJECTED


@pytest.mark.parametrize(
    "cache",
    [
        rule("no token is held", EMPTY),
        rule("another token is held", evolve(EMPTY, record=record("other"))),
        rule("the token was rejected", REJECTED),
        rule("the brake allows none", evolve(HOLDING, brake=Brake(0.0, 1000.0))),
    ],
)
def test_a_rejection_changes_nothing_if(cache: TokenCache) -> None:
    assert cache.rejected(HELD.token, NOON) is cache


@pytest.mark.parametrize(
    ("cache", "asked", "seconds", "just_issued"),
    [
        rule("no token is held", EMPTY, LONG_AGO, 0, False),
        rule("another token is held", evolve(EMPTY, record=record("other")), LONG_AGO, 0, False),
        rule("issued since", HOLDING, 999.9, 1, True),
        rule("issued before", HOLDING, 1000.0, 1, False),
        rule("issued since, and expired", HOLDING, 999.9, 300, False),
    ],
)
def test_just_issued(cache: TokenCache, asked: float, seconds: float, just_issued: bool) -> None:
    assert cache.just_issued(HELD.token, asked, NOON.after(seconds)) is just_issued


SETTINGS = {"rereads": True, "reread_at": 990.0}
FULL = evolve(RENEWING, backoff=REFUSED.backoff, brake=Brake(0.0, 1000.0), **SETTINGS)


def test_a_reset_forgets_all_but_its_settings_and_suspects_the_credentials() -> None:
    assert FULL.reset() == evolve(EMPTY, suspect=True, started_count=1, valid_from=1, **SETTINGS)


@pytest.mark.parametrize(("backoff", "kept"), [(REFUSED.backoff, REFUSED.backoff), (ONCE, Backoff())])
def test_a_forked_child_keeps_a_limit_on_attempts_only(backoff: Backoff, kept: Backoff) -> None:
    forked = evolve(FULL, backoff=backoff).afresh()
    assert forked == evolve(EMPTY, backoff=kept, started_count=1, valid_from=1, **SETTINGS)
