"""How a fleet signs in, as generators of commands: a shell carries the commands out, and an explorer plays them.

The reply to a command is the time now and a value. A store that fails raises `StoreError` where its command was
yielded. The process with the lease writes an attempt, sends, and writes the answer; the others adopt what it saves.
"""

from contextlib import suppress

from attrs import evolve, frozen

from enkash_auth._policy.attempts import Ledger
from enkash_auth._policy.backoff import Backoff, second_request
from enkash_auth._policy.classification import Answer, Kind
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Unavailable
from enkash_auth.stores import StoreError

from .commands import Ended, Lease, Pause, Read, Release, Send, Source, Steps
from .member import Member, is_adopted

_GRANT = 5.0  # seconds at most of the requests under a lease
_FIRST_POLL, _POLL = 0.1, 0.5  # seconds between two looks while a sibling signs in


@frozen
class _Ready:
    """What a request is sent with, until `limit`: then the lease may have ended. The sign-in lasts until `deadline`."""

    record: TokenRecord | None
    limit: Moment
    deadline: Moment
    ledger: Ledger = Ledger()
    backoff: Backoff = Backoff()
    shared: bool = True


def sign_in(
    member: Member, record: TokenRecord | None, now: Moment, deadline: Moment, *, reachable: bool = True
) -> Steps:
    """Adopt what a sibling has saved, or send a sign-in's one or two requests; return how it `Ended`."""
    if reachable:
        member.store_has_no_proof = False
        try:
            ended = yield from _adopt_or_lease(member, record, deadline)
            if isinstance(ended, _Ready):
                ended = yield from _requests(member, ended, now)
            yield Release()
            return ended
        except StoreError as error:
            now, _ = yield Release()
            member.store_failed(error)
            if member.strict:
                return Ended(Unavailable(str(error), member.host))
    if member.store_has_no_proof and not member.memory.ledger.proven:  # each process would send a password of its own
        why = f"{member.trouble}. It can be read, but not written: check its space and permissions"
        return Ended(Unavailable(why, member.host))
    alone = _Ready(record, deadline, deadline, member.memory.ledger, shared=False)
    return (yield from _requests(member, alone, now))


def _adopt_or_lease(member: Member, record: TokenRecord | None, deadline: Moment) -> Steps:
    """Wait for a sibling's outcome or the lease, whichever comes first."""
    ours, poll = record, _FIRST_POLL
    now, record = yield from member.read_token(record)
    if not is_adopted(ours, record, now):
        now, ledger, backoff, saved = yield from member.read_ledger()
        member.memory = member.memory.after(ledger, saved=saved)
        # only who has the lease knows that no attempt is under way
        decision = ledger.decide(now, [one.id for one in ledger.attempts])
        failure = member.blocked(decision, backoff, now)
        if failure and saved and (decision.attempt or not decision.row):
            return Ended(failure, decision=decision)
    while not is_adopted(ours, record, now):
        asked = now
        now, leased = yield Lease(member.lease)
        if leased:
            limit = Moment(*map(min, deadline, asked.after(min(_GRANT, member.timeout / 2))))
            return (yield from _look_again(member, ours, _Ready(record, limit, deadline)))
        # the holder waits until a sticky server's token has expired, and then for the answer
        ends = _waits(record, now, deadline)
        pause = poll * (0.5 + member.draw()) + (ends + record.forecast.trip if record and ends else 0.0)
        if now.until(deadline) <= pause:
            return Ended(Unavailable("another process is signing in", member.host, late=True))
        yield Pause(pause)
        poll = min(_POLL, 1.5 * poll)
        now, record = yield from member.read_token(record)
    return member.adopted(record)


def _look_again(member: Member, ours: TokenRecord | None, ready: _Ready) -> Steps:
    """Decide under the lease: a sibling may have saved something between the first look and that."""
    now, record = yield from member.read_token(ready.record)
    if is_adopted(ours, record, now):
        return member.adopted(record)
    now, ledger, backoff, saved = yield from member.read_ledger()
    if member.memory.unread(ledger):
        now, instead = yield Source()
        if instead is not None:
            return Ended(instead)
    member.memory = member.memory.after(ledger, saved=saved, read=True)
    decision = ledger.decide(now)
    if failure := member.blocked(decision, backoff, now):
        if not saved:
            yield from member.write(ledger, backoff, now)
        return Ended(failure, decision=decision)
    return evolve(ready, record=record, ledger=ledger, backoff=backoff)


