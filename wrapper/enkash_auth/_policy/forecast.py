"""When a sticky server's token probably expires, and when a probe leaves to find out.

An answer of `k` seconds to a request that left at `s` proves that the token is good until `s + k`. So a *probe*, a
request that leaves a whole number of seconds before some time, shows whether the token is still good at that time.
Probes bring the bounds of the expiry close together, and callers wait a *gap* at most between the last use of a token
and the next request. docs/engine.md has the timeline of one token. All times here are monotonic seconds.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from attrs import evolve, frozen

PROBES = 3  # for one token, at most
_GAP = 0.15  # seconds that a gap is longer than two round trips
_MARGIN = 0.025  # seconds by which one trip may be slower than another


class Bounds(NamedTuple):
    """What is proven: the token expires after `lower`, and not after `upper`."""

    lower: float
    upper: float


@frozen
class Forecast:
    """What earlier tokens say about one that was first answered at `first`.

    If that answer made the token, it expires `least` seconds after `first`, or up to a gap later. If another client had
    asked for it before, it expires sooner, but after `floor`.
    """

    first: float
    trip: float  # seconds of the fastest round trip with this token
    least: float = -inf  # as long as no token has expired
    floor: float = -inf
    probes: int = 0

    @property
    def gap(self) -> float:
        """The seconds that callers may have to wait for the next request."""
        return 2 * self.trip + _GAP

    def after_answer(self, proven: Bounds, trip: float, *, probe: bool) -> Forecast:
        """Return what is known after the same token was answered once more."""
        # learnt here, too: bounds lose precision on their way through a store
        least = -inf if self.least == -inf else max(self.least, self._least(proven))
        return evolve(self, trip=min(trip, self.trip), least=least, probes=self.probes + probe)

    def for_next(self, proven: Bounds, first: float, trip: float) -> Forecast:
        """Return the forecast for the token that follows this one."""
        least = self._least(proven)
        if proven.upper > self.floor:  # else lives have become shorter
            least = max(least, self.least)  # a token of another client lives less long from its first answer here
        return Forecast(first, trip, least, floor=proven.lower + least)

    def merged(self, other: Forecast) -> Forecast:
        """Return what this and a sibling's forecast for the same token say together."""
        return evolve(other, first=min(self.first, other.first), probes=max(self.probes, other.probes))

    def moved(self, seconds: float) -> Forecast:
        """Return this on a clock that is ahead by `seconds`."""
        return evolve(self, first=self.first + seconds, floor=self.floor + seconds)

    def _least(self, proven: Bounds) -> float:
        return proven.lower - self.first - _MARGIN

    def latest(self, proven: Bounds) -> float:
        """Return when the token has expired, by its bounds or by this forecast."""
        return min(proven.upper, self._own(proven) + self.gap)

    def due(self, proven: Bounds, end: float) -> float:
        """Return when a request for the next token leaves: when this one has expired, by `latest`.

        A slow server could not answer by `end` then. It is asked sooner, but not before it probably finds this expired.
        """
        return min(self.latest(proven), max(proven.upper - self.trip, end - self.gap))

    def probe_in(self, proven: Bounds, now: float) -> float | None:
        """Return the seconds until the next probe, None where none is needed or none is possible.

        The first one asks whether the token was made for this client, the others halve what is left.
        """
        latest = self.latest(proven)
        if self.probes >= PROBES or latest - proven.lower <= self.gap + 0.001:  # floats are not exact
            return None
        target = self._own(proven)
        if self.probes or target > latest:
            earliest = self.floor if proven.lower < self.floor < latest else proven.lower
            target = (earliest + latest - self.trip) / 2
        left = target - now
        return left % 1.0 + (left >= 3) if left >= 1 else None  # a second to connect in, where there is time

    def _own(self, proven: Bounds) -> float:
        """Return when the token expires at the earliest, if it was made for this client."""
        own = self.first + self.least
        if proven.lower < own + self.gap:
            return own
        return proven.upper - self.trip - _MARGIN  # nothing is known: lives are probably whole seconds
