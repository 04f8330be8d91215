"""What a provider signs in with, and how that changes while the server refuses it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from .._settings.credentials import Credentials
from .._policy.lifetime import TokenRecord
from .._policy.backoff import second_try
from .._policy.outcome import Failure, Issued, Refused, Unavailable
from .._runtime import Runtime

if TYPE_CHECKING:
    from .._fleet.entries import Seen
    from .gateway import Gateway
    from ..events import Event
    from ..stores import Store

Make = Callable[[Credentials], "Gateway"]


@frozen
class Account:
    """Credentials, and what is made from them."""

    credentials: Credentials
    fingerprint: str
    exchange: Gateway
    _make: Make

    @classmethod
    def entered(cls, credentials: Credentials, make: Make) -> Account:
        return cls(credentials, credentials.fingerprint(), make(credentials), make)

    def sign_in(
        self, known: TokenRecord | None, end: float, runtime: Runtime, refused: Mapping[str, Refused]
    ) -> tuple[TokenRecord | Failure, int]:
        """Send one token request or two, till `end` (monotonic seconds); return how that went, and how many."""
        now = runtime.now()
        pause = known.gap(now) if known else 0.0
        if now.monotonic + pause >= end:
            return Unavailable("it keeps its last token to the end", self.exchange.host, pause), 0
        runtime.pause(pause)
        outcome, requests = self._ask(known, end, runtime, refused)
        now = runtime.now()
        again = second_try(outcome, now, end - now.monotonic, runtime.draw())
        if again is None or (pause and isinstance(outcome, TokenRecord)):
            return outcome, requests
        runtime.pause(again)
        outcome, more = self._ask(outcome if isinstance(outcome, TokenRecord) else known, end, runtime, refused)
        return outcome, requests + more

    def _ask(
        self, known: TokenRecord | None, end: float, runtime: Runtime, refused: Mapping[str, Refused]
    ) -> tuple[TokenRecord | Failure, int]:
        if refusal := refused.get(self.fingerprint):
            return refusal, 0  # an abandoned flight has brought it meanwhile
        started = runtime.now()
        if started.monotonic >= end:  # this thread was stopped for a while; by now it is another's turn
            return Unavailable("no time was left", self.exchange.host, late=True), 0
        outcome = self.exchange.grant(end - started.monotonic)
        if not isinstance(outcome, Issued):
            return outcome, 1
        known = TokenRecord.from_answer(known, outcome.access_token, outcome.life, started, runtime.now(), runtime.draw())
        return known, 1

    def again(self) -> Account:
        """Return the same account with connections of its own, as a forked child needs it."""
        return self.entered(self.credentials, self._make)

    def changed(self, source: Callable[[], Credentials] | None, refused: Container[str]) -> Account | None:
        """Return the account that the source names now, None where the server has refused that one, too."""
        try:
            credentials = source() if source else self.credentials
            return None if credentials.fingerprint() in refused else self.entered(credentials, self._make)
        except Exception:  # half-way through a rotation, or not to be read now
            return None

    def is_same(self, other: Account) -> bool:
        """Whether the server gives both the same tokens."""
        return self.credentials.account == other.credentials.account


class Alone:
    """The fleet of a process that shares nothing; `Fleet` does the same things through a store."""

    store: Store | None = None

    def sign_in(
        self, account: Account, known: TokenRecord | None, end: float, runtime: Runtime, refused: Mapping[str, Refused]
    ) -> tuple[TokenRecord | Failure, int]:
        return account.sign_in(known, end, runtime, refused)

    def look(self, credentials: Credentials, runtime: Runtime) -> Seen | None:
        return None

    def reopened(self, account: Account, refusal: Refused, runtime: Runtime) -> bool:
        return False

    def reset(self, account: Account, runtime: Runtime) -> None:
        pass

    def news(self) -> list[Event]:
        return []
