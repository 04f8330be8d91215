"""A fleet under steady load while its Valkey is paused, killed, emptied and cut short. `nox -s chaos` takes longer."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
        self.failed, self.calls, self.longest = list[str](), 0, 0.0
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
def load(sandboxes: list[Sandbox], store: Callable[[], Store], seconds: float) -> Iterator[list[Member]]:
    """Three members of each account; at the end, when their time is over, no call of theirs has failed."""
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        members = [Member(sandbox, store(), until) for sandbox in sandboxes for _ in range(3)]
        for member in members:
            stack.enter_context(member.provider)
            member.start()
        yield members
        for member in members:
            member.join()
    print(f"{sum(member.calls for member in members)} calls, longest {max(member.longest for member in members):.2f} s")
    for sandbox in sandboxes:
        print(f"sticky {sandbox.sticky}: {sandbox.token_requests} token requests in {seconds / LIFE:.0f} lives")
    print(sum((member.events for member in members), Counter()))
    assert [member.failed for member in members] == [[]] * len(members)
    assert all(member.calls for member in members)


Step = Callable[[Valkey, Proxy], None]
TROUBLES: dict[str, tuple[Step, Step]] = {  # how each begins, and ends
    "paused": (lambda valkey, _: valkey.pause(), lambda valkey, _: valkey.resume()),
    "killed": (lambda valkey, _: valkey.kill(), lambda valkey, _: valkey.start()),
    "emptied": (lambda valkey, _: (valkey.kill(), valkey.start()), lambda *_: None),
    "cut short": (lambda _, proxy: setattr(proxy, "cut", 7), lambda _, proxy: setattr(proxy, "cut", None)),
}


@pytest.mark.alone
def test_no_call_fails_whatever_happens_to_the_store() -> None:
    chance, until = Random(4), time.monotonic() + SECONDS
    with (
        Valkey() as valkey,
        Proxy(valkey.socket) as proxy,
        Sandbox(life=LIFE, latency=0.05) as sticky,
        Sandbox(life=LIFE, latency=0.05, sticky=False) as fresh,
        load([sticky, fresh], lambda: from_url(f"redis://127.0.0.1:{proxy.port}/0"), SECONDS) as members,
    ):
        for begin, end in cycle(TROUBLES.values()):
            if time.monotonic() > until:
                break
            threading.Event().wait(chance.uniform(0.2, 2.0))
            begin(valkey, proxy)
            threading.Event().wait(chance.uniform(0.1, 2.5))
            end(valkey, proxy)
    assert all(sum(member.events[kind] for member in members) for kind in ("store_down", "adopted"))


@pytest.mark.alone
@pytest.mark.parametrize(
    ("start", "store"),
    [(lambda _: cluster(), cluster_store), (primary_and_replica, lambda servers: from_url(servers.sentinel_url))],
    ids=["cluster", "sentinel"],
)
@pytest.mark.parametrize("trouble", [Valkey.kill, Valkey.pause])
def test_no_call_fails_while_another_server_takes_over(
    start: Callable[[Path], Any], store: Callable[[Any], Store], trouble: Callable[[Valkey], None], tmp_path: Path
) -> None:
    with (
        start(tmp_path) as servers,
        Sandbox(life=LIFE, latency=0.05) as sandbox,
        load([sandbox], lambda: store(servers), 10) as members,
    ):
        threading.Event().wait(1.5)
        trouble(servers.holder)
    for member in members:
        assert member.events["store_down"] == member.events["store_back"]  # the other server was found
