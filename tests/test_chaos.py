"""A fleet under steady load while its Valkey is paused, killed, emptied and cut short. `nox -s chaos` takes longer."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest

from enkash_auth import TokenProvider
from enkash_auth.stores import Store, from_url
from enkash_auth.testing import Sandbox
from proxy import Proxy
from valkey_server import Valkey
from valkey_sets import cluster, cluster_store, primary_and_replica

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
RATE = 50  # calls a second and member
LIFE = 2


class Member(threading.Thread):
    """A process's part: asks for a token steadily, and tries each at its own account's API."""

    def __init__(self, sandbox: Sandbox, store: Store, until: float) -> None:
        super().__init__(daemon=True)
        self.sandbox, self.until = sandbox, until
        self.failed: list[str] = []
        self.calls, self.longest = 0, 0.0
        self.events: Counter[str] = Counter()
        self.provider = TokenProvider(
            sandbox.credentials(), store=store, on_event=lambda event: self.events.update([event.kind])
        )

    def run(self) -> None:
        while (asked := time.monotonic()) < self.until:
            try:
                token = self.provider.token()
                if self.sandbox.call(f"Bearer {token.access_token}").status != 200:
                    self.failed.append("a dead or foreign token")
            except Exception as error:
                self.failed.append(str(error))
            took = time.monotonic() - asked
            self.calls, self.longest = self.calls + 1, max(self.longest, took)
            threading.Event().wait(max(0.0, 1 / RATE - took))


@contextmanager
def paused(valkey: Valkey, proxy: Proxy) -> Any:
    valkey.pause()
    yield
    valkey.resume()


@contextmanager
def killed(valkey: Valkey, proxy: Proxy) -> Any:
    valkey.kill()
    yield
    valkey.start()


@contextmanager
def emptied(valkey: Valkey, proxy: Proxy) -> Any:
    valkey.kill()
    valkey.start()
    yield


@contextmanager
def cut_short(valkey: Valkey, proxy: Proxy) -> Any:
    proxy.cut = 7
    yield
    proxy.cut = None


TROUBLES: tuple[Callable[[Valkey, Proxy], Any], ...] = (paused, killed, emptied, cut_short)


@pytest.mark.alone
def test_no_call_fails_whatever_happens_to_the_store() -> None:
    chance = Random(4)
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        proxy = stack.enter_context(Proxy(valkey.socket))
        tenants = [stack.enter_context(Sandbox(life=LIFE, latency=0.05, sticky=sticky)) for sticky in (True, False)]
        until = time.monotonic() + SECONDS
        url = f"redis://127.0.0.1:{proxy.port}/0"
        members = [Member(tenant, from_url(url), until) for tenant in tenants for _ in range(3)]
        for member in members:
            stack.enter_context(member.provider)
            member.start()
        for trouble in cycle(TROUBLES):
            if time.monotonic() > until:
                break
            threading.Event().wait(chance.uniform(0.2, 2.0))
            with trouble(valkey, proxy):
                threading.Event().wait(chance.uniform(0.1, 2.5))
        for member in members:
            member.join()
    lives = SECONDS / LIFE
    for tenant in tenants:
        print(f"sticky {tenant.sticky}: {tenant.token_requests} token requests in {lives:.0f} lives, 3 members")
    print(f"{sum(member.calls for member in members)} calls, longest {max(member.longest for member in members):.2f} s")
    print(sum((member.events for member in members), Counter()))
    assert [member.failed for member in members] == [[]] * len(members)
    assert all(member.calls for member in members)
    assert sum(member.events["store_down"] for member in members)
    assert sum(member.events["adopted"] for member in members)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
@pytest.mark.parametrize("trouble", [Valkey.kill, Valkey.pause])
def test_no_call_fails_while_another_server_takes_over(
    kind: str, trouble: Callable[[Valkey], None], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(cluster() if kind == "cluster" else primary_and_replica(tmp_path))
        sandbox = stack.enter_context(Sandbox(life=LIFE, latency=0.05))

        def store() -> Store:
            return cluster_store(servers) if kind == "cluster" else from_url(servers.sentinel_url)

        until = time.monotonic() + 10
        members = [Member(sandbox, store(), until) for _ in range(3)]
        for member in members:
            stack.enter_context(member.provider)
            member.start()
        threading.Event().wait(1.5)
        trouble(servers.holder)
        for member in members:
            member.join()
    print(f"{sum(member.calls for member in members)} calls, longest {max(member.longest for member in members):.2f} s")
    print(f"{sandbox.token_requests} token requests", sum((member.events for member in members), Counter()))
    assert [member.failed for member in members] == [[]] * len(members)
    for member in members:
        assert member.events["store_down"] == member.events["store_back"]  # the other server was found
