"""What a store's entries hold, as values (pure). Their times are seconds from when they were saved."""

from __future__ import annotations

from typing import Any

from attrs import asdict, evolve, frozen

from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.lifetime import Lesson, Lifetime, Moment, TokenRecord, Verdict
from enkash_auth._policy.outcome import Failure, Malformed, Refused, Unavailable
from enkash_auth._policy.token import make_token

_FAILURES: dict[str, type[Failure]] = {kind.__name__: kind for kind in (Refused, Unavailable, Malformed)}
FOREIGN = (KeyError, TypeError, ValueError)  # what an entry of another version of this package may raise
_LATE = 0.1  # seconds that a save may take to reach its store, where its time begins


@frozen
class Seen:
    """What a look into the store has found: the token, and what blocks a sign-in."""

    record: TokenRecord | None = None
    failure: Failure | None = None
    backoff: Backoff = Backoff()


def write_record(record: TokenRecord, now: Moment) -> dict[str, Any]:
    return {
        "access_token": record.token.access_token,
        "answered": record.answered.monotonic - now.monotonic,
        "lower": now.until(record.life.lower) - _LATE,
        "upper": record.life.upper.monotonic - now.monotonic,
        "sticky": max(0.0, record.sticky_until - now.monotonic),
        "first": record.first - now.monotonic,
        "floor": max(record.floor, record.first) - now.monotonic,
        "looks": record.looks,
        "lesson": asdict(record.lesson),
    }


def read_record(entry: dict[str, Any], saved: Moment, draw: float) -> TokenRecord:
    """Read a sibling's token; its renewal is drawn anew, so that a fleet does not renew in step."""
    answered, lower = saved.after(entry["answered"]), saved.after(entry["lower"])
    window = Lifetime.stated(answered.until(lower), answered, answered, draw).window
    token = make_token(entry["access_token"], lower.wall)
    life = Lifetime(lower, saved.after(entry["upper"]), window)
    return TokenRecord(
        token, life, answered, saved.monotonic + entry["first"], Lesson(**entry["lesson"]),
        floor=saved.monotonic + entry["floor"], looks=entry["looks"], sticky_until=saved.monotonic + entry["sticky"],
    )  # fmt: skip


def merge(ours: TokenRecord | None, theirs: TokenRecord) -> TokenRecord:
    """Return the later token, or the narrower bounds of the same one."""
    if ours is None:
        return theirs
    if ours.token.access_token == theirs.token.access_token:
        sticky_until = max(ours.sticky_until, theirs.sticky_until)
        return evolve(ours, life=ours.life.narrowed(theirs.life), sticky_until=sticky_until)
    return ours if ours.answered.monotonic > theirs.answered.monotonic else theirs


def adopt(ours: TokenRecord | None, seen: Seen, now: Moment) -> TokenRecord | Failure | None:
    """Return what makes a sign-in needless: a sibling's token that need not be renewed, or a failure that blocks it."""
    if (record := seen.record) and record is not ours:
        verdict, _ = record.verdict(now)
        if verdict is Verdict.SERVE or (verdict is Verdict.RENEW and not (ours and ours.alive(now))):
            return record
    return seen.failure


def write_failure(failure: Failure, backoff: Backoff | None = None, now: float = 0.0) -> dict[str, Any]:
    entry = {"kind": type(failure).__name__, "fields": asdict(failure)}
    return entry if backoff is None else {**entry, "until": backoff.until - now, "failures": backoff.failures}


def read_failure(entry: dict[str, Any], record: TokenRecord | None, saved: float, now: float) -> Seen:
    """Read what blocks a sign-in: a refusal for good, or a failure until its back-off is over."""
    failure = _FAILURES[entry["kind"]](**entry["fields"])
    if "until" not in entry:
        return Seen(record, failure)
    backoff = Backoff(saved + entry["until"], entry["failures"], failure)
    return Seen(record, backoff.blocks(now), backoff)
