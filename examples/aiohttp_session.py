"""A session of aiohttp (3.12.1 or later); run it: API_URL=https://api.example python examples/aiohttp_session.py"""

import asyncio
import os

from aiohttp import ClientSession

from enkash_auth.adapters.aiohttp import EnkashMiddleware

API_URL = os.environ["API_URL"]


async def main() -> None:
    with EnkashMiddleware.from_env(origins=[API_URL]) as auth:
        async with ClientSession(API_URL, middlewares=[auth]) as session:
            print(await (await session.get("/api/echo")).json())


if __name__ == "__main__":
    asyncio.run(main())
