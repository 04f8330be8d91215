"""How a token request ended: an access token, or a failure that makes the error.

Each waiter raises an error of its own, for a shared exception object gathers the frames of all that raise it.
"""

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
    passwords: int  # that have left since the last success or reset
    seconds: float | None
    kept: bool = True  # whether the count outlives the process

    def __str__(self) -> str:
        sent = f"({self.passwords} sent since the last success or reset)"
        if self.seconds is not None:
            return f"The next password may be sent in {self.seconds:.0f} s {sent}"
        until = "until the credentials change or"
        if self.kept:
            return f"No password is sent {until} you run 'enkash-auth reset' or provider.reset() {sent}"
        return f"This process sends no password {until} provider.reset(); each restart sends one more {sent}"


# what happened, and what to do, by the row of the table in docs/errors.md
_CHECK = "Check password and account in EnKash's portal, and that this machine's address is allow-listed"
_REFUSALS: dict[str | None, tuple[str, str]] = {
    "clear": (
        "refused the password ({}): wrong password or locked account",
        "Correct the password, or have EnKash unlock the account",
    ),
    "client": ("refused the client ({}): wrong client id or client secret", "Correct it"),
    None: ("refused the sign-in ({})", _CHECK),
}


def _message(what: str, advice: str, limit: Limit | None) -> str:
    return ". ".join([what, advice, *([str(limit)] if limit else []), "Run 'enkash-auth doctor' for details"])


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
        text, advice = _REFUSALS.get(row, ("answered with {}, which may be a refusal", _CHECK))
        if not self.status:
            text = "gave no answer to a password, and may have refused it"
        if advice == _CHECK and (self.status in (404, 405) or 300 <= self.status < 400):
            advice = f"Compare host and path of ENKASH_BASE_URL with EnKash's. {_CHECK}"
        message = _message(f"{self.host} {text.format(code)}", advice, self.limit)
        known = {"retry_after": self.retry_after, **_attempts(self.limit)}
        return RefusedError(message, status=self.status, error=self.error, **known)


@frozen
class Unavailable:
    """No usable answer now. A `reason` may name the host itself.

    `late`: the time ran out, for a request or while another process signed in. Without a request it is no failure.
    """

    reason: str
    host: str
    retry_after: float | None = None
    late: bool = False
    limit: Limit | None = None

    def to_exception(self) -> EnkashAuthError:
        what = f"no token: {self.reason}" if self.host in self.reason else f"no token from {self.host}: {self.reason}"
        retry = self.limit or (f"Retry in {self.retry_after:.0f} s" if self.retry_after else "Retry later")
        message = f"{what}. {retry}; if that does not help, run 'enkash-auth doctor'"
        return UnavailableError(message, **{"retry_after": self.retry_after, **_attempts(self.limit)})


@frozen
class Malformed:
    """A 200 that holds no token."""

    reason: str
    host: str
    limit: Limit | None = None

    def to_exception(self) -> EnkashAuthError:
        what = f"{self.host} answered 200 with no usable token: {self.reason}"
        advice = "Report a bug with the names and types of the answer's fields, and no values"
        if self.limit:
            what, advice = f"{what}, which may be a refusal", f"{_CHECK}. If all is right: {advice.lower()}"
        return ProtocolError(_message(what, advice, self.limit), **_attempts(self.limit))


def _attempts(limit: Limit | None) -> dict[str, Any]:
    return {"row": limit.row, "passwords": limit.passwords, "retry_after": limit.seconds} if limit else {}


Failure = Refused | Unavailable | Malformed
Outcome = Issued | Failure
