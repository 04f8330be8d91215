"""What a process itself knows of its attempts, beside what a store or a file says."""

from __future__ import annotations

from attrs import evolve, frozen

from .attempts import Attempt, Ledger, newest
from .classification import Kind


@frozen
class Memory:
    """What a process itself knows, so that a save that was lost, or a store that is away, loses nothing."""

    ledger: Ledger = Ledger()
    own: tuple[Attempt, ...] = ()

    def restored(self, found: Ledger) -> Ledger:
        """Return a ledger as found, with this process's own attempts, and proven if this process knows it."""
        ledger = evolve(found, proven=found.proven or self.ledger.proven, reset=found.reset or self.ledger.reset)
        for attempt in self.own:
            ledger = ledger.answered(attempt)
        return ledger

    def keeping(self, attempt: Attempt) -> Memory:
        """Remember an attempt of this process's, or its answer."""
        own = [one for one in self.own if one.id != attempt.id]
        if attempt.kind is Kind.SUCCESS:  # it clears those before it from any ledger
            own = [one for one in own if one.reset != attempt.reset or not one.cleared_by(attempt)]
        return Memory(self.ledger.answered(attempt), tuple(newest([*own, attempt])))

    def inherited(self) -> Memory:
        """Return what a forked child knows: its parent will answer the attempts that are under way."""
        return evolve(self, own=tuple(one for one in self.own if one.kind is not Kind.OPEN))

    def unread(self, ledger: Ledger) -> bool:
        """Whether a person has reset, and no success followed: the credentials' source has to be read first."""
        return ledger.reset != self.ledger.reset and any(one.kind is Kind.RESET for one in ledger.attempts)

    def after(self, ledger: Ledger, *, saved: bool, read: bool = False) -> Memory:
        """Remember a ledger, unless unread; forget own attempts that were cleared and, once `saved`, that clear."""
        ids, clearing = [one.id for one in ledger.attempts], () if saved else (Kind.REMOVED, Kind.SUCCESS, Kind.UNKNOWN)
        known = Memory(ledger, tuple(one for one in self.own if one.id in ids or one.kind in clearing))
        return self if self.unread(ledger) and not read else known
