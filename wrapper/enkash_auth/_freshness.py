"""When a token is served, renewed behind its callers, or waited for (pure): what is known and now in, a verdict out."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from attrs import frozen

from ._token import Token, make_token

LOOK = 20.0  # seconds between two looks at both clocks
_WINDOW, _FRACTION = 60.0, 0.3  # renewed so many seconds before the end, or at such a part of a short life
_LEARNT = 86_400.0  # seconds until a server that was learnt to be sticky is tried early again
_NEVER = float("-inf")

# what a caller gets: the token; that, while a renewal starts behind its back; the next token, once it is there
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
class Life:
    """A token's end lies between `lower` and `upper`; `window` is the seconds before `lower` when renewal starts."""

    lower: Moment
    upper: Moment
    window: float

    @classmethod
    def stated(cls, seconds: float, started: Moment, answered: Moment, draw: float) -> Life:
        """Read a whole number of seconds that was true at some time between `started` and `answered`.

        The server cuts the fraction off, so up to one second more is left. `draw`, in [0, 1), spreads renewals.
        """
        window = min(_WINDOW, _FRACTION * seconds) * (0.8 + 0.4 * draw)
        return cls(started.after(seconds), answered.after(seconds + 1), window)

    def narrowed(self, other: Life) -> Life:
        """Return what this and a later answer for the same token say together."""
        lower = Moment(*map(max, self.lower, other.lower))
        upper = Moment(*map(min, self.upper, other.upper))
        if lower.until(upper) <= 0:
            return other  # a clock was set between the answers: the old bounds say nothing any more
        return Life(lower, upper, self.window)


@frozen
class Known:
    """The last token, what is known of its end, and whether its server is sticky: early, it gives the same again."""

    token: Token
    life: Life
    answered: Moment
    sticky_until: float = _NEVER  # monotonic; the knowledge is dropped after a day
    reissued: bool = False
    rejected: bool = False  # an API said 401 to it: no sibling's word brings it back

    @classmethod
    def learnt(
        cls, before: Known | None, access_token: str, seconds: float, started: Moment, answered: Moment, draw: float
    ) -> Known:
        """Put an answer together with what was known before it."""
        life = Life.stated(seconds, started, answered, draw)
        sticky_until, reissued = _NEVER, False
        if before and before.token.access_token == access_token:
            life, reissued = before.life.narrowed(life), True
            sticky_until = answered.monotonic + _LEARNT
        elif before and started.until(before.life.lower) <= 0:
            sticky_until = before.sticky_until  # a fresh token in time says nothing new; one before that: not sticky
        return cls(make_token(access_token, life.lower.wall), life, answered, sticky_until, reissued)

    def sticky(self, now: Moment) -> bool:
        return now.monotonic < self.sticky_until

    def alive(self, now: Moment) -> bool:
        """Whether the token certainly has not ended."""
        return now.until(self.life.lower) > 0

    @property
    def fleeting(self) -> bool:
        """Whether the token was good for the callers that waited for it, and for no later one."""
        return not self.alive(self.answered)

    def look(self, now: Moment) -> tuple[Verdict, float]:
        """Return what a caller gets, and the monotonic time until which that needs no other look."""
        left = now.until(self.life.lower)
        if left <= 0:
            return Verdict.WAIT, _NEVER
        early = left if self.sticky(now) else left - self.life.window
        if early > 0:
            return Verdict.SERVE, now.monotonic + min(LOOK, early)
        return Verdict.RENEW, now.monotonic + min(LOOK, left)

    def gap(self, now: Moment) -> float:
        """Return the seconds until asking can bring another token: a sticky server keeps this one to its very end."""
        if self.alive(now) or not (self.sticky(now) or self.fleeting):
            return 0.0
        return max(0.0, now.until(self.life.upper))
