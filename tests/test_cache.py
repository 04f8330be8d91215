"""What a provider knows, and each transition of it: on values alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import evolve

from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.brake import Brake
from enkash_auth._policy.cache import Fail, Identity, Join, Pending, Result, Serve, Start, TokenCache
from enkash_auth._policy.lifetime import NEVER, Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Issued, Malformed, Refused, Unavailable

NOON = Moment(1000.0, 1e9)


def record(access_token: str = "t") -> TokenRecord:
    """A token of noon that is renewed after 240 seconds and expires after 300."""
    return TokenRecord.from_answer(Issued(access_token, 300.0), NOON, NOON, before=None, draw=0.5)


HELD = record()
TROUBLE, FORBIDDEN = Unavailable("status 503", "host"), Refused(403, None, False, "host")
FINAL = Refused(400, "invalid_grant", True, "host")
OURS, OTHER = Identity("host", ("user",), "ours"), Identity("host", ("other",), "other")
EMPTY = TokenCache(OURS, timeout=10.0)
STARTED = EMPTY.started(1000.0)
HOLDING = evolve(EMPTY, record=HELD)
RENEWING = HOLDING.started(1250.0)
REFUSED = evolve(EMPTY, refusals={"ours": FINAL})
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
        rule("a refusal of other credentials forbids nothing", evolve(EMPTY, refusals={"x": FINAL}), 0, Start(None)),
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
    ("backoff", "decision"), [(ONCE, Start(None)), (TWICE, Fail(evolve(TROUBLE, retry_after=2.0)))]
)
def test_a_caller_that_waited_in_vain_may_start_another_sign_in_after_one_failure(
    backoff: Backoff, decision: object
) -> None:
    assert evolve(EMPTY, backoff=backoff).ask(NOON, late=True) == decision


def test_a_sign_in_that_starts_has_a_number_and_an_end() -> None:
    assert EMPTY.started(1000.0) == evolve(EMPTY, pending=Pending(0, 1010.0), started_count=1)
    assert STARTED.started(1020.0).pending == Pending(1, 1030.0)


def test_a_sign_in_with_refused_credentials_reads_their_source() -> None:
    assert REFUSED.started(1000.0).reread_at == 1000.0


@pytest.mark.parametrize(
    ("cache", "now", "overdue"), [(EMPTY, math.inf, False), (STARTED, 1009.9, False), (STARTED, 1010.0, True)]
)
def test_a_sign_in_is_overdue_at_its_end(cache: TokenCache, now: float, overdue: bool) -> None:
    assert cache.overdue(now) is overdue


def test_a_sign_in_that_is_given_up_is_a_failure() -> None:
    late = Unavailable("no answer within 10 s", "host", late=True)
    assert STARTED.given_up(1010.0, 1.0) == evolve(STARTED, pending=None, backoff=Backoff(1011.0, 1, late))


GIVEN_UP = STARTED.given_up(1010.0, 1.0).started(1020.0)
MALFORMED = Malformed("no token", "host")


@pytest.mark.parametrize(
    ("cache", "outcome", "changes"),
    [
        rule("a token ends the back-off", evolve(STARTED, backoff=TWICE), HELD, {"record": HELD, "backoff": Backoff()}),
        rule("trouble backs off", STARTED, TROUBLE, {"backoff": ONCE}),
        rule("trouble in a row backs off for longer", evolve(STARTED, backoff=ONCE), TROUBLE, {"backoff": TWICE}),
        rule("a refusal that is not final backs off", STARTED, FORBIDDEN, {"backoff": evolve(ONCE, failure=FORBIDDEN)}),
        rule("an answer without a token backs off", STARTED, MALFORMED, {"backoff": evolve(ONCE, failure=MALFORMED)}),
        rule("a failed renewal keeps the token", evolve(STARTED, record=HELD), TROUBLE, {"backoff": ONCE}),
        rule("a final refusal counts beside others", evolve(STARTED, refusals={"x": FINAL}), FINAL,
             {"refusals": {"x": FINAL, "ours": FINAL}}),
        rule("given up, a token is dropped", GIVEN_UP, HELD, {"pending": GIVEN_UP.pending}),
        rule("given up, trouble is no second failure", GIVEN_UP, TROUBLE, {"pending": GIVEN_UP.pending}),
        rule("given up, a final refusal counts", GIVEN_UP, FINAL,
             {"pending": GIVEN_UP.pending, "refusals": {"ours": FINAL}}),
        rule("and while no other runs", evolve(STARTED, pending=None), FINAL, {"refusals": {"ours": FINAL}}),
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
    ],
)
def test_moved(cache: TokenCache, identity: Identity, changes: dict[str, Any]) -> None:
    assert cache.moved(identity, 0) == evolve(cache, identity=identity, **changes)


def test_a_sign_in_from_before_a_reset_moves_nothing() -> None:
    assert RESET.moved(OTHER, 0) is RESET


def test_one_refusal_is_reopened() -> None:
    assert evolve(REFUSED, refusals={"ours": FINAL, "x": FINAL}).reopened("ours").refusals == {"x": FINAL}


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
        rule("no token is held", EMPTY, NEVER, 0, False),
        rule("another token is held", evolve(EMPTY, record=record("other")), NEVER, 0, False),
        rule("issued since", HOLDING, 999.9, 1, True),
        rule("issued before", HOLDING, 1000.0, 1, False),
        rule("issued since, and expired", HOLDING, 999.9, 300, False),
    ],
)
def test_just_issued(cache: TokenCache, asked: float, seconds: float, just_issued: bool) -> None:
    assert cache.just_issued(HELD.token, asked, NOON.after(seconds)) is just_issued


FULL = evolve(RENEWING, refusals={"ours": FINAL}, backoff=ONCE, brake=Brake(0.0, 1000.0), rereads=True, reread_at=990.0)


@pytest.mark.parametrize(("keep", "refusals"), [(False, {}), (True, {"ours": FINAL})])
def test_a_reset_forgets_all_but_its_settings(keep: bool, refusals: dict[str, Refused]) -> None:
    kept = {"rereads": True, "reread_at": 990.0, "started_count": 1, "valid_from": 1}
    assert FULL.reset(keep_refusals=keep) == evolve(EMPTY, refusals=refusals, **kept)
