"""How a fleet signs in, as generators of commands: a shell carries the commands out, and an explorer plays them.

The reply to a command is the time now and a value. A store that fails raises `StoreError` where its command was
yielded. The process with the lease writes an attempt, sends, and writes the answer; the others adopt what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Literal

from attrs import define, evolve, field, frozen

from enkash_auth._policy.attempts import Decision, Ledger, Memory
from enkash_auth._policy.backoff import Backoff, second_request
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import NEVER, Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Refused, Unavailable
from enkash_auth.stores import StoreError

from .entries import FOREIGN, is_adopted, merge, read_backoff, read_record, write_backoff, write_record

_FOREVER = 10 * 365 * 86_400.0  # seconds that attempts and resets are kept
_LEASE, _GRANT = 6.0, 5.0  # seconds at most: of a lease, and of the requests under it
_FIRST_POLL, _POLL = 0.1, 0.5  # seconds between two looks while a sibling signs in

Entry = Literal["token", "sticky", "ledger", "reset"]


@frozen
class Read:
    """Reply: the entry, the seconds since it was written and the seconds that it is still kept; or None."""

    kind: Entry


@frozen
class Save:
    """Reply: whether the entry, as written at that time, was kept; if `fenced`, only while the lease is held."""

    kind: Entry
    entry: Mapping[str, Any]
    seconds: float
    written: Moment
    fenced: bool = True


@frozen
class Delete:
    kind: Entry


@frozen
class Lease:
    """Reply: whether this process has the lease now, and no other."""

    seconds: float


@frozen
class Release:
    """Give the lease back, if it is held; this raises nothing."""


@frozen
class Send:
    """Send one token request, if that is possible before `deadline` by both clocks. Reply: a `Sent`.

    Its header leaves no sooner than `leaves` (monotonic).
    """

    record: TokenRecord | None
    deadline: Moment
    leaves: float


@frozen
class Sent:
    outcome: TokenRecord | Failure
    answer: Answer


@frozen
class Pause:
    seconds: float


@frozen
class Source:
    """Read the credentials' source. Reply: whether it still names these."""


@frozen
class Ended:
    """How a sign-in ended. `outcome` is None if the source names other credentials by now.

    `decision` says what the ledger allows next, if anything was sent or the ledger forbade it.
    """

    outcome: TokenRecord | Failure | None
    requests: int = 0
    decision: Decision | None = None


@frozen
class _Ready:
    """What a request is sent with, until `limit`: then the lease may have ended. The sign-in lasts until `deadline`."""

    record: TokenRecord | None
    ledger: Ledger
    backoff: Backoff
    limit: Moment
    deadline: Moment
    shared: bool = True
    leaves: float = NEVER


Command = Read | Save | Delete | Lease | Release | Send | Pause | Source
Steps = Generator[Command, Any, Any]


