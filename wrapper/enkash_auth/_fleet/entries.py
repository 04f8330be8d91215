"""What a store's entries hold, as values (pure). Their times are seconds from when they were saved."""

from typing import Any

from attrs import asdict, evolve

from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.forecast import PROBES, Forecast
from enkash_auth._policy.lifetime import Lifetime, Moment, TokenRecord, Verdict
from enkash_auth._policy.outcome import Failure, Malformed, Refused, Unavailable
from enkash_auth._policy.token import make_token

_FAILURES: dict[str, type[Failure]] = {kind.__name__: kind for kind in (Refused, Unavailable, Malformed)}
FOREIGN = (KeyError, TypeError, ValueError)  # what an entry of another version of this package may raise
_MEMORY = 300.0  # seconds that failures in a row are counted after the last
_LATE = 0.1  # seconds that a save may take to reach its store, where its time begins


def write_record(record: TokenRecord, now: Moment) -> dict[str, Any]:
    forecast = record.forecast
    if record.probe_in(now) is None:
        forecast = evolve(forecast, probes=PROBES)  # no sibling has to probe
    return {
        "access_token": record.token.access_token,
        "answered": record.answered.monotonic - now.monotonic,
        "lower": now.until(record.life.lower) - _LATE,
        "upper": record.life.upper.monotonic - now.monotonic,
        "sticky": max(0.0, record.sticky_until - now.monotonic),
        "forecast": asdict(forecast.moved(-now.monotonic)),
    }


def read_record(entry: dict[str, Any], saved: Moment, draw: float) -> TokenRecord:
    """Read a sibling's token; its renewal is drawn anew, so that a fleet does not renew in step."""
    answered, lower = saved.after(entry["answered"]), saved.after(entry["lower"])
    window = Lifetime.stated(answered.until(lower), answered, answered, draw).window
    token = make_token(entry["access_token"], lower.wall)
    life, forecast = Lifetime(lower, saved.after(entry["upper"]), window), Forecast(**entry["forecast"])
    return TokenRecord(token, life, answered, forecast.moved(saved.monotonic), saved.monotonic + entry["sticky"])


def merge(ours: TokenRecord | None, theirs: TokenRecord) -> TokenRecord:
    """Return the later token, or the narrower bounds of the same one."""
    if ours is None:
        return theirs
    if ours.token.access_token == theirs.token.access_token:
        return evolve(
            ours, token=theirs.token, life=ours.life.narrowed(theirs.life),
            forecast=ours.forecast.merged(theirs.forecast), sticky_until=max(ours.sticky_until, theirs.sticky_until),
        )  # fmt: skip
    return ours if ours.answered.monotonic > theirs.answered.monotonic else theirs


def is_adopted(ours: TokenRecord | None, record: TokenRecord | None, now: Moment) -> bool:
    """Whether `record` is a sibling's token that makes a sign-in needless."""
    if record is None or record is ours:
        return False
    verdict, _ = record.verdict(now)
    return verdict is Verdict.SERVE or (verdict is Verdict.RENEW and not (ours and ours.alive(now)))


def write_backoff(backoff: Backoff, now: Moment) -> dict[str, Any]:
    """Return plain data; empty if there is no back-off."""
    if not backoff.failure:
        return {}
    failure = {"kind": type(backoff.failure).__name__, "fields": asdict(backoff.failure)}
    return {**failure, "until": backoff.until - now.monotonic, "failures": backoff.failures}


def read_backoff(entry: dict[str, Any], saved: Moment, now: Moment) -> Backoff:
    """Read a back-off, which is forgotten some time after it is over."""
    if not entry or (until := saved.monotonic + entry["until"]) + _MEMORY < now.monotonic:
        return Backoff()
    return Backoff(until, entry["failures"], _FAILURES[entry["kind"]](**entry["fields"]))
