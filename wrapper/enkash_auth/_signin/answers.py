"""What an answer that is no token says (pure)."""

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

from enkash_auth._policy.backoff import LONGEST_RETRY_AFTER
from enkash_auth._policy.classification import TRY_LATER, Answer, Kind, classify
from enkash_auth._policy.outcome import Refused, Unavailable

# RFC 6749 section 5.2, RFC 6750 section 3.1, and two of Spring's; a code that is not listed is not read
_ERROR_CODES = {
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope", "invalid_token", "insufficient_scope", "server_error", "temporarily_unavailable",
    "unauthorized", "access_denied",
}  # fmt: skip


def failure_of(answer: Answer, host: str, retry_after: float | None) -> Refused | Unavailable:
    """Return what an answer other than a 200 is to callers."""
    refused = classify(answer) in (Kind.CLEAR, Kind.CLIENT)  # under any status
    if not refused and (answer.status in TRY_LATER or answer.status >= 500):
        return Unavailable(f"status {answer.status}", host, retry_after)
    return Refused(answer.status, answer.error, False, host)


def read_body(body: bytes) -> tuple[bool, str | None]:
    """Return whether a body is JSON, and the OAuth error code in it; any other text may be a secret."""
    try:
        found = json.loads(body.decode(json.detect_encoding(body), "replace"))  # a message may be in Latin-1
    except (ValueError, RecursionError):
        return False, None
    error = found.get("error") if isinstance(found, dict) else None
    return True, error if isinstance(error, str) and error in _ERROR_CODES else None


def has_basic_challenge(challenges: Iterable[str]) -> bool:
    """Return whether a `WWW-Authenticate` asks for Basic (RFC 9110 section 11.6.1): not the user, but the client."""
    return any(re.search(r"(?:^|,)\s*basic\b", challenge, re.IGNORECASE) for challenge in challenges)


def read_retry_after(value: str, date: str, now: float) -> float | None:
    """Return the seconds, an hour at most, that a `Retry-After` asks for (RFC 9110 section 10.2.3), else None.

    One that is a date counts from the answer's `Date`: this machine's clock, which says `now`, may be wrong.
    """
    if re.fullmatch(r"\d+", value, re.ASCII):
        return min(float(value), LONGEST_RETRY_AFTER)
    until, since = _timestamp(value), _timestamp(date)
    if until is None:
        return None
    return min(max(0.0, math.ceil(until - (now if since is None else since))), LONGEST_RETRY_AFTER)


def _timestamp(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
