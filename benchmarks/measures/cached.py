"""Compares a cached token with a hand-written attribute and clock, and the auth flow with a static header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from peers import Account, load
from server import Control

CALLS, ROUNDS = 2_000, 100
REQUESTS, FLOW_ROUNDS = 20, 300


def called(call: Callable[[], object]) -> float:
    """Return nanoseconds per call."""
    started = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - started) / CALLS


async def awaited(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter_ns()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter_ns() - started) / CALLS


def best(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the best of each side of interleaved rounds."""
    return min(one for one, _ in rounds), min(other for _, other in rounds)


async def asynchronously(peer: Any, hand: Any) -> tuple[float, float]:
    await peer.atoken(), await hand.atoken()
    return best([(await awaited(hand.atoken), await awaited(peer.atoken)) for _ in range(ROUNDS)])


def flow(auth: httpx.Auth, base_url: str) -> tuple[float, float]:
    """Return nanoseconds per httpx request without a network, with a static header and with the auth."""
    answer = httpx.MockTransport(lambda _: httpx.Response(200))
    static = httpx.Client(transport=answer, headers={"Authorization": "Bearer static"})
    signing = httpx.Client(transport=answer, auth=auth)

    def one(client: httpx.Client) -> float:
        started = time.perf_counter_ns()
        for _ in range(REQUESTS):
            client.get(base_url)
        return (time.perf_counter_ns() - started) / REQUESTS

    return best([(one(static), one(signing)) for _ in range(FLOW_ROUNDS)])


async def async_flow(auth: httpx.Auth, base_url: str) -> tuple[float, float]:
    answer = httpx.MockTransport(lambda _: httpx.Response(200))
    static = httpx.AsyncClient(transport=answer, headers={"Authorization": "Bearer static"})
    signing = httpx.AsyncClient(transport=answer, auth=auth)

    async def one(client: httpx.AsyncClient) -> float:
        started = time.perf_counter_ns()
        for _ in range(REQUESTS):
            await client.get(base_url)
        return (time.perf_counter_ns() - started) / REQUESTS

    return best([(await one(static), await one(signing)) for _ in range(FLOW_ROUNDS)])


def run(name: str, account: Account, server: Control, quick: bool) -> dict[str, float]:
    peer, hand = load(name).make(account), load("by_hand_attribute").make(account)
    peer.token(), hand.token()
    by_hand, ours = best([(called(hand.token), called(peer.token)) for _ in range(ROUNDS)])
    found = {"sync_ns": ours, "sync_ratio": ours / by_hand}
    if hasattr(peer, "atoken"):
        by_hand, ours = asyncio.run(asynchronously(peer, hand))
        found |= {"async_ns": ours, "async_ratio": ours / by_hand}
    if hasattr(peer, "auth"):
        static, ours = flow(peer.auth, account.base_url)
        found |= {"flow_us": (ours - static) / 1000, "flow_ratio": ours / static}
        static, ours = asyncio.run(async_flow(peer.auth, account.base_url))
        found |= {"async_flow_us": (ours - static) / 1000, "async_flow_ratio": ours / static}
    return found
