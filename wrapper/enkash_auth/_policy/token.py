"""Token, and how a text or a number of the server becomes one."""

import math
import re
from datetime import UTC, datetime
from typing import Any, NoReturn

from attrs import astuple, field, frozen

from enkash_auth.errors import ProtocolError

_LONGEST_LIFE = 10 * 365 * 86_400.0
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 section 2.1: what a Bearer header can carry


@frozen(eq=False)
class Token:
    """An access token and when it expires.

    `expires_at` is an aware datetime in UTC. The token is never shown by `repr` and cannot be pickled.
    """

    access_token: str = field(repr=False)
    expires_at: datetime

    # by hand: where attrs' own finds a difference, pytest prints both tokens
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash(astuple(self))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Token holds a secret and cannot be pickled")


def read_access_token(value: object) -> str:
    """Return `value` if it is text that a header can carry, else raise `ProtocolError` (RFC 6750 section 2.1)."""
    if not isinstance(value, str) or not _B64TOKEN.fullmatch(value):
        raise ProtocolError("access_token is missing or is not a bearer token (RFC 6750)")
    return value


def read_life(value: Any) -> float | None:
    """Return the life in seconds that `expires_in` states: None if it is missing; 0 means "good for this call only".

    An integer or a numeric string counts; anything else raises `ProtocolError` (RFC 6749 section 5.1).
    """
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\d+", value, re.ASCII):
        value = int(min(float(value), _LONGEST_LIFE))  # int() refuses thousands of digits
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 0:
        raise ProtocolError("expires_in is not a whole number of seconds")
    return float(min(value, _LONGEST_LIFE))  # in this order: a float cannot hold 400 digits


def make_token(access_token: str, expires_at: float) -> Token:
    """Return the token that expires at `expires_at`, in seconds since the epoch."""
    return Token(access_token, datetime.fromtimestamp(expires_at, UTC))
