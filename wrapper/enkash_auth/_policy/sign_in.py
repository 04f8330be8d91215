"""Sign-ins as values: for whom, since when, and how one ended."""

from attrs import field, frozen

from .lifetime import Moment, TokenRecord
from .outcome import Failure


@frozen
class Identity:
    """Whose token it is. `fingerprint` names exactly these credentials, `account` what the server tells accounts by."""

    host: str
    account: tuple[str, ...] = field(repr=False)
    fingerprint: str


@frozen
class Pending:
    """The sign-in under way: its number, and when it is given up."""

    number: int
    end: Moment


@frozen
class Result:
    """How a sign-in with the credentials of `fingerprint` ended, and how many token requests it took."""

    fingerprint: str
    outcome: TokenRecord | Failure
    requests: int = 0
