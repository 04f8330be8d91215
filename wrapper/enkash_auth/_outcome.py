"""How a token request ended: an access token, or the recipe for a failure.

Each waiter raises its own error from the recipe: a shared exception object gathers the frames of all its raisers.
"""

from __future__ import annotations

from attrs import field, frozen

from .errors import EnkashAuthError, ProtocolError, RefusedError, UnavailableError


@frozen
class Issued:
    """An access token, and the whole seconds that it lives on."""

    access_token: str = field(repr=False)
    life: float


@frozen
class Refused:
    """The server said no. `final` where another attempt with the same credentials could lock the account."""

    status: int
    error: str | None
    final: bool
    host: str

    def raised(self) -> EnkashAuthError:
        detail = f" ({self.error})" if self.error else ""
        advice = "; not tried again with these credentials" if self.final else ""
        message = f"{self.host} refused the sign-in with status {self.status}{detail}{advice}"
        return RefusedError(message, status=self.status, error=self.error)


@frozen
class Unavailable:
    """No usable answer now. `late` where the time for it ran out."""

    reason: str
    host: str
    retry_after: float | None = None
    late: bool = False

    def raised(self) -> EnkashAuthError:
        return UnavailableError(f"no token from {self.host}: {self.reason}", retry_after=self.retry_after)


@frozen
class Malformed:
    """A 200 that is no token."""

    reason: str
    host: str

    def raised(self) -> EnkashAuthError:
        return ProtocolError(f"{self.host} answered 200 with no usable token: {self.reason}")


Failure = Refused | Unavailable | Malformed
Outcome = Issued | Failure
