"""What can go wrong, by what a person does next: fix the settings, call somebody, try later, report a bug."""


class EnkashAuthError(Exception):
    """Root of every error that this package raises on purpose."""


class ConfigurationError(EnkashAuthError):
    """Settings are missing or malformed; the message names each of them and no value. Fix the settings."""


class RefusedError(EnkashAuthError):
    """The server said no. Call a person: the vendor locks an account after three refusals (portal, api-24480514).

    `status` is the HTTP status, `error` the OAuth error code (RFC 6749 section 5.2) if the server gave one. `row` names
    the row of the table in docs/errors.md that forbids to send the password again, if one does; `passwords` is how many
    have been sent since the last success; `retry_after` is in seconds, None if the password will not be sent again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error: str | None = None,
        row: str | None = None,
        passwords: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.error = status, error
        self.row, self.passwords, self.retry_after = row, passwords, retry_after


class UnavailableError(EnkashAuthError):
    """No answer now: network, timeout, 5xx or 429. Try later: `retry_after` is in seconds, None when unknown.

    `row` and `passwords` are as in `RefusedError`.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, row: str | None = None, passwords: int = 0
    ) -> None:
        super().__init__(message)
        self.retry_after, self.row, self.passwords = retry_after, row, passwords


class ProtocolError(EnkashAuthError):
    """A 200 that holds no usable token. Report a bug."""
