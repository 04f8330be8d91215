"""What a store has to do."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class StoreError(Exception):
    """A store cannot be used now; the message holds no secret. Any other exception of a store counts as one, too."""


class Lock(Protocol):
    """A lease on a key. It ends by itself, so that a holder that was killed delays others no longer."""

    def release(self) -> None:
        """End the lease, unless it has ended and is another's by now."""


class Store(Protocol):
    """Bytes by key, for a time; all seconds are relative, so that no two machines need the same clock.

    Keys are short text of `[a-z0-9-]`; values are encrypted before they come here. Methods are called on threads of
    the engine's, by several at once, and by forked children. They raise `StoreError` (or anything) within a second or
    two where the store does not answer.
    """

    def load(self, key: str) -> tuple[bytes, float] | None:
        """Return the value and the seconds it still lives, None where there is none."""
        ...

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        """Keep the value for `seconds` from now; with a `lock`, only while that is held. Return whether it was kept.

        With a `lock`, a value that arrives late lives shorter by that: else it would seem younger than it is.
        """
        ...

    def delete(self, key: str) -> None:
        """Forget the value, if there is one."""

    def lock(self, key: str, seconds: float) -> Lock | None:
        """Return a lease on the key for at most `seconds`, at once; None while another holds one."""
        ...

    def close(self) -> None:
        """Give back what the store holds open."""


def told(what: str, *errors: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a method raise `StoreError` instead of `errors`, whose text and frames may tell more than `what`."""

    def made(method: Callable[P, T]) -> Callable[P, T]:
        @wraps(method)
        def telling(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(*args, **kwargs)
            except errors as error:
                why = type(error).__name__
            raise StoreError(f"{what} ({why})")

        return telling

    return made
