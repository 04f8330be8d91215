"""Until when a token is served (pure): two clocks and a life in, one monotonic time out."""

from attrs import frozen

LOOK = 20.0  # seconds between two looks at both clocks: a suspended machine stops one, an NTP step moves the other


@frozen
class End:
    """When a token ends, on both clocks, in seconds."""

    monotonic: float
    wall: float


def end_of_life(life: float, started_monotonic: float, started_wall: float) -> End:
    """Return the end of a token; its life counts from the start of the request."""
    return End(started_monotonic + life, started_wall + life)


def serve_until(end: End, monotonic: float, wall: float) -> float:
    """Return the monotonic time up to which the token is served without another look, not after `monotonic` if none."""
    left = min(end.monotonic - monotonic, end.wall - wall)
    return monotonic + min(LOOK, left)
