"""What a provider signs in with, and how that changes while the server refuses it."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from attrs import frozen

from enkash_auth._policy.cache import Identity
from enkash_auth._settings.credentials import Credentials

if TYPE_CHECKING:
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
        identity = Identity(credentials.origin[1], credentials.account, credentials.fingerprint())
        return cls(credentials, identity, make(credentials), make)

    def again(self) -> Account:
        """Return the same account with connections of its own, as a forked child needs it."""
        return self.of(self.credentials, self.make)

    def changed(self, source: Source | None, refused: Container[str]) -> Account | None:
        """Return the account that the source names now, None if the server has refused that one, too."""
        try:
            credentials = source() if source else self.credentials
            return None if credentials.fingerprint() in refused else self.of(credentials, self.make)
        except Exception:  # half-way through a rotation, or not readable now
            return None
