"""Events of a provider, for logs and for the service's `on_event` function. No event holds a secret."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from inspect import iscoroutinefunction
from typing import Literal

from attrs import asdict, evolve, frozen

from ._policy.lifetime import TokenRecord
from ._policy.outcome import Failure, Malformed, Refused, Unavailable
from .errors import ConfigurationError

Kind = Literal[
    "issued", "renewed", "reissued_same", "adopted", "served_stale", "refused", "unavailable", "invalidated",
    "store_down", "store_back", "source_failed",
]  # fmt: skip

_log = logging.getLogger("enkash_auth")
_log.addHandler(logging.NullHandler())
_INFOS, _WARNINGS = ("issued", "store_back"), ("refused", "unavailable", "served_stale", "store_down", "source_failed")


@frozen
class Event:
    """One event.

    | kind | meaning |
    | --- | --- |
    | `issued` | a new token; callers waited for it |
    | `renewed` | a new token; callers had a valid one meanwhile |
    | `reissued_same` | the server gave the current token again |
    | `adopted` | a token that another process had stored |
    | `refused` | the server refused the sign-in, or may have: also a 200 whose JSON holds no token |
    | `unavailable` | no token: network, timeout, 5xx, 429, a 200 that is no JSON |
    | `served_stale` | one of these failures, but the current token stays in use |
    | `invalidated` | an API answered 401 |
    | `store_down`, `store_back` | the store has failed; it answers again |
    | `source_failed` | your function or the files could not be read for credentials; the first time in a row |

    `seconds` is the duration of the sign-in, `requests` the number of its token requests, `grants` the number of this
    provider's sign-ins so far, `life` the seconds until the token expires. `status` and `error` belong to a refusal.
    `row`, `passwords` and `retry_after` are those of the errors: what limits the next attempt, if anything does.
    Each sign-in's thread calls the hook: if two sign-ins end within a moment, either may come first.
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
    row: str | None = None
    passwords: int | None = None

    def __str__(self) -> str:
        data = {name: value for name, value in asdict(self).items() if name != "kind" and value is not None}
        details = (f"{name} {value:.3f}" if type(value) is float else f"{name} {value}" for name, value in data.items())
        return f"token {self.kind}: {', '.join(details)}"


OnEvent = Callable[[Event], object]


def check_hook(on_event: OnEvent | None) -> None:
    """Raise `ConfigurationError` for a hook that cannot be called, and for an async one, which nobody would await."""
    if on_event is None:
        return
    if not callable(on_event) or iscoroutinefunction(on_event) or iscoroutinefunction(type(on_event).__call__):
        raise ConfigurationError(
            "on_event must be a function, and no async one: it is called on a thread, where "
            "asyncio.run_coroutine_threadsafe reaches a loop"
        )


def describe(event: Event, outcome: TokenRecord | Failure, alive: bool) -> list[Event]:
    """Return the events of one sign-in; `alive`: callers had a valid token meanwhile."""
    if isinstance(outcome, TokenRecord):
        kind: Kind = "reissued_same" if outcome.reissued else "renewed" if alive else "issued"
        if not event.requests:
            kind = "adopted"
        return [evolve(event, kind=kind, life=max(0.0, outcome.answered.until(outcome.life.lower)))]
    if isinstance(outcome, Refused):
        event = evolve(event, kind="refused", status=outcome.status, error=outcome.error)
    elif isinstance(outcome, Malformed) and outcome.limit and outcome.limit.row == "maybe":
        event = evolve(event, kind="refused", status=200, reason=outcome.reason)
    else:
        after = outcome.retry_after if isinstance(outcome, Unavailable) else None
        event = evolve(event, kind="unavailable", reason=outcome.reason, retry_after=after)
    if limit := outcome.limit:
        event = evolve(event, row=limit.row, passwords=limit.passwords, retry_after=limit.seconds)
    return [event, evolve(event, kind="served_stale")] if alive else [event]


def publish(events: list[Event], on_event: OnEvent | None) -> None:
    """Log events and pass them to `on_event`. If that raises, only the class of the exception is logged.

    What logging raises is raised at the end, when all has been passed on.
    """
    with ExitStack() as steps:
        for event in reversed(events):
            quiet = logging.INFO if event.kind in _INFOS else logging.DEBUG
            steps.callback(_pass_on, event, on_event)
            steps.callback(_log.log, logging.WARNING if event.kind in _WARNINGS else quiet, "%s", event)


def _pass_on(event: Event, on_event: OnEvent | None) -> None:
    try:
        if on_event is not None:  # a hook may be false, as one that is an empty list of its events
            on_event(event)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # asyncio's CancelledError is no Exception
        _log.warning("on_event raised %s", type(error).__name__)
