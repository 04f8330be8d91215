"""A held token beside a hand-written "attribute and clock comparison", sync and async: python benchmarks/hot_path.py"""

from __future__ import annotations

import asyncio
import time

import httpx

from enkash_auth import Credentials, TokenProvider

CALLS, ROUNDS = 20_000, 30


class ByHand:
    """What people write themselves."""

    def __init__(self) -> None:
        self._token, self._expires = "t", time.monotonic() + 300

    def token(self) -> str | None:
        if time.monotonic() < self._expires:
            return self._token
        return None

    async def atoken(self) -> str | None:
        if time.monotonic() < self._expires:
            return self._token
        return None


def sync_call(holder: ByHand | TokenProvider) -> float:
    """Return nanoseconds a call."""
    started = time.perf_counter_ns()
    for _ in range(CALLS):
        holder.token()
    return (time.perf_counter_ns() - started) / CALLS


async def async_call(holder: ByHand | TokenProvider) -> float:
    started = time.perf_counter_ns()
    for _ in range(CALLS):
        await holder.atoken()
    return (time.perf_counter_ns() - started) / CALLS


def measure() -> dict[str, tuple[float, float]]:
    """Return the best of interleaved rounds, in nanoseconds: by hand, and the provider's."""
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"access_token": "t", "expires_in": 300}))
    by_hand = ByHand()
    with TokenProvider(Credentials("https://token.example", "u", "p", "c", "s"), transport=answer) as provider:
        provider.token()
        sync = [(sync_call(by_hand), sync_call(provider)) for _ in range(ROUNDS)]

        async def both() -> tuple[float, float]:
            return await async_call(by_hand), await async_call(provider)

        waited = [asyncio.run(both()) for _ in range(ROUNDS)]
    return {
        name: (min(hand for hand, _ in rounds), min(ours for _, ours in rounds))
        for name, rounds in {"token()": sync, "await atoken()": waited}.items()
    }


if __name__ == "__main__":
    print("| a held token | by hand | TokenProvider | ratio |\n| --- | --- | --- | --- |")
    for name, (hand, ours) in measure().items():
        print(f"| {name} | {hand:.0f} ns | {ours:.0f} ns | {ours / hand:.2f} |")