def _requests(member: Member, ready: _Ready, now: Moment) -> Steps:
    """Wait until a request brings something, send it and perhaps a second one, and share the token."""
    sticky = None
    if ready.shared:
        now, sticky = yield Read("sticky")
    if ready.record and sticky:
        ready = evolve(ready, record=evolve(ready.record, sticky_until=now.monotonic + sticky[2]))
    waits = _waits(ready.record, now, ready.limit)
    if now.until(ready.limit) <= waits:
        reason = "the server re-issues its current token until that expires" if waits else "no time was left"
        return Ended(Unavailable(reason, member.host, waits or None, late=not waits))
    now, ended, after, saved = yield from _request(member, ready, now, waits)
    again = second_request(ended.outcome, now, now.until(ready.limit), member.draw(), before=ready.record)
    if again is not None and ended.requests and saved:
        record = ended.outcome if isinstance(ended.outcome, TokenRecord) else ready.record
        after = evolve(after, record=record, backoff=ready.backoff)  # both requests are one failure
        now, second, _, saved = yield from _request(member, after, now, again)
        ended = evolve(second, outcome=second.outcome or ended.outcome, requests=ended.requests + second.requests)
    outcome = ended.outcome
    if not isinstance(outcome, TokenRecord):
        outcome = outcome or ended.decision.failure(member.host, now.monotonic)
        return evolve(ended, outcome=ended.decision.limiting(outcome, now.monotonic))
    if ready.shared and saved:
        if ready.record is None and sticky:
            outcome = evolve(outcome, sticky_until=now.monotonic + sticky[2])
        with suppress(StoreError):
            yield from member.share(outcome, now, sticky is not None)
    return evolve(ended, outcome=outcome)


def _request(member: Member, ready: _Ready, now: Moment, pause: float) -> Steps:
    """Send one request after a pause, if the ledger allows it.

    Return the time, how that `Ended`, what follows, and whether that is saved.
    """
    leaves = now.monotonic + pause
    if pause > member.lead:
        now, _ = yield Pause(pause - member.lead)
    decision = ready.ledger.decide(now)
    if not (ready.shared or ready.ledger.proven or decision.row) and decision.passwords:
        # a process that lacks its store sends unproven credentials once
        decision = evolve(decision, row=Kind.OPEN, attempt=ready.ledger.attempts[-1])
    if decision.row:
        return now, Ended(None, decision=decision), ready, False
    ledger, attempt = ready.ledger.started(member.new_id(), now)
    member.memory = member.memory.keeping(attempt)
    written, backoff = True, ready.backoff
    outcome, answer = Unavailable("another process is signing in", member.host, late=True), Answer(departed=False)
    if ready.shared:
        try:
            now, written = yield from member.write(ledger, backoff, now)
        except StoreError as error:
            member.store_failed(error)
            written = ledger.proven and not member.strict
            outcome = Unavailable(f"an attempt could not be recorded first: {error}", member.host)
    if can_send := written and now.until(ready.limit) > 0:
        now, (outcome, answer) = yield Send(ready.record, ready.limit, leaves)
        failed = not isinstance(outcome, TokenRecord)
        backoff = backoff.failed(outcome, now.monotonic, member.draw()) if failed else Backoff()
    attempt = attempt.answered(answer)
    if not ready.shared and attempt.kind is not Kind.SUCCESS:  # a sibling's success may have come before this answer
        attempt = evolve(attempt, start=now)
    member.memory, ledger = member.memory.keeping(attempt), ledger.answered(attempt)
    ready, saved = evolve(ready, ledger=ledger, backoff=backoff), not ready.shared
    if ready.shared and written:
        saved = yield from _record(member, ready, now)
    return now, Ended(outcome, int(can_send), ledger.decide(now)), ready, saved


def _record(member: Member, ready: _Ready, now: Moment) -> Steps:
    """Save an answer; return whether the lease was still held.

    If it was not, the answer is saved under one that is taken again, or else with this process's next attempt.
    """
    kept = leased = False
    with suppress(StoreError):
        now, kept = yield from member.write(ready.ledger, ready.backoff, now)
        while not (kept or leased) and now.until(ready.deadline) > _POLL:
            now, leased = yield Lease(member.lease)
            if not leased:
                now, _ = yield Pause(_POLL)
        if leased:
            now, ledger, backoff, _ = yield from member.read_ledger()
            yield from member.write(ledger, backoff, now)
    return kept


def _waits(record: TokenRecord | None, now: Moment, deadline: Moment) -> float:
    return record.seconds_until_request(now, now.until(deadline)) if record else 0.0
