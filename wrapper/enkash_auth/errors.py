"""Errors, one class per next step: fix the settings, call a person, retry later, report a bug."""

import re
from typing import Any


class EnkashAuthError(Exception):
    """Base class of every error that this package raises on purpose.

    `retry_after` is in seconds, None if unknown. `row` is the row of the table in docs/errors.md that forbids another
    password, or None; with a `row` and no `retry_after` the password will not be sent again. `passwords` is the number
    sent since the last success or reset, 0 without a `row`.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, row: str | None = None, passwords: int = 0
    ) -> None:
        # one line of a log: a path that a setting names may end with a line break, which nobody would see
        super().__init__(re.sub(r"[\x00-\x1f\x7f]", lambda found: ascii(found[0])[1:-1], message))
        self.retry_after = retry_after  # one a line: nox -s api passes over a tuple
        self.row = row
        self.passwords = passwords


class ConfigurationError(EnkashAuthError):
    """Settings are missing or malformed, or an extra is missing. Fix what the message names; it shows no value."""


class RefusedError(EnkashAuthError):
    """The server refused the sign-in. Call a person: three failed sign-ins lock an account (api-24480514).

    `status` is the HTTP status, `error` the OAuth error code (RFC 6749 section 5.2) if the server gave one.
    """

    # without a status when it is unpickled, as Celery and process pools do
    def __init__(self, message: str, *, status: int = 0, error: str | None = None, **attempts: Any) -> None:
        super().__init__(message, **attempts)
        self.status = status
        self.error = error


class UnavailableError(EnkashAuthError):
    """No token now: network, timeout, 5xx or 429. Retry later."""


class ProtocolError(EnkashAuthError):
    """The server answered 200 without a usable token. Report a bug, unless the message says: perhaps a refusal."""
