"""EnkashAuth: adds the token to the requests of httpx and httpx2."""

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx

from ._calls import Call, Pinned
from ._policy.token import Token
from ._settings.origin import Origin

_IN_MEMORY = bytes, str, BytesIO  # httpx and httpx2 rewind the last
_SIGNED = "enkash_auth.signed"  # the Authorization header that this package has set


class EnkashAuth(Pinned, httpx.Auth):
    """The `auth` of an httpx or httpx2 client, sync or async.

    Only `origins` (https unless loopback) get the token; without `origins`, only the origin of the provider's base URL.
    Requests to other origins are sent without a token. If a token is answered with 401, the request is repeated once
    with a new one, but for a stream and a multipart form with a file from disk. Raises what `TokenProvider.token`
    raises. The auth is a context manager; `close` closes its provider.
    """

    if TYPE_CHECKING:  # type checkers do not see httpx2's `isinstance`; its clients also take a callable

        def __call__(self, request: Any) -> Any: ...

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Sign the request; repeat it once after a 401."""
        call = self._call(_origin(request.url), request.extensions.get(_SIGNED, ""))
        signed = _signed(request, call, self._provider.token() if call.gets_token() else None)
        response = yield signed
        try:
            if repeat := _can_repeat(call, request, response):
                response.read()  # its connection is free then: the sign-in may share the transport, and its limits
        finally:
            del response  # its repr shows the reason phrase, where a server may repeat the token
        if repeat:
            fresh = self._provider.token()
            if seconds := call.pause(fresh):
                self._engine.runtime.pause(seconds)
            if call.gets_token():
                yield _signed(request, call, fresh)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Sign the request; repeat it once after a 401."""
        call = self._call(_origin(request.url), request.extensions.get(_SIGNED, ""))
        signed = _signed(request, call, await self._provider.atoken() if call.gets_token() else None)
        response = yield signed
        try:
            if repeat := _can_repeat(call, request, response):
                await response.aread()
        finally:
            del response
        if repeat:
            fresh = await self._provider.atoken()
            if seconds := call.pause(fresh):
                import asyncio

                with suppress(RuntimeError):  # trio, or no event loop
                    await asyncio.sleep(seconds)
            if call.gets_token():
                yield _signed(request, call, fresh)

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


def _signed(request: Any, call: Call, token: Token | None) -> Any:
    call.sign(request.headers, token)
    request.extensions = {**request.extensions, _SIGNED: call.signed}  # up to httpx 0.27 it may be the caller's own
    return request


def _can_repeat(call: Call, request: Any, response: Any) -> bool:
    call.signed = response.request.extensions.get(_SIGNED, call.signed)  # another thread may send the same request
    if not call.rejected(response.status_code, response.request.headers) or response.history:
        return False  # an API that redirects has handled the request: no second payment
    try:
        return request.content is not None
    except RuntimeError:  # RequestNotRead of httpx or httpx2: a stream, which can be sent twice only from memory
        fields: list[Any] = getattr(request.stream, "fields", [])  # of a multipart form
        return bool(fields) and all(isinstance(getattr(one, "file", b""), _IN_MEMORY) for one in fields)
