"""How a token request ended: an access token, or a failure that makes the error.

Each waiter raises an error of its own, for a shared exception object gathers the frames of all that raise it.
"""

from __future__ import annotations

from attrs import field, frozen

from enkash_auth.errors import EnkashAuthError, ProtocolError, RefusedError, UnavailableError


@frozen
class Issued:
    """An access token, and the whole seconds until it expires; None where the server does not say."""

    access_token: str = field(repr=False)
    life: float | None


@frozen
class Refused:
    """The server said no. `final` where another attempt with the same credentials could lock the account."""

    status: int
    error: str | None
    final: bool
    host: str

    def to_exception(self) -> EnkashAuthError:
        detail = f" ({self.error})" if self.error else ""
        advice = "; not tried again with these credentials" if self.final else ""
        message = f"{self.host} refused the sign-in with status {self.status}{detail}{advice}"
        return RefusedError(message, status=self.status, error=self.error)


@frozen
class Unavailable:
    """No usable answer now. `late` where the time for the request ran out."""

    reason: str
    host: str
    retry_after: float | None = None
    late: bool = False

    def to_exception(self) -> EnkashAuthError:
        return UnavailableError(f"no token from {self.host}: {self.reason}", retry_after=self.retry_after)


@frozen
class Malformed:
    """A 200 that holds no token."""

    reason: str
    host: str

    def to_exception(self) -> EnkashAuthError:
        return ProtocolError(f"{self.host} answered 200 with no usable token: {self.reason}")


Failure = Refused | Unavailable | Malformed
Outcome = Issued | Failure
