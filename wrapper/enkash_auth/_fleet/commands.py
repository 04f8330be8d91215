"""The commands of a shared sign-in: what its steps ask of their shell, and what they return."""

from collections.abc import Generator, Mapping
from typing import Any, Literal

from attrs import frozen

from enkash_auth._policy.attempts import Decision
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure
from enkash_auth._signin.account import SignIn
from enkash_auth.stores import StoreError


class TooSlowError(StoreError):
    """The store did not answer in its time: it counts as one that cannot be reached."""


# the account's token, and whether its server is sticky; these credentials' attempts, and their last reset
Entry = Literal["token", "sticky", "ledger", "reset"]


@frozen
class Read:
    """Reply: the entry, the seconds since it was written and the seconds that it is still kept; or None."""

    kind: Entry


@frozen
class Save:
    """Reply: whether the entry was kept; if its time of writing is given, only while the lease is held."""

    kind: Entry
    entry: Mapping[str, Any]
    seconds: float
    written: Moment | None = None


@frozen
class Delete:
    kind: Entry


@frozen
class Lease:
    """Reply: whether this process has the lease now, and no other."""

    seconds: float


@frozen
class Release:
    """Give the lease back, if it is held; this raises nothing."""


@frozen
class Send:
    """Send one token request, if that is possible before `deadline` by both clocks.

    Reply: the outcome (a record or a failure) and the `Answer`. Its header leaves no sooner than `leaves` (monotonic).
    """

    record: TokenRecord | None
    deadline: Moment
    leaves: float


@frozen
class Pause:
    seconds: float


@frozen
class Source:
    """Read the credentials' source. Reply: None if it still names these, else a `SignIn` with others, or a failure."""


@frozen
class Ended:
    """How a sign-in ended. `outcome` may be what `Source` replied, and is None for a request that was not sent.

    `decision` says what the ledger allows next, if anything was sent or the ledger forbade it.
    """

    outcome: TokenRecord | Failure | SignIn | None
    requests: int = 0
    decision: Decision | None = None


Stored = Read | Save | Delete | Lease
Command = Stored | Release | Send | Pause | Source
Steps = Generator[Command, Any, Any]
