"""When a token is served, renewed in the background, or waited for.

A sticky server gives the same token until it expires, and whole seconds. An answer of `k` to a request that left at `s`
proves that the token is good until `s + k`. So a *look*, a request that leaves `k` seconds before a time of our choice,
tells whether the token expires before that time or after it. Looks are chosen so that callers wait two round trips and
0.15 s at most before the next token is asked for.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from attrs import evolve, frozen

from .outcome import Issued
from .token import Token, make_token

CLOCK_CHECK = 20.0  # seconds between two checks of both clocks
NEVER = float("-inf")  # monotonic seconds
_WINDOW, _FRACTION = 60.0, 0.3  # renewed so many seconds before the end, or at such a part of a short life
_SET = 0.1  # seconds by which the clocks part where one was set or stood still
_STICKY_FOR = 86_400.0  # seconds until a server that was found to be sticky is asked early again
PROBES, _PROBES_FROM = 3, 8.0  # for one token, at most; in the renewal window or so many seconds before the end
_GAP, _MARGIN = 0.15, 0.025  # seconds beside round trips: between serving and asking; by which one trip is slower
_UNSTATED, _HOUR = 300.0, 3600.0  # seconds; "valid for 5 minutes", portal page api-24480514; one that came back so

# a caller gets: the token; the token, while a renewal starts in the background; the next token, after a wait
Verdict = Enum("Verdict", ["SERVE", "RENEW", "WAIT"])


class Moment(NamedTuple):
    """One time on two clocks, in seconds: a suspended machine stops the first, an NTP step moves the second."""

    monotonic: float
    wall: float

    def after(self, seconds: float) -> Moment:
        return Moment(self.monotonic + seconds, self.wall + seconds)

    @property
    def offset(self) -> float:
        """Changes only when a clock is set or stands still."""
        return self.wall - self.monotonic

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
        if abs(self.lower.offset - other.lower.offset) > _SET:  # the old lower bound is void
            lower, upper = other.lower, other.upper.after(min(0.0, self.upper.monotonic - other.upper.monotonic))
        return Lifetime(lower, upper, self.window) if lower.until(upper) > 0 else other


@frozen
class Lesson:
    """What earlier tokens of this server foretell of the next.

    A token made for this client lives at least `least` seconds from its first answer; None until one has expired.
    A token that another client asked for lives less long from there, so the longest life counts.
    """

    trip: float  # seconds that a request takes at least
    least: float | None = None

    @property
    def gap(self) -> float:
        """The seconds that callers may have to wait between the last use of a token and the next request."""
        return 2 * self.trip + _GAP

    def updated(self, life: Lifetime, first: float, floor: float) -> Lesson:
        """Return what is known after a token that was first answered at `first` (monotonic) has expired in `life`."""
        least = life.lower.monotonic - first - _MARGIN
        if self.least is None or life.upper.monotonic < floor:  # the first life, or lives have become shorter
            return evolve(self, least=least)
        return evolve(self, least=max(least, self.least))


@frozen
class TokenRecord:
    """The last token, the bounds of its expiry, and whether its server is sticky: early, it gives the same again.

    `first` is when the token was first answered; `floor` when it expires at the earliest, if the lesson holds.
    """

    token: Token
    life: Lifetime
    answered: Moment
    first: float  # monotonic
    lesson: Lesson
    floor: float  # monotonic
    probes: int = 0
    sticky_until: float = NEVER  # monotonic; the server counts as sticky for a day
    reissued: bool = False
    rejected: bool = False  # an API said 401 to it: no sibling's entry brings it back

    @classmethod
    def from_answer(
        cls, issued: Issued, started: Moment, answered: Moment, *, before: TokenRecord | None, draw: float
    ) -> TokenRecord:
        """Put the answer to a request, sent at `started`, together with the record before it."""
        again = before is not None and before.token.access_token == issued.access_token
        seconds = issued.life if issued.life is not None else _HOUR if again else _UNSTATED
        life, trip = Lifetime.stated(seconds, started, answered, draw), answered.monotonic - started.monotonic
        if before and again:
            sticky_until = before.sticky_until
            if issued.life is not None:
                life, sticky_until = before.life.narrowed(life), answered.monotonic + _STICKY_FOR
            lesson = evolve(before.lesson, trip=min(trip, before.lesson.trip))
            if lesson.least is not None:
                lesson = lesson.updated(life, before.first, NEVER)
            token, probes = make_token(issued.access_token, life.lower.wall), before.probes + before.sticky(started)
            return cls(token, life, answered, before.first, lesson, before.floor, probes, sticky_until, reissued=True)
        token, first = make_token(issued.access_token, life.lower.wall), answered.monotonic
        if before is None or before.alive(started):
            return cls(token, life, answered, first, Lesson(trip), first)  # a new token before expiry: not sticky
        lesson = evolve(before.lesson.updated(before.life, before.first, before.floor), trip=trip)
        floor = before.life.lower.monotonic + (lesson.least or 0.0)
        return cls(token, life, answered, first, lesson, floor, sticky_until=before.sticky_until)

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
        early = left - self.life.window
        if self.sticky(now):
            early = left if self.probe_in(now) is None else min(early, left - _PROBES_FROM)
        if early > 0:
            return Verdict.SERVE, now.monotonic + min(CLOCK_CHECK, early)
        return Verdict.RENEW, now.monotonic + min(CLOCK_CHECK, left)

    def seconds_until_request(self, now: Moment, left: float) -> float:
        """Return the seconds until a request can bring another token, or until a look that ends in the time `left`."""
        if self.alive(now):
            probe = (self.probe_in(now) or 0.0) if self.sticky(now) and not self.rejected else 0.0
            return probe if probe < left / 2 else 0.0
        if not (self.sticky(now) or self.single_use):
            return 0.0
        return max(0.0, min(now.until(self.life.upper), self._latest - now.monotonic))

    @property
    def _made_for_us(self) -> float:
        """When the token expires at the earliest (monotonic), if it was made for this client."""
        if self.lesson.least is None:  # lives are probably whole seconds
            return self.life.upper.monotonic - self.lesson.trip - _MARGIN
        return self.first + self.lesson.least

    @property
    def _latest(self) -> float:
        """When the token has probably expired (monotonic)."""
        upper, foretold = self.life.upper.monotonic, self._made_for_us + self.lesson.gap
        return min(upper, foretold) if self.life.lower.monotonic < foretold else upper

    def probe_in(self, now: Moment) -> float | None:
        """Return the seconds until the next probe, None where none is needed or none is possible.

        The first one asks whether the token was made for this client, the others halve what is left.
        """
        lower, upper, lesson = self.life.lower.monotonic, self._latest, self.lesson
        enough = lesson.gap - _MARGIN if lesson.least is None else lesson.gap + 0.001
        if self.probes >= PROBES or upper - lower <= enough:
            return None
        target = self._made_for_us
        if self.probes or not lower < target < upper:
            target = ((self.floor if lower < self.floor < upper else lower) + upper - lesson.trip) / 2
        left = target - now.monotonic
        return left % 1.0 + (left >= 3) if left >= 1 else None  # time to connect, where there is time
