"""What happens to a provider's token, for logs and for the service's own `on_event` hook; no event holds a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from attrs import asdict, evolve, frozen

from ._policy.lifetime import TokenRecord
from ._policy.outcome import Failure, Refused, Unavailable

Kind = Literal[
    "issued", "renewed", "reissued_same", "adopted", "served_stale", "refused", "unavailable", "invalidated",
    "store_down", "store_back",
]  # fmt: skip

_log = logging.getLogger("enkash_auth")
_log.addHandler(logging.NullHandler())
_LEVELS: dict[Kind, int] = {
    "issued": logging.INFO,
    "refused": logging.WARNING,
    "unavailable": logging.WARNING,
    "served_stale": logging.WARNING,
    "store_down": logging.WARNING,
    "store_back": logging.INFO,
}


@frozen
class Event:
    """One thing that happened.

    `kind`: `issued` (a token, and callers waited for it), `renewed` (a token, behind the callers' back),
    `reissued_same` (the token that was known already), `refused`, `unavailable` (also: a 200 that is no token),
    `served_stale` (such a failure, and the living token serves on), `invalidated` (after a 401 from an API), `adopted`
    (a token that another process had put into the store), `store_down` and `store_back`.
    `seconds` is how long the grant took, `requests` how many token requests that were, `grants` the number of the
    provider's grants so far, `life` the seconds a token still serves; `status` and `error` are a refusal's.
    """

    kind: Kind
    host: str
    seconds: float = 0.0
    requests: int = 0
    grants: int = 0
    life: float | None = None
    status: int | None = None
    error: str | None = None
    reason: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        told = {name: value for name, value in asdict(self).items() if name != "kind" and value is not None}
        details = (f"{name} {value:.3f}" if type(value) is float else f"{name} {value}" for name, value in told.items())
        return f"token {self.kind}: {', '.join(details)}"


OnEvent = Callable[[Event], object]


def describe(event: Event, outcome: TokenRecord | Failure, alive: bool) -> list[Event]:
    """Return what there is to tell of one grant; `alive` where callers had a living token meanwhile."""
    if isinstance(outcome, TokenRecord):
        kind: Kind = "reissued_same" if outcome.reissued else "renewed" if alive else "issued"
        if not event.requests:
            kind = "adopted"
        return [evolve(event, kind=kind, life=max(0.0, outcome.answered.until(outcome.life.lower)))]
    if isinstance(outcome, Refused):
        event = evolve(event, kind="refused", status=outcome.status, error=outcome.error)
    else:
        after = outcome.retry_after if isinstance(outcome, Unavailable) else None
        event = evolve(event, kind="unavailable", reason=outcome.reason, retry_after=after)
    return [event, evolve(event, kind="served_stale")] if alive else [event]


def publish(events: list[Event], on_event: OnEvent | None) -> None:
    """Log events and hand them to the hook; what the hook raises is logged by its class and goes no further."""
    for event in events:
        _log.log(_LEVELS.get(event.kind, logging.DEBUG), "%s", event)
        if on_event is None:
            continue
        try:
            on_event(event)
        except Exception as error:
            _log.warning("on_event raised %s", type(error).__name__)
