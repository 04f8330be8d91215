"""EnkashMiddleware: a middleware of aiohttp's client sessions (aiohttp 3.12.1 or later)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aiohttp import MultipartWriter
from aiohttp.payload import BytesIOPayload, BytesPayload

from enkash_auth._calls import Call, Pinned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    from enkash_auth import Token, TokenProvider


class EnkashMiddleware(Pinned):
    """One of a client session's `middlewares`; takes, does and raises what `EnkashAuth` does.

    A 401 after a redirect repeats the request that was redirected to.
    """

    def __init__(self, provider: TokenProvider, origins: Iterable[str] = ()) -> None:
        super().__init__(provider, origins)
        # what was set: another middleware may send a request again, and then to another origin
        self._signed: WeakKeyDictionary[ClientRequest, str] = WeakKeyDictionary()

    async def __call__(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        call = self._call(str(request.url), self._signed.get(request, ""))
        self._sign(request, call, await self._provider.atoken() if call.gets_token() else None)
        response = await send(request)
        if call.rejected(response.status, request.headers) and _can_repeat(request):
            try:
                fresh = await self._provider.atoken()
                await asyncio.sleep(call.pause(fresh))
            except BaseException:
                response.close()
                del response  # its repr shows its headers, and a server may repeat the token there
                raise
            if call.gets_token():
                response.release()
                self._sign(request, call, fresh)
                response = await send(request)
        return response

    def _sign(self, request: ClientRequest, call: Call, token: Token | None) -> None:
        call.sign(request.headers, token)
        self._signed[request] = call.signed


def _can_repeat(request: ClientRequest) -> bool:
    """Whether a request can be sent twice: a multipart form only without a file from disk."""
    body: object = request.body
    if "Expect" in request.headers:  # aiohttp waits for one `100 Continue` a request: a second one would not be heard
        return False
    if isinstance(body, MultipartWriter):
        return all(isinstance(part, BytesPayload | BytesIOPayload) for part, *_ in body)
    return isinstance(body, bytes | BytesPayload)
