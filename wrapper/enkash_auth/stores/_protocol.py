"""The interface of a store."""

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from enkash_auth._policy.cause import cause_of

Method = TypeVar("Method", bound=Callable[..., Any])


class StoreError(Exception):
    """The store cannot be used now. The message holds no secret. Any other exception of a store has the same effect."""


class Lock(Protocol):
    """A lease on a key. It expires, so that a killed holder does not block the others. It belongs to no thread."""

    def release(self) -> None:
        """Give the lease back, unless it has expired and another holder has it."""


class Store(Protocol):
    """Keeps bytes by key for some seconds. All times are relative, so machines need not have the same clock.

    Keys are up to 50 characters of `[a-z0-9-]`; values are already encrypted, and some are kept for ten years. Methods
    are called on threads of the engine, several at once, and in forked children. If the store does not answer, they
    raise `StoreError` (or any other exception) within a second or two.
    """

    def load(self, key: str) -> tuple[bytes, float] | None:
        """Return the value and the seconds until it expires, not rounded up; None if it is missing."""
        ...

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        """Keep the value for `seconds` from now; with a `lock`, only while that is held. Return whether it was kept.

        With a `lock`, subtract a delay on the way from `seconds`: else the value would seem younger than it is.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete the value; a missing one is no error."""

    def lock(self, key: str, seconds: float) -> Lock | None:
        """Return at once a lease on the key for at most `seconds`, or None if another holder has it."""
        ...

    def close(self) -> None:
        """Close connections and files."""


class Lease:
    """A lease of this package's stores: held by the owner that its store names, until it expires."""

    def __init__(self, key: str, release: Callable[["Lease"], None]) -> None:
        self.key, self.owner, self._release = key, secrets.token_hex(16).encode(), release
        self.clock = 0.0  # a server's time minus ours; the answer's delay makes it too small, never too large

    def release(self) -> None:
        self._release(self)


def store_errors(*errors: type[Exception], failed: Callable[[Any], object] = id) -> Callable[[Method], Method]:
    """Let a method raise a `StoreError` with place and cause instead of `errors`, whose text may hold secrets.

    `failed` is called with the store first.
    """

    def made(method: Method) -> Method:
        @wraps(method)
        def wrapped(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            except errors as error:
                why = cause_of(error)
            failed(self)
            raise StoreError(f"the token store {self.place} failed: {why}")

        return cast(Method, wrapped)

    return made
