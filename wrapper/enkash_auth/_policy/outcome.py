"""How a token request ended: an access token, or a failure that makes the error.

Each waiter raises an error of its own, for a shared exception object gathers the frames of all that raise it.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from enkash_auth.errors import EnkashAuthError, ProtocolError, RefusedError, UnavailableError


@frozen
class Issued:
    """An access token, and the whole seconds until it expires; None where the server does not say."""

    access_token: str = field(repr=False)
    life: float | None


@frozen
class Limit:
    """What the attempts so far allow: `seconds` until the next password may leave, None if only a person can let it."""

    row: str  # of the table in docs/errors.md
    passwords: int  # that have left since the last success
    seconds: float | None

    def __str__(self) -> str:
        sent = f"{self.passwords} password{'' if self.passwords == 1 else 's'} sent since the last success"
        if self.seconds is None:
            return f"{sent}; none will be sent again until the credentials change or 'enkash-auth reset'"
        return f"{sent}; the next may be sent in {self.seconds:.0f} s"


def _said(text: str, limit: Limit | None) -> str:
    return f"{text}; {limit}; see 'enkash-auth doctor'" if limit else text


_REFUSALS: dict[str | None, str] = {
    "clear": "refused the password ({}): wrong password or locked account",
    "client": "refused the client ({}): wrong client id or client secret",
    None: "refused the sign-in ({})",
}


@frozen
class Refused:
    """The server said no. `final` if these credentials must not be sent again."""

    status: int
    error: str | None
    final: bool
    host: str
    limit: Limit | None = None
    retry_after: float | None = None

    def to_exception(self) -> EnkashAuthError:
        code = f"{self.status} {self.error}" if self.error else str(self.status)
        row = self.limit.row if self.limit else None
        text = _REFUSALS.get(row, "answered with {}, which may be a refusal").format(code)
        if not self.status:
            text = "gave no answer to a password, and may have refused it"
        message = _said(f"{self.host} {text}", self.limit)
        known = {"retry_after": self.retry_after, **_attempts(self.limit)}
        return RefusedError(message, status=self.status, error=self.error, **known)


@frozen
class Unavailable:
    """No usable answer now. `late` if the time for the request ran out."""

    reason: str
    host: str
    retry_after: float | None = None
    late: bool = False
    limit: Limit | None = None

    def to_exception(self) -> EnkashAuthError:
        message = _said(f"no token from {self.host}: {self.reason}", self.limit)
        return UnavailableError(message, **{"retry_after": self.retry_after, **_attempts(self.limit)})


@frozen
class Malformed:
    """A 200 that holds no token."""

    reason: str
    host: str
    limit: Limit | None = None

    def to_exception(self) -> EnkashAuthError:
        return ProtocolError(_said(f"{self.host} answered 200 with no usable token: {self.reason}", self.limit))


def _attempts(limit: Limit | None) -> dict[str, Any]:
    return {"row": limit.row, "passwords": limit.passwords, "retry_after": limit.seconds} if limit else {}


Failure = Refused | Unavailable | Malformed
Outcome = Issued | Failure
