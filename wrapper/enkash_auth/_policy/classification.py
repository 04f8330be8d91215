"""What an answer to a token request says about the account: was it tried, and may that have been a refusal?"""

from collections.abc import Container, Mapping
from enum import StrEnum

from attrs import frozen


class Kind(StrEnum):
    """What is known of an attempt."""

    OPEN = "open"  # under way; *orphaned* if its process will not answer any more
    REMOVED = "removed"  # surely not tried: the attempt leaves the ledger
    SUCCESS = "success"  # the attempt leaves the ledger, with all older ones
    UNKNOWN = "unknown"  # nobody knows whether the account was tried
    MAYBE = "maybe"  # may be a refusal
    CLIENT = "client"  # a refusal of the client id or its secret, not of the user
    CLEAR = "clear"  # a refusal
    RESET = "reset"  # no attempt, but a person's reset: it leaves room for one


@frozen
class Answer:
    """What a token request brought. `status` is 0 if no answer came; `departed`: the password may have left by then."""

    status: int = 0
    error: str | None = None  # the OAuth error code
    basic: bool = False  # whether there was a Basic challenge
    json: bool = False  # whether the body is whole, and JSON
    token: bool = False
    departed: bool = True


TRY_LATER = (408, 421, 425, 429, 503)  # statuses by which a server says that it has not looked at the request
# the first row that fits says what an answer is
ANSWERS: tuple[tuple[Kind, Mapping[str, Container[object]]], ...] = (
    (Kind.SUCCESS, {"token": [True]}),
    (Kind.CLEAR, {"error": ["invalid_grant"]}),
    (Kind.CLIENT, {"error": ["invalid_client"]}),
    (Kind.CLIENT, {"status": [401], "basic": [True]}),
    (Kind.REMOVED, {"status": [0], "departed": [False]}),
    (Kind.REMOVED, {"status": TRY_LATER}),
    (Kind.REMOVED, {"status": [404, 405, 413, 415], "json": [False]}),
    (Kind.UNKNOWN, {"status": [0, 404, 405, *range(300, 400), *range(500, 600)]}),
    (Kind.UNKNOWN, {"status": [401], "error": ["unauthorized"]}),
    (Kind.UNKNOWN, {"status": [200, 401, 403], "json": [False]}),
    (Kind.MAYBE, {}),
)


def classify(answer: Answer) -> Kind:
    """Return what the first fitting row of `ANSWERS` says."""
    return next(kind for kind, row in ANSWERS if all(getattr(answer, name) in row[name] for name in row))
