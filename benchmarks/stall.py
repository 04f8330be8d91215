"""The longest gap of a loop while 10,000 tasks wait for one grant, beside the same tasks on an asyncio.Event."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import httpx

from enkash_auth import Credentials, TokenProvider

TASKS = 10_000


async def longest_gap(wait: Callable[[], Awaitable[object]], release: Callable[[], None]) -> float:
    """Return milliseconds."""
    gaps: list[float] = []
    done = False

    async def beat() -> None:
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def one() -> None:
        await wait()

    beating = asyncio.create_task(beat())
    tasks = [asyncio.create_task(one()) for _ in range(TASKS)]
    await asyncio.sleep(0.05)
    release()
    await asyncio.gather(*tasks)
    done = True
    await beating
    return max(gaps) * 1000


async def main() -> None:
    for _ in range(5):
        event = asyncio.Event()
        base = await longest_gap(event.wait, event.set)
        landed = threading.Event()

        def answer(_: httpx.Request, landed: threading.Event = landed) -> httpx.Response:
            landed.wait(5)
            return httpx.Response(200, json={"access_token": "t", "expires_in": 300})

        creds = Credentials("https://token.example", "u", "p", "c", "s")
        with TokenProvider(creds, transport=httpx.MockTransport(answer)) as provider:
            ours = await longest_gap(provider.atoken, landed.set)
        print(f"asyncio.Event {base:6.1f} ms   TokenProvider {ours:6.1f} ms   difference {ours - base:6.1f} ms")


asyncio.run(main())
