"""What one process knows of its account in the store, and how it reads and writes that: generators of commands.

An entry's times are seconds from when it was saved.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import asdict, define, evolve, field

from enkash_auth._policy.attempts import Decision, Ledger
from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.forecast import PROBES, Forecast
from enkash_auth._policy.lifetime import Lifetime, Moment, TokenRecord, Verdict
from enkash_auth._policy.memory import Memory
from enkash_auth._policy.outcome import Failure, Malformed, Refused, Unavailable
from enkash_auth._policy.token import make_token
from enkash_auth.stores import StoreError

from .commands import Delete, Ended, Read, Save, Steps, TooSlowError

Found = tuple[TokenRecord | None, Ledger, Backoff]  # what a store has of an account
_FOREVER = 10 * 365 * 86_400.0  # seconds that attempts and resets are kept
_LEASE = 6.0  # seconds at most
_BACKOFF = 300.0  # seconds that failures in a row are counted after the last
_LATE = 0.1  # seconds that a save may take to reach its store, where its time begins
_FAILURES: dict[str, type[Failure]] = {kind.__name__: kind for kind in (Refused, Unavailable, Malformed)}
_FOREIGN = (KeyError, TypeError, ValueError)  # what an entry of another version of this package may raise


@define
class Member:
    """One process, with one set of credentials. `strict`: a store that fails is a failure."""

    host: str
    timeout: float
    strict: bool
    new_id: Callable[[], str]
    draw: Callable[[], float]
    lead: float = 0.0  # seconds to connect in
    memory: Memory = field(factory=Memory)
    store_has_no_proof: bool = False  # it could be read last, and knows of no success
    trouble: str = "the token store failed"  # and how, when it last did

    @property
    def lease(self) -> float:
        """Seconds: siblings wait that long at most for a process that was killed."""
        return min(_LEASE, 0.6 * self.timeout)

    def store_failed(self, error: StoreError) -> None:
        """Note why; a store that is too slow counts as one that cannot be read either."""
        self.trouble = str(error)
        self.store_has_no_proof = self.store_has_no_proof and not isinstance(error, TooSlowError)

    def reset(self, id: str, now: Moment) -> Steps:
        """Let one more password through, for all processes."""
        self.memory = Memory(self.memory.ledger.after_reset(id, now))
        yield Save("reset", {"id": id}, _FOREVER)
        yield Delete("token")

    def look(self) -> Steps:
        _, record = yield from self.read_token(None)
        _, ledger, backoff, _ = yield from self.read_ledger()
        return record, ledger, backoff

    def read_token(self, record: TokenRecord | None) -> Steps:
        """Return the time, and the later of two tokens: `record` and what is saved."""
        now, found = yield Read("token")
        if found:
            with suppress(*_FOREIGN):
                record = _later(record, _read_record(found[0], now.after(-found[1]), self.draw()))
        return now, record

    def read_ledger(self) -> Steps:
        """Return the time, the ledger with what this process knows, its back-off, and whether all that is saved."""
        now, found = yield Read("ledger")
        ledger, backoff = Ledger(), Backoff()
        if found:
            with suppress(*_FOREIGN):
                saved = now.after(-found[1])
                ledger, backoff = Ledger.from_entry(found[0], saved), _read_backoff(found[0]["backoff"], saved, now)
        now, reset = yield Read("reset")
        known = ledger.after_reset(str((reset and reset[0].get("id")) or ""), now)
        restored = self.memory.restored(known)
        self.store_has_no_proof = not restored.proven
        return now, restored, backoff if known is ledger else Backoff(), restored == ledger

    def blocked(self, decision: Decision, backoff: Backoff, now: Moment) -> Failure | None:
        """Return why no password may leave now, if so."""
        return decision.failure(self.host, now.monotonic) if decision.row else backoff.blocks(now.monotonic)

    def adopted(self, record: TokenRecord | None) -> Ended:
        """Return how a sign-in ends with a sibling's token, which proves these credentials."""
        self.memory = evolve(self.memory, ledger=evolve(self.memory.ledger, proven=True))
        return Ended(record)

    def write(self, ledger: Ledger, backoff: Backoff, now: Moment) -> Steps:
        """Save the ledger while the lease is held; return the time, and whether it was."""
        entry = {**ledger.to_entry(now), "backoff": _write_backoff(backoff, now)}
        now, kept = yield Save("ledger", entry, _FOREVER, now)
        self.memory = self.memory.after(ledger, saved=kept)
        return now, kept

    def share(self, record: TokenRecord, now: Moment, sticky: bool) -> Steps:
        """Save a token for the siblings, and whether its server is sticky."""
        if not record.single_use or record.sticky(now):  # else it is for no sibling, and none waits for its end
            entry = _write_record(record, now)
            yield Save("token", entry, entry["upper"], now)
        if record.sticky(now) and not sticky:
            yield Save("sticky", {}, record.sticky_until - now.monotonic, now)
        elif sticky and not record.sticky(now):
            yield Delete("sticky")


def is_adopted(ours: TokenRecord | None, record: TokenRecord | None, now: Moment) -> bool:
    """Whether `record` is a sibling's token that makes a sign-in needless."""
    if record is None or record is ours:
        return False
    verdict, _ = record.verdict(now)
    return verdict is Verdict.SERVE or (verdict is Verdict.RENEW and not (ours and ours.alive(now)))


def _write_record(record: TokenRecord, now: Moment) -> dict[str, Any]:
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


def _read_record(entry: dict[str, Any], saved: Moment, draw: float) -> TokenRecord:
    """Read a sibling's token; its renewal is drawn anew, so that a fleet does not renew in step."""
    answered, lower = saved.after(entry["answered"]), saved.after(entry["lower"])
    window = Lifetime.stated(answered.until(lower), answered, answered, draw).window
    token = make_token(entry["access_token"], lower.wall)
    life, forecast = Lifetime(lower, saved.after(entry["upper"]), window), Forecast(**entry["forecast"])
    return TokenRecord(token, life, answered, forecast.moved(saved.monotonic), saved.monotonic + entry["sticky"])


def _later(ours: TokenRecord | None, theirs: TokenRecord) -> TokenRecord:
    """Return the later token, or the narrower bounds of the same one."""
    if ours is None:
        return theirs
    if ours.token.access_token == theirs.token.access_token:
        return evolve(
            ours, token=theirs.token, life=ours.life.narrowed(theirs.life),
            forecast=ours.forecast.merged(theirs.forecast), sticky_until=max(ours.sticky_until, theirs.sticky_until),
        )  # fmt: skip
    return ours if ours.answered.monotonic > theirs.answered.monotonic else theirs


def _write_backoff(backoff: Backoff, now: Moment) -> dict[str, Any]:
    if not backoff.failure:
        return {}
    failure = {"kind": type(backoff.failure).__name__, "fields": asdict(backoff.failure)}
    return {**failure, "until": backoff.until - now.monotonic, "failures": backoff.failures}


def _read_backoff(entry: dict[str, Any], saved: Moment, now: Moment) -> Backoff:
    """Read a back-off, which is forgotten some time after it is over."""
    if not entry or (until := saved.monotonic + entry["until"]) + _BACKOFF < now.monotonic:
        return Backoff()
    return Backoff(until, entry["failures"], _FAILURES[entry["kind"]](**entry["fields"]))
