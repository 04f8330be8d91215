"""How many tokens an API's 401 may cost."""

from attrs import frozen

from .lifetime import LONG_AGO

_BURST, _REFILL = 2.0, 60.0  # two at once, one more a minute


@frozen
class Brake:
    """A token bucket for invalidations: an API that always answers 401 does not cost a sign-in for each call."""

    level: float = _BURST
    at: float = LONG_AGO  # monotonic

    def take(self, now: float) -> "Brake | None":
        """Return the brake after one more invalidation, None where it allows none."""
        level = min(_BURST, self.level + max(0.0, now - self.at) / _REFILL)
        return Brake(level - 1, now) if level >= 1 else None
