"""What a provider signs in with, and how that changes while the server refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from enkash_auth._forks import forks
from enkash_auth._policy.lifetime import Moment, TokenRecord
from enkash_auth._policy.outcome import Failure, Unavailable
from enkash_auth._policy.sign_in import Identity, Result
from enkash_auth._settings.credentials import Credentials, name_of

if TYPE_CHECKING:
    from enkash_auth.events import Event

    from .gateway import Gateway

Make = Callable[[Credentials], "Gateway"]
Source = Callable[[], Credentials]


@frozen
class Account:
    """Credentials, and what is made from them."""

    credentials: Credentials
    identity: Identity
    gateway: Gateway
    make: Make

    @classmethod
    def of(cls, credentials: Credentials, make: Make) -> Account:
        with forks.waiting():
            identity = Identity(credentials.origin[1], credentials.account, credentials.fingerprint())
            return cls(credentials, identity, make(credentials), make)

    def changed(self, source: Source | None) -> Account | None:
        """Return the account that the source names now, None if it is this one; raises what the source raises."""
        credentials = self.credentials if source is None else source()
        with forks.waiting():
            # not `==`: what a subclass adds (a lease that is new each time) makes no other account
            same = credentials.fingerprint() == self.identity.fingerprint
        return None if same else self.of(credentials, self.make)

    def reread(self, source: Source | None) -> Account | Unavailable | None:
        """As `changed`, on a sign-in's own thread: what the source raises becomes a failure that names its class."""
        try:
            return self.changed(source)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = f"the source {name_of(source)} failed ({type(error).__name__})"
            return Unavailable(reason, self.identity.host)


@frozen
class SignIn:
    """What a sign-in needs. `reread` reads the source: it returns one with others, None for these, or why it failed."""

    account: Account
    record: TokenRecord | None
    deadline: Moment
    reread: Callable[[], SignIn | Unavailable | None]

    def result(self, outcome: TokenRecord | Failure, requests: int = 0) -> Result:
        return Result(self.account.identity.fingerprint, outcome, requests)


class Signer(Protocol):
    """How a sign-in is done: `Direct`, or `Shared` with other processes."""

    def sign_in(self, given: SignIn) -> Result: ...
    def reset(self, account: Account) -> None: ...
    def inherit(self) -> None: ...  # in a forked child: the parent answers the attempts that are under way
    @property
    def events(self) -> list[Event]: ...  # not published yet
