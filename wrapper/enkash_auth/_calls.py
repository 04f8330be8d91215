"""Calls of APIs, whatever the HTTP client: which of them get the token, and which answers reject it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Self, Unpack

from ._engine import Engine
from ._policy.token import Token
from ._provider import Options, TokenProvider, engine_of
from ._settings.environment import load_origins
from ._settings.origin import Origin, parse_origin, parse_origins

if TYPE_CHECKING:
    from .stores import Store

_ROW_GAP = 0.05  # seconds: a JDBC token store deletes a living token at each sign-in, and inserts it again


class Pinned:
    """A provider, and the origins that get its token: what the auths of all HTTP clients have in common."""

    def __init__(self, provider: TokenProvider, origins: Iterable[str] = ()) -> None:
        self._provider, self._engine = provider, engine_of(provider)
        self._listed = parse_origins(origins)

    @classmethod
    def from_env(
        cls,
        origins: Iterable[str] | None = None,
        *,
        profile: str | None = None,
        store: Store | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Return an auth over `TokenProvider.from_env(...)`; raises `ConfigurationError`.

        Its origins are those of `ENKASH_ORIGINS`, unless `origins` are given.
        """
        listed = load_origins(profile) if origins is None else origins
        return cls(TokenProvider.from_env(profile=profile, store=store, **options), listed)

    def close(self) -> None:
        """Close the provider; later requests raise `ConfigurationError`."""
        self._provider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, url: str | Origin, signed: str = "") -> Call:
        return Call(self._engine, self._listed, origin_of(url) if isinstance(url, str) else url, signed)


class Call:
    """One request to an API. `signed` is the `Authorization` header that this package has set on it."""

    def __init__(self, engine: Engine, listed: frozenset[Origin], origin: Origin | None, signed: str) -> None:
        self._engine, self._listed, self._origin, self.signed = engine, listed, origin, signed
        self._asked = engine.runtime.monotonic()
        self._token: Token | None = None

    def gets_token(self) -> bool:
        """Whether the request's origin gets the token now: a sign-in may have read settings that name another host."""
        origin = self._origin
        return origin in self._listed if self._listed else origin == self._engine.held.account.gateway.origin

    def sign(self, headers: MutableMapping[str, Any], token: Token | None) -> None:
        """Add the token if the origin gets it; else remove the one that this package has added."""
        if token and self.gets_token():
            self._token = token
            self.signed = headers["Authorization"] = f"Bearer {token.access_token}"
        elif self.signed and headers.get("Authorization") == self.signed:
            del headers["Authorization"]  # the request is sent again, now to another origin

    def rejected(self, status: int, headers: MutableMapping[str, Any]) -> bool:
        """Whether an answer is a 401 to the token, which was sent in `headers`; the token is invalidated then."""
        asked, self._asked = self._asked, self._engine.runtime.monotonic()  # a prepared request may be sent again
        if status != 401 or not self._token or headers.get("Authorization") != self.signed:
            return False  # or a redirect to another origin, without the token
        self._engine.reject(self._token, asked)
        return True

    def pause(self, fresh: Token) -> float:
        """Return the seconds until the request is repeated with a token."""
        return _ROW_GAP if self._token and fresh.access_token == self._token.access_token else 0.0


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL, None if no token can go there."""
    try:
        return parse_origin(url)
    except ValueError:
        return None
