"""When a token is served, renewed in the background, or waited for.

A sticky server gives the same token until it expires, and states the time that is left in whole seconds, so the expiry
has two bounds. `forecast.py` says how they are brought together.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from attrs import evolve, frozen

from .forecast import Bounds, Forecast
from .outcome import Issued
from .token import Token, make_token

CLOCK_CHECK = 20.0  # seconds between two readings of both clocks
LONG_AGO = float("-inf")  # monotonic seconds
_WINDOW, _FRACTION = 60.0, 0.3  # a token is renewed so many seconds before the end, or at such a part of a short life
_CLOCK_SET = 0.1  # if the clocks part by more seconds, one of them was set or stood still
_STICKY_FOR = 86_400.0  # seconds until a server that was found to be sticky is asked early again
_PROBES_FROM = 8.0  # a sticky token is probed in the renewal window, or so many seconds before the end
_UNSTATED, _UNSTATED_AGAIN = 300.0, 3600.0  # seconds; "valid for 5 minutes", portal page api-24480514

# a caller gets: the token; the token, while a renewal starts in the background; the next token, after a wait
Verdict = Enum("Verdict", ["SERVE", "RENEW", "WAIT"])


class Moment(NamedTuple):
    """One time on two clocks, in seconds: a suspended machine stops the first, an NTP step moves the second."""

    monotonic: float
    wall: float

    def after(self, seconds: float) -> Moment:
        return Moment(self.monotonic + seconds, self.wall + seconds)

    def until(self, end: Moment) -> float:
        """Return the seconds until `end` by the clock that reaches it first."""
        return min(end.monotonic - self.monotonic, end.wall - self.wall)


@frozen
class Lifetime:
    """A token expires between `lower` and `upper`; `window` is the seconds before `lower` when renewal starts."""

    lower: Moment
    upper: Moment
    window: float

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.lower.monotonic, self.upper.monotonic)

    @classmethod
    def stated(cls, seconds: float, started: Moment, answered: Moment, draw: float) -> Lifetime:
        """Read a whole number of seconds that was true at some time between `started` and `answered`.

        The server cuts the fraction off, so up to one second more is left. `draw`, in [0, 1), spreads renewals.
        """
        window = min(_WINDOW, _FRACTION * seconds) * (0.8 + 0.4 * draw)
        return cls(started.after(seconds), answered.after(seconds + 1), window)

    def narrowed(self, other: Lifetime) -> Lifetime:
        """Return what this and a later answer for the same token say together."""
        lower = Moment(*map(max, self.lower, other.lower))
        upper = Moment(*map(min, self.upper, other.upper))
        monotonic, wall = (new - old for old, new in zip(self.lower, other.lower, strict=True))
        if abs(wall - monotonic) > _CLOCK_SET:  # `self.upper` still holds, on the monotonic clock
            lower, upper = other.lower, other.upper.after(min(0.0, self.upper.monotonic - other.upper.monotonic))
        return Lifetime(lower, upper, self.window) if lower.until(upper) > 0 else evolve(other, window=self.window)


@frozen
class TokenRecord:
    """The last token, the bounds of its expiry, and whether its server is sticky: early, it gives the same again."""

    token: Token
    life: Lifetime
    answered: Moment
    forecast: Forecast
    sticky_until: float = LONG_AGO  # monotonic; the server counts as sticky for a day
    reissued: bool = False
    rejected: bool = False  # an API said 401 to it: no sibling's entry brings it back

    @classmethod
    def from_answer(
        cls, issued: Issued, started: Moment, answered: Moment, *, before: TokenRecord | None, draw: float
    ) -> TokenRecord:
        """Put the answer to a request, sent at `started`, together with the record before it."""
        again = before is not None and before.token.access_token == issued.access_token
        seconds = issued.life if issued.life is not None else _UNSTATED_AGAIN if again else _UNSTATED
        life, trip = Lifetime.stated(seconds, started, answered, draw), answered.monotonic - started.monotonic
        sticky_until, first = LONG_AGO, answered.monotonic
        if before is None or (not again and before.alive(started)):  # a new token before expiry: not sticky
            forecast = Forecast(first, trip)
        elif not again:
            forecast, sticky_until = before.forecast.for_next(before.life.bounds, first, trip), before.sticky_until
        else:
            sticky_until = before.sticky_until
            if issued.life is not None:
                life, sticky_until = before.life.narrowed(life), answered.monotonic + _STICKY_FOR
            forecast = before.forecast.after_answer(life.bounds, trip, probe=before.sticky(started))
        token = make_token(issued.access_token, life.lower.wall)
        return cls(token, life, answered, forecast, sticky_until, reissued=again)

    def sticky(self, now: Moment) -> bool:
        return now.monotonic < self.sticky_until

    def alive(self, now: Moment) -> bool:
        """Whether the token certainly has not expired."""
        return now.until(self.life.lower) > 0

    @property
    def single_use(self) -> bool:
        """Whether the token was good for the callers that waited for it, and for no later one."""
        return not self.alive(self.answered)

    def verdict(self, now: Moment) -> tuple[Verdict, float]:
        """Return what a caller gets, and the monotonic time until which that stays so."""
        left = now.until(self.life.lower)
        if left <= 0 or self.rejected:
            return Verdict.WAIT, LONG_AGO
        early = left - self.life.window
        if self.sticky(now):
            early = left if self.probe_in(now) is None else min(early, left - _PROBES_FROM)
        if early > 0:
            return Verdict.SERVE, now.monotonic + min(CLOCK_CHECK, early)
        return Verdict.RENEW, now.monotonic + min(CLOCK_CHECK, left)

    def seconds_until_request(self, now: Moment, left: float) -> float:
        """Return the seconds until a probe, or until a request that brings another token.

        A probe that would not end in the time `left` leaves a second earlier, or at once: it still narrows the bounds.
        """
        if self.alive(now):
            probe = (self.probe_in(now) or 0.0) if self.sticky(now) and not self.rejected else 0.0
            return next((seconds for seconds in (probe, probe % 1.0) if seconds < left / 2), 0.0)
        if not (self.sticky(now) or self.single_use):
            return 0.0
        due = self.forecast.due(self.life.bounds, now.monotonic + left) - now.monotonic
        return max(0.0, min(now.until(self.life.upper), due))

    def probe_in(self, now: Moment) -> float | None:
        """Return the seconds until the next probe of a sticky server, None where none is needed."""
        return self.forecast.probe_in(self.life.bounds, now.monotonic)
