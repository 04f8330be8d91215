"""Sign in to EnKash: one object that always has a valid token."""

from . import errors
from ._auth import EnkashAuth
from ._credentials import Credentials
from ._provider import TokenProvider
from ._token import Token

__all__ = ["Credentials", "EnkashAuth", "Token", "TokenProvider", "errors"]
