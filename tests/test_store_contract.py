"""A store that breaks a rule of `Store` fails `StoreContract`."""

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from enkash_auth.stores import Lock, MemoryStore
from enkash_auth.testing import StoreContract
from enkash_auth.testing._later import in_child

pytestmark = pytest.mark.once  # what the contract demands is the same on each interpreter
Found = tuple[Any, Any] | None


class Broken(MemoryStore):
    """Changes what it is given, and what it returns: a value, its seconds left and those that it was saved for."""

    def __init__(
        self,
        loaded: Callable[[bytes, float, float], Found] = lambda value, left, _: (value, left),
        key: Callable[[str], str] = str,
        seconds: Callable[[float], float] = float,
        lease: Callable[[Any], Lock | None] = lambda lease: lease,
    ) -> None:
        super().__init__()
        self._loaded, self._key, self._seconds, self._lease = loaded, key, seconds, lease
        self._saved = dict[str, float]()

    def load(self, key: str) -> Found:
        found = super().load(self._key(key))
        return found and self._loaded(*found, self._saved[self._key(key)])

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        self._saved[self._key(key)] = seconds
        return super().save(self._key(key), value, self._seconds(seconds), self._lease(lock))


class Timers(Broken):
    """Deletes an entry at its end, whatever has replaced it."""

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        timer = threading.Timer(seconds, self.delete, [key])
        timer.daemon = True
        timer.start()
        return super().save(key, value, seconds, lock)


class OneMap(Broken):
    """Loads all entries, changes one and saves all."""

    def __init__(self) -> None:
        super().__init__()
        self._all: dict[str, bytes] = {}

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        changed = {**self._all, key: value}
        time.sleep(0.01)
        self._all = changed
        return True

    def load(self, key: str) -> Found:
        return (self._all[key], 60.0) if key in self._all else None


class OneConnection(Broken):
    """Asks over one connection, also in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        self._answers, self._asked = os.pipe()  # which stay open, for the contract's thread may still ask

    def load(self, key: str) -> Found:
        os.write(self._asked, key.encode())
        return os.read(self._answers, len(key)), 60.0


class Looks(Broken):
    """Looks whether a lease is free, then takes it: one in ten times another thread comes between."""

    def lock(self, key: str, seconds: float) -> Lock | None:
        return super().lock(f"{key}-{threading.get_ident()}" if key.endswith("9") else key, seconds)


class OwnLeases(Broken):
    """Keeps values for all processes, and leases for its own."""

    def __init__(self) -> None:
        super().__init__()
        self._ours, self._shared = os.getpid(), multiprocessing.Array("c", 50)  # the key that a child has saved

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        if os.getpid() != self._ours:
            self._shared.value = key.encode()
        return super().save(key, value, seconds, lock)

    def load(self, key: str) -> Found:
        return (b"1", 60.0) if self._shared.value == key.encode() else super().load(key)


class Kept:
    """A lease of its thread's, as those of redis-py are unless told otherwise."""

    def __init__(self, lease: Lock) -> None:
        self.lease, self._thread = lease, threading.get_ident()

    def release(self) -> None:
        assert threading.get_ident() == self._thread
        self.lease.release()


class ThreadsLeases(Broken):
    def __init__(self) -> None:
        super().__init__(lease=lambda lock: lock.lease if isinstance(lock, Kept) else None)

    def lock(self, key: str, seconds: float) -> Lock | None:
        lease = super().lock(key, seconds)
        return lease and Kept(lease)


def from_now(seconds: float) -> float:
    """Take more than 30 days for a date, as memcached does."""
    return seconds if seconds <= 30 * 86_400 else 0.0


LOADED = "what_was_saved_is_loaded_with_the_seconds_it_still_lives"
BROKEN: dict[str, tuple[Callable[[], Broken], str]] = {
    "never ages": (partial(Broken, lambda value, _, seconds: (value, seconds)), LOADED),
    "rounds up": (partial(Broken, lambda value, left, _: (value, math.ceil(left))), LOADED),
    "a Decimal": (partial(Broken, lambda value, left, _: (value, Decimal(left))), LOADED),
    "a memoryview": (partial(Broken, lambda value, left, _: (memoryview(value), left)), LOADED),
    "short keys": (partial(Broken, key=lambda key: key[:20]), "an_unknown_key_is_not_there"),
    "dates": (partial(Broken, seconds=from_now), "a_value_is_kept_for_years"),
    "timers": (Timers, "a_value_does_not_end_with_the_one_that_it_replaced"),
    "one map": (OneMap, "threads_find_each_what_it_saved"),
    "one connection": (OneConnection, "a_forked_child_and_its_parent_find_each_its_own"),
    "leases of processes": (OwnLeases, "a_lease_of_a_forked_child_is_held_for_its_parent"),
    "looks, then takes": (Looks, "a_lease_has_one_holder"),
    "leases of threads": (ThreadsLeases, "a_lease_belongs_to_no_thread"),
    "unfenced": (partial(Broken, lease=lambda _: None), "a_holders_value_is_not_kept_once_its_lease_is_released"),
}


@pytest.mark.parametrize(("make", "rule"), BROKEN.values(), ids=BROKEN)
def test_a_broken_store_fails(make: Callable[[], Broken], rule: str) -> None:
    store = make()
    with pytest.raises(AssertionError):
        getattr(StoreContract(), f"test_{rule}")(store)
    store.close()


@pytest.mark.thorough
def test_a_shared_connection_is_found_also_if_the_parent_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine: by then a child that had not waited for it would have ended."""
    start = threading.Thread.start

    def late(thread: threading.Thread) -> None:
        threading.Event().wait(0.3)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", late)
    test_a_broken_store_fails(*BROKEN["one connection"])


def test_a_store_may_hold_the_entries_of_the_tests_before() -> None:
    store = MemoryStore()
    names = [name for kind in reversed(StoreContract.mro()) for name in vars(kind) if name.startswith("test_")]
    for name in names:
        getattr(StoreContract(), name)(store)
    assert names[-1] == "test_it_can_be_closed"


def test_a_child_that_hangs_is_killed() -> None:
    assert not in_child(lambda: threading.Event().wait(60), 0.1)()


def test_a_system_without_forks_has_nothing_to_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    for name in [name for name in dir(StoreContract) if "forked" in name]:
        getattr(StoreContract(), name)(None)