@define
class Member:
    """What one process does with one set of credentials. `strict`: a store that fails is a failure."""

    host: str
    timeout: float
    strict: bool
    new_id: Callable[[], str]
    draw: Callable[[], float]
    lead: float = 0.0  # seconds to connect in
    memory: Memory = field(factory=Memory)
    unproven: bool = False  # whether the store could be read last, and knows of no success

    def sign_in(self, record: TokenRecord | None, now: Moment, deadline: Moment, *, reachable: bool = True) -> Steps:
        """Adopt what a sibling has saved, or send a sign-in's one or two requests; return how it `Ended`."""
        if reachable:
            self.unproven = False
            try:
                ended = yield from self._adopt_or_lease(record, deadline)
                if isinstance(ended, _Ready):
                    ended = yield from self._requests(ended, now)
                yield Release()
                return ended
            except StoreError as error:
                now, _ = yield Release()
                if self.strict:
                    return Ended(Unavailable(f"the token store failed ({error})", self.host))
        if self.unproven and not self.memory.ledger.proven:  # each process would send a password of its own
            return Ended(Unavailable("the token store can be read, but not written", self.host))
        return (
            yield from self._requests(
                _Ready(record, self.memory.ledger, Backoff(), deadline, deadline, shared=False), now
            )
        )

    def reset(self, id: str, now: Moment) -> Steps:
        """Let one more password through, for all processes."""
        self.memory = Memory(self.memory.ledger.after_reset(id, now))
        yield Save("reset", {"id": id}, _FOREVER, now, fenced=False)
        yield Delete("token")

    def look(self, record: TokenRecord | None) -> Steps:
        """Return what the store has: the token, the ledger and its back-off."""
        _, record = yield from self._read_token(record)
        _, ledger, backoff, _ = yield from self._read_ledger()
        return record, ledger, backoff

    # before a request

    def _adopt_or_lease(self, record: TokenRecord | None, deadline: Moment) -> Steps:
        """Wait for a sibling's outcome or the lease, whichever comes first."""
        ours, poll = record, _FIRST_POLL
        now, record = yield from self._read_token(record)
        if not is_adopted(ours, record, now):
            now, ledger, backoff, saved = yield from self._read_ledger()
            if ledger.reset == self.memory.ledger.reset:
                self.memory = self.memory.after(ledger, saved=saved)
            # only who has the lease knows that no attempt is under way
            decision = ledger.decide(now, [one.id for one in ledger.attempts])
            failure = self._blocked(decision, backoff, now)
            if failure and saved and (decision.attempt or not decision.row):
                return Ended(failure, decision=decision)
        while not is_adopted(ours, record, now):
            asked = now
            now, leased = yield Lease(self._lease)
            if leased:
                limit = Moment(*map(min, deadline, asked.after(min(_GRANT, self.timeout / 2))))
                return (yield from self._look_again(ours, record, limit, deadline))
            # the holder itself waits until a sticky server's token has surely expired
            pause = poll * (0.5 + self.draw()) + _waits(record, now, deadline)
            if now.until(deadline) <= pause:
                return Ended(Unavailable("another process is signing in", self.host, late=True))
            yield Pause(pause)
            poll = min(_POLL, 1.5 * poll)
            now, record = yield from self._read_token(record)
        return self._adopted(record)

    def _look_again(
        self, ours: TokenRecord | None, record: TokenRecord | None, limit: Moment, deadline: Moment
    ) -> Steps:
        """Decide under the lease: a sibling may have saved something between the first look and that."""
        now, record = yield from self._read_token(record)
        if is_adopted(ours, record, now):
            return self._adopted(record)
        now, ledger, backoff, saved = yield from self._read_ledger()
        if ledger.reset != self.memory.ledger.reset:
            now, same = yield Source()
            if not same:
                return Ended(None)
        self.memory = self.memory.after(ledger, saved=saved)
        decision = ledger.decide(now)
        if failure := self._blocked(decision, backoff, now):
            if not saved:
                yield from self._write(ledger, backoff, now)
            return Ended(failure, decision=decision)
        return _Ready(record, ledger, backoff, limit, deadline)

    def _adopted(self, record: TokenRecord | None) -> Ended:
        self.memory = evolve(self.memory, ledger=evolve(self.memory.ledger, proven=True))
        return Ended(record)

    def _blocked(self, decision: Decision, backoff: Backoff, now: Moment) -> Failure | None:
        return decision.failure(self.host, now.monotonic) if decision.row else backoff.blocks(now.monotonic)

    @property
    def _lease(self) -> float:
        return min(_LEASE, 0.6 * self.timeout)

    def _read_token(self, record: TokenRecord | None) -> Steps:
        now, found = yield Read("token")
        if found:
            with suppress(*FOREIGN):
                record = merge(record, read_record(found[0], now.after(-found[1]), self.draw()))
        return now, record

    def _read_ledger(self) -> Steps:
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
        self.unproven = not restored.proven
        return now, restored, backoff if known is ledger else Backoff(), restored == ledger

    # requests

    def _requests(self, ready: _Ready, now: Moment) -> Steps:
        """Send one request, or two; a process that lacks its store sends unproven credentials once."""
        record, sticky = ready.record, None
        if ready.shared:
            now, sticky = yield Read("sticky")
        if record and sticky:
            record = evolve(record, sticky_until=now.monotonic + sticky[2])
        waits = _waits(record, now, ready.limit)
        if now.until(ready.limit) <= waits:
            reason = "the server re-issues its current token until that expires" if waits else "no time was left"
            return Ended(Unavailable(reason, self.host, waits or None, late=not waits))
        pause: float | None = waits
        ended, ready, before = Ended(None), evolve(ready, record=record), ready.backoff
        while pause is not None:
            ready = evolve(ready, leaves=now.monotonic + pause)
            if pause > self.lead:
                now, _ = yield Pause(pause - self.lead)
            decision = ready.ledger.decide(now)
            if not (ready.shared or ready.ledger.proven or decision.row) and decision.passwords:
                decision = evolve(decision, row=Kind.OPEN, attempt=ready.ledger.attempts[-1])
            if decision.row:
                failure = ended.outcome or decision.failure(self.host, now.monotonic)
                return Ended(failure, ended.requests, decision)
            ready = evolve(ready, backoff=before)  # both requests are one failure
            now, outcome, sent, ready, recorded = yield from self._attempt(ready, now)
            ended = Ended(outcome, ended.requests + sent, ready.ledger.decide(now))
            again = second_request(outcome, now, now.until(ready.limit), self.draw())
            if isinstance(outcome, TokenRecord):
                ready = evolve(ready, record=outcome)
            pause = again if recorded and sent and ended.requests == 1 else None
        if isinstance(outcome, Refused) and ended.decision:
            ended = evolve(ended, outcome=evolve(outcome, final=ended.decision.final))
        if isinstance(outcome, TokenRecord) and recorded and ready.shared:
            if record is None and sticky:
                outcome = evolve(outcome, sticky_until=now.monotonic + sticky[2])
                ended = evolve(ended, outcome=outcome)
            with suppress(StoreError):
                yield from self._share(outcome, now, sticky is not None)
        return ended

    def _attempt(self, ready: _Ready, now: Moment) -> Steps:
        """Send one request; return the time, its outcome, whether it was sent, what follows, and if that is saved."""
        ledger, attempt = ready.ledger.started(self.new_id(), now)
        self.memory = self.memory.keeping(attempt)
        written, backoff = True, ready.backoff
        unsent = Unavailable("another process is signing in", self.host, late=True)
        if ready.shared:
            try:
                now, written = yield from self._write(ledger, backoff, now)
            except StoreError as error:
                written = ledger.proven and not self.strict
                unsent = Unavailable(f"the token store cannot be written ({error})", self.host)
        sent = Sent(unsent, Answer(left=False))
        if can_send := written and now.until(ready.limit) > 0:
            now, sent = yield Send(ready.record, ready.limit, ready.leaves)
            failed = not isinstance(sent.outcome, TokenRecord)
            backoff = backoff.failed(sent.outcome, now.monotonic, self.draw()) if failed else Backoff()
        attempt = attempt.answered(sent.answer)
        self.memory, ledger = self.memory.keeping(attempt), ledger.answered(attempt)
        recorded = not ready.shared
        if ready.shared and written:
            recorded = yield from self._record(evolve(ready, ledger=ledger, backoff=backoff), now)
        return now, sent.outcome, can_send, evolve(ready, ledger=ledger, backoff=backoff), recorded

    def _record(self, ready: _Ready, now: Moment) -> Steps:
        """Save an answer; return whether the lease was still held.

        If it was not, the answer is saved under one that is taken again, or else with this process's next attempt.
        """
        kept = False
        with suppress(StoreError):
            now, kept = yield from self._write(ready.ledger, ready.backoff, now)
            leased = False
            while not (kept or leased) and now.until(ready.deadline) > _POLL:
                now, leased = yield Lease(self._lease)
                if not leased:
                    now, _ = yield Pause(_POLL)
            if leased:
                now, ledger, backoff, _ = yield from self._read_ledger()
                yield from self._write(ledger, backoff, now)
        return kept

    def _write(self, ledger: Ledger, backoff: Backoff, now: Moment) -> Steps:
        """Save the ledger while the lease is held; return the time, and whether it was."""
        entry = {**ledger.to_entry(now), "backoff": write_backoff(backoff, now)}
        now, kept = yield Save("ledger", entry, _FOREVER, now)
        self.memory = self.memory.after(ledger, saved=kept)
        return now, kept

    def _share(self, record: TokenRecord, now: Moment, sticky: bool) -> Steps:
        """Save a token for the siblings, and whether its server is sticky."""
        if not record.single_use or record.sticky(now):  # else it is for no sibling, and none waits for its end
            entry = write_record(record, now)
            yield Save("token", entry, entry["upper"], now)
        if record.sticky(now) and not sticky:
            yield Save("sticky", {}, record.sticky_until - now.monotonic, now)
        elif sticky and not record.sticky(now):
            yield Delete("sticky")


def _waits(record: TokenRecord | None, now: Moment, deadline: Moment) -> float:
    return record.seconds_until_request(now, now.until(deadline)) if record else 0.0
