"""EnkashAuth: puts the token on requests to the origins it belongs to."""

import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import httpx

from ._origin import parse_origins
from ._provider import TokenProvider
from ._token import Token

if TYPE_CHECKING:
    import httpx2  # not needed: where it is missing, checkers take it for Any

    class _Auth(httpx.Auth, httpx2.Auth): ...  # type: ignore[misc]  # pyright: ignore
else:
    _Auth = httpx.Auth


class EnkashAuth(_Auth):
    """The `auth` of an httpx client, sync or async.

    The token goes to `origins` only (https unless loopback), to the origin of the provider's base URL when there
    are none; a request to any other origin leaves without it. A 401 from such an origin fetches a new token and
    repeats the request once, if its body can be sent again. Raises what `TokenProvider.token` raises.
    """

    def __init__(self, provider: TokenProvider, origins: Iterable[str] = ()) -> None:
        self._provider = provider
        self._origins = parse_origins(origins) or {provider.credentials.origin}

    @classmethod
    def from_env(cls, origins: Iterable[str] = ()) -> Self:
        """Return an auth over `TokenProvider.from_env()`; raises `ConfigurationError`."""
        return cls(TokenProvider.from_env(), origins)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Sign the request; repeat it once after a 401."""
        asked = self._provider._monotonic()
        token = self._provider.token() if self._belongs(request) else None
        response = yield _signed(request, token)
        if token and self._mendable(request, response) and self._provider._rejected(token, asked):
            fresh = self._provider.token()
            if fresh.access_token != token.access_token:
                yield _signed(request, fresh)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Sign the request; repeat it once after a 401."""
        asked = self._provider._monotonic()
        token = await self._provider.atoken() if self._belongs(request) else None
        response = yield _signed(request, token)
        if token and self._mendable(request, response) and self._provider._rejected(token, asked):
            fresh = await self._provider.atoken()
            if fresh.access_token != token.access_token:
                yield _signed(request, fresh)

    def _belongs(self, request: Any) -> bool:
        url = request.url
        return (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)) in self._origins

    def _mendable(self, request: Any, response: Any) -> bool:
        # the answer may be another origin's, reached by a redirect that httpx followed without the token
        if response.status_code != 401 or not self._belongs(response.request):
            return False
        try:
            return request.content is not None
        except RuntimeError:  # RequestNotRead of httpx or httpx2: a stream that can be sent only once
            return False

    @property  # type: ignore[misc]  # read-only, as in unittest.mock
    def __class__(self) -> type[Any]:  # pyright: ignore
        """What `isinstance` sees: an `Auth` of httpx2, too, in a process that has imported httpx2."""
        theirs = getattr(sys.modules.get("httpx2"), "Auth", None)
        ours: Any = type(self)
        return _both(ours, theirs)


@cache
def _both(ours: Any, theirs: Any) -> type[Any]:
    return type(ours.__name__, (ours, theirs), {}) if theirs else ours


def _signed(request: Any, token: Token | None) -> Any:
    if token:
        request.headers["Authorization"] = f"Bearer {token.access_token}"
    return request
