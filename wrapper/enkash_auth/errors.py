"""What can go wrong, by what a person does next: fix the settings, call somebody, try later, report a bug."""


class EnkashAuthError(Exception):
    """Root of every error that this package raises on purpose."""


class ConfigurationError(EnkashAuthError):
    """Settings are missing or malformed; the message names each of them and no value. Fix the settings."""


class RefusedError(EnkashAuthError):
    """The server said no. Call a person: the vendor locks an account after three refusals (portal, api-24480514).

    `status` is the HTTP status, `error` the OAuth error code (RFC 6749 section 5.2) where the server gave one.
    """

    def __init__(self, message: str, *, status: int, error: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class UnavailableError(EnkashAuthError):
    """No answer now: network, timeout, 5xx or 429. Try later: `retry_after` is in seconds, None when unknown."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProtocolError(EnkashAuthError):
    """A 200 that holds no usable token. Report a bug."""
