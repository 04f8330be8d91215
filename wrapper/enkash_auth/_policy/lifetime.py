"""When a token is served, renewed in the background, or waited for."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from attrs import frozen

from .outcome import Issued
from .token import Token, make_token

CLOCK_CHECK = 20.0  # seconds between two checks of both clocks
NEVER = float("-inf")  # monotonic seconds
_WINDOW, _FRACTION = 60.0, 0.3  # renewed so many seconds before the end, or at such a part of a short life
_STICKY_FOR = 86_400.0  # seconds until a server that was found to be sticky is asked early again

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
        if lower.until(upper) <= 0:
            return other  # a clock was set between the two answers, so the old bounds are void
        return Lifetime(lower, upper, self.window)


@frozen
class TokenRecord:
    """The last token, the bounds of its expiry, and whether its server is sticky: early, it gives the same again."""

    token: Token
    life: Lifetime
    answered: Moment
    sticky_until: float = NEVER  # monotonic; the server counts as sticky for a day
    reissued: bool = False
    rejected: bool = False  # an API said 401 to it: no sibling's entry brings it back

    @classmethod
    def from_answer(
        cls, issued: Issued, started: Moment, answered: Moment, *, before: TokenRecord | None, draw: float
    ) -> TokenRecord:
        """Put the answer to a request, sent at `started`, together with the record before it."""
        life = Lifetime.stated(issued.life, started, answered, draw)
        sticky_until, reissued = NEVER, False
        if before and before.token.access_token == issued.access_token:
            life, reissued = before.life.narrowed(life), True
            sticky_until = answered.monotonic + _STICKY_FOR
        elif before and not before.alive(started):
            sticky_until = before.sticky_until  # a new token after expiry proves nothing; one before it: not sticky
        return cls(make_token(issued.access_token, life.lower.wall), life, answered, sticky_until, reissued)

    def sticky(self, now: Moment) -> bool:
        return now.monotonic < self.sticky_until

    def alive(self, now: Moment) -> bool:
        """Whether the token certainly has not expired."""
        return now.until(self.life.lower) > 0

    @property
    def single_use(self) -> bool:
        """Whether the token was good for the callers that waited for it, and for no later one."""
        return not self.alive(self.answered)

    def usable(self, now: Moment) -> bool:
        """Whether a caller may be given the token: it has not expired, and no API has said 401 to it."""
        return not self.rejected and self.alive(now)

    def verdict(self, now: Moment) -> tuple[Verdict, float]:
        """Return what a caller gets, and the monotonic time until which that stays so."""
        left = now.until(self.life.lower)
        if left <= 0 or self.rejected:
            return Verdict.WAIT, NEVER
        early = left if self.sticky(now) else left - self.life.window
        if early > 0:
            return Verdict.SERVE, now.monotonic + min(CLOCK_CHECK, early)
        return Verdict.RENEW, now.monotonic + min(CLOCK_CHECK, left)

    def seconds_until_next(self, now: Moment) -> float:
        """Return the seconds until a request can bring another token: a sticky server re-issues this one."""
        if self.alive(now) or not (self.sticky(now) or self.single_use):
            return 0.0
        return max(0.0, now.until(self.life.upper))
