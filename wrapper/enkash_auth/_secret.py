"""Secret: text that nothing shows."""

from collections.abc import Callable
from typing import NoReturn


class Secret:
    """An opaque value: `reveal()` returns it, nothing else does."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # a closure: no attribute for a debugger or a serializer to print
        self._reveal: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the secret text."""
        return self._reveal()

    def __repr__(self) -> str:
        return "**********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
