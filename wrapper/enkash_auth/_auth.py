"""EnkashAuth: adds the token to requests to the listed origins."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self, Unpack

import httpx

from ._policy.token import Token
from ._provider import Options, TokenProvider, engine_of
from ._settings.origin import Origin, parse_origins

if TYPE_CHECKING:
    from .stores import Store

_ROW_GAP = 0.05  # seconds: a JDBC token store deletes a living token at each sign-in, and inserts it again
_IN_MEMORY = bytes, str, BytesIO  # httpx and httpx2 rewind the last
_SIGNED = "enkash_auth.signed"  # the Authorization header that this package has set


class EnkashAuth(httpx.Auth):
    """The `auth` of an httpx client, sync or async.

    Only `origins` (https unless loopback) get the token; without `origins`, only the origin of the provider's base URL.
    Requests to other origins are sent without a token. If such an origin answers 401, the request is repeated once with
    a new token, provided that its body can be sent again. Raises what `TokenProvider.token` raises. The auth is a
    context manager; `close` closes its provider.
    """

    if TYPE_CHECKING:  # type checkers do not see httpx2's `isinstance`; its clients also take a callable

        def __call__(self, request: Any) -> Any: ...

    def __init__(self, provider: TokenProvider, origins: Iterable[str] = ()) -> None:
        self._provider, self._engine = provider, engine_of(provider)
        self._listed = parse_origins(origins)

    @classmethod
    def from_env(
        cls,
        origins: Iterable[str] = (),
        *,
        profile: str | None = None,
        store: Store | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Return an auth over `TokenProvider.from_env(...)`; raises `ConfigurationError`."""
        return cls(TokenProvider.from_env(profile=profile, store=store, **options), origins)

    def close(self) -> None:
        """Close the provider; later requests raise `ConfigurationError`."""
        self._provider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Sign the request; repeat it once after a 401."""
        asked, origin = self._engine.runtime.monotonic(), _origin(request.url)
        token = self._provider.token() if self._belongs(origin) else None
        # checked again: the sign-in may have read settings that name another host
        response = yield _signed(request, token if self._belongs(origin) else None)
        if response.status_code == 401 and token and self._can_repeat(request, response, token, asked):
            fresh = self._provider.token()
            if fresh.access_token == token.access_token:
                self._engine.runtime.pause(_ROW_GAP)
            if self._belongs(origin):
                yield _signed(request, fresh)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Sign the request; repeat it once after a 401."""
        asked, origin = self._engine.runtime.monotonic(), _origin(request.url)
        token = await self._provider.atoken() if self._belongs(origin) else None
        # checked again: the sign-in may have read settings that name another host
        response = yield _signed(request, token if self._belongs(origin) else None)
        if response.status_code == 401 and token and self._can_repeat(request, response, token, asked):
            fresh = await self._provider.atoken()
            if fresh.access_token == token.access_token:
                import asyncio

                with suppress(RuntimeError):  # trio, or no event loop
                    await asyncio.sleep(_ROW_GAP)
            if self._belongs(origin):
                yield _signed(request, fresh)

    def _belongs(self, origin: Origin) -> bool:
        return origin in self._listed if self._listed else origin == self._engine.held.account.gateway.origin

    def _can_repeat(self, request: Any, response: Any, token: Token, asked: float) -> bool:
        """Reject the token that the API answered with 401; return whether the request can be repeated."""
        ours = request.extensions.get(_SIGNED)
        if ours is None or response.request.headers.get("Authorization") != ours:
            return False  # httpx followed a redirect to another origin, without the token
        self._engine.reject(token, asked)
        if response.history:
            return False  # an API that redirects has handled the request: no second payment
        try:
            return request.content is not None
        except RuntimeError:  # RequestNotRead of httpx or httpx2: a stream, which can be sent twice only from memory
            fields: list[Any] = getattr(request.stream, "fields", [])  # of a multipart form
            return bool(fields) and all(isinstance(getattr(one, "file", b""), _IN_MEMORY) for one in fields)

    @property  # type: ignore[misc]  # read-only, as in unittest.mock
    def __class__(self) -> type[Any]:  # pyright: ignore
        """The class for `isinstance`: also an httpx2 `Auth`, if the process has imported httpx2."""
        theirs = getattr(sys.modules.get("httpx2"), "Auth", None)
        ours: Any = type(self)
        return _both(ours, theirs)


@cache
def _both(ours: Any, theirs: Any) -> type[Any]:
    return type(ours.__name__, (ours, theirs), {}) if theirs else ours


def _origin(url: Any) -> Origin:
    scheme = url.scheme
    return scheme, url.raw_host.decode("ascii"), url.port or (443 if scheme == "https" else 80)


def _signed(request: Any, token: Token | None) -> Any:
    if token:
        request.extensions[_SIGNED] = request.headers["Authorization"] = f"Bearer {token.access_token}"
    elif (ours := request.extensions.get(_SIGNED)) and request.headers.get("Authorization") == ours:
        del request.headers["Authorization"]  # the request is sent again, now to another origin
    return request
