"""A session of aiohttp (3.12 or later); run it: API_URL=https://api.example python examples/aiohttp_session.py"""

import asyncio
import os

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession
from yarl import URL

from enkash_auth import TokenProvider


class EnkashAuth:
    def __init__(self, provider: TokenProvider, api_url: str) -> None:
        self.provider, self.origin = provider, URL(api_url).origin()

    async def __call__(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        if request.url.origin() != self.origin:  # other origins must not get the token
            return await send(request)
        token = await self.provider.atoken()
        request.headers["Authorization"] = f"Bearer {token.access_token}"
        answer = await send(request)
        if answer.status != 401 or getattr(request.body, "consumed", False):  # a stream can be sent only once
            return answer
        self.provider.invalidate(token)
        if (fresh := (await self.provider.atoken()).access_token) == token.access_token:
            return answer
        answer.release()
        request.headers["Authorization"] = f"Bearer {fresh}"
        return await send(request)


async def main() -> None:
    url = os.environ["API_URL"]
    with TokenProvider.from_env() as provider:
        async with ClientSession(url, middlewares=[EnkashAuth(provider, url)]) as session:
            print(await (await session.get("/api/echo")).json())


if __name__ == "__main__":
    asyncio.run(main())
