"""How processes put what they know together (pure). Entries of a store count in seconds from their saving."""

from __future__ import annotations

from typing import Any

from attrs import asdict, evolve, field, frozen

from .._policy.lifetime import TokenRecord, Lifetime, Moment, Verdict
from .._policy.backoff import Backoff
from .._policy.outcome import Failure, Malformed, Refused, Unavailable
from .._policy.token import make_token

_FAILURES: dict[str, type[Failure]] = {kind.__name__: kind for kind in (Refused, Unavailable, Malformed)}
FOREIGN = (KeyError, TypeError, ValueError)  # what an entry of another version of this package may raise
_LATE = 0.1  # seconds that a save may take to reach its store, where its time begins


@frozen
class Seen:
    """What a look into the store has found: knowledge of the token, and what stops a sign-in."""

    known: TokenRecord | None = None
    stop: Failure | None = None
    gate: Backoff = field(factory=Backoff)


def write_record(known: TokenRecord, now: Moment) -> dict[str, Any]:
    return {
        "access_token": known.token.access_token,
        "answered": known.answered.monotonic - now.monotonic,
        "lower": now.until(known.life.lower) - _LATE,
        "upper": known.life.upper.monotonic - now.monotonic,
        "sticky": max(0.0, known.sticky_until - now.monotonic),
    }


def read_record(entry: dict[str, Any], saved: Moment, draw: float) -> TokenRecord:
    """Read a sibling's token; its renewal is drawn anew, so that a fleet does not renew in step."""
    answered, lower = saved.after(entry["answered"]), saved.after(entry["lower"])
    window = Lifetime.stated(answered.until(lower), answered, answered, draw).window
    token = make_token(entry["access_token"], lower.wall)
    life = Lifetime(lower, saved.after(entry["upper"]), window)
    return TokenRecord(token, life, answered, saved.monotonic + entry["sticky"])


def merge(ours: TokenRecord | None, theirs: TokenRecord) -> TokenRecord:
    """Return the later token, or the narrower bounds of the same one."""
    if ours is None:
        return theirs
    if ours.token.access_token == theirs.token.access_token:
        sticky_until = max(ours.sticky_until, theirs.sticky_until)
        return evolve(ours, life=ours.life.narrowed(theirs.life), sticky_until=sticky_until)
    return ours if ours.answered.monotonic > theirs.answered.monotonic else theirs


def adopt(ours: TokenRecord | None, seen: Seen, now: Moment) -> TokenRecord | Failure | None:
    """Return what makes a sign-in needless: a living token that nobody gave up and that need not be renewed; a stop."""
    if (known := seen.known) and known is not ours and not known.rejected:
        verdict, _ = known.look(now)
        if verdict is Verdict.SERVE or (verdict is Verdict.RENEW and not (ours and ours.alive(now))):
            return known
    return seen.stop


def write_failure(failure: Failure, gate: Backoff | None = None, now: float = 0.0) -> dict[str, Any]:
    entry = {"kind": type(failure).__name__, "fields": asdict(failure)}
    return entry if gate is None else {**entry, "opens": gate.opens - now, "failures": gate.failures}


def read_stop(entry: dict[str, Any], known: TokenRecord | None, saved: float, now: float) -> Seen:
    """Read what stops a sign-in: a refusal for good, a gate until it opens."""
    failure = _FAILURES[entry["kind"]](**entry["fields"])
    if "opens" not in entry:
        return Seen(known, failure)
    gate = Backoff(saved + entry["opens"], entry["failures"], failure)
    return Seen(known, gate.stops(now), gate)
