"""What one process knows of its account in the store, and how it reads and writes that: generators of commands."""

from collections.abc import Callable
from contextlib import suppress

from attrs import define, evolve, field

from enkash_auth._policy.attempts import Decision, Ledger
from enkash_auth._policy.backoff import Backoff
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.memory import Memory
from enkash_auth._policy.outcome import Failure
from enkash_auth.stores import StoreError

from .commands import Delete, Ended, Read, Save, Steps, TooSlowError
from .entries import FOREIGN, merge, read_backoff, read_record, write_backoff, write_record

_FOREVER = 10 * 365 * 86_400.0  # seconds that attempts and resets are kept
_LEASE = 6.0  # seconds at most


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
        """Return what the store has: the token, the ledger and its back-off."""
        _, record = yield from self.read_token(None)
        _, ledger, backoff, _ = yield from self.read_ledger()
        return record, ledger, backoff

    def read_token(self, record: TokenRecord | None) -> Steps:
        """Return the time, and the later of two tokens: `record` and what is saved."""
        now, found = yield Read("token")
        if found:
            with suppress(*FOREIGN):
                record = merge(record, read_record(found[0], now.after(-found[1]), self.draw()))
        return now, record

    def read_ledger(self) -> Steps:
        """Return the time, the ledger with what this process knows, its back-off, and whether all that is saved."""
        now, found = yield Read("ledger")
        ledger, backoff = Ledger(), Backoff()
        if found:
            with suppress(*FOREIGN):
                saved = now.after(-found[1])
                ledger, backoff = Ledger.from_entry(found[0], saved), read_backoff(found[0]["backoff"], saved, now)
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
        entry = {**ledger.to_entry(now), "backoff": write_backoff(backoff, now)}
        now, kept = yield Save("ledger", entry, _FOREVER, now)
        self.memory = self.memory.after(ledger, saved=kept)
        return now, kept

    def share(self, record: TokenRecord, now: Moment, sticky: bool) -> Steps:
        """Save a token for the siblings, and whether its server is sticky."""
        if not record.single_use or record.sticky(now):  # else it is for no sibling, and none waits for its end
            entry = write_record(record, now)
            yield Save("token", entry, entry["upper"], now)
        if record.sticky(now) and not sticky:
            yield Save("sticky", {}, record.sticky_until - now.monotonic, now)
        elif sticky and not record.sticky(now):
            yield Delete("sticky")
