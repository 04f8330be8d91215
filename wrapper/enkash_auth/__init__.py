"""Sign in to EnKash: one object that always returns a valid token."""

from typing import TYPE_CHECKING

from . import errors
from ._policy.token import Token
from ._provider import TokenProvider
from ._settings.credentials import Credentials

if TYPE_CHECKING:
    from ._auth import EnkashAuth

__all__ = ["Credentials", "EnkashAuth", "Token", "TokenProvider", "errors"]
__version__: str
__spec_version__: str

if not TYPE_CHECKING:  # pragma: no branch  # with it, a type checker would accept any misspelt name

    def __getattr__(name: str) -> object:
        # httpx takes longer to import than everything else, and pytest imports this package in every run.
        if name == "EnkashAuth":
            from ._forks import forks

            with forks.waiting():
                from ._auth import EnkashAuth
            return EnkashAuth
        # Reading metadata takes milliseconds, so it is read when somebody asks.
        if name == "__version__":
            from ._versions import version

            return version()
        if name == "__spec_version__":
            from ._versions import spec_version

            return spec_version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
