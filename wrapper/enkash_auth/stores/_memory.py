"""MemoryStore: a store inside one process, for tests."""

import time
from collections.abc import Callable

from enkash_auth._forks import forks

from ._protocol import Lease, Lock


class MemoryStore:
    """Keeps entries in this process. `clock` returns seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}

    def load(self, key: str) -> tuple[bytes, float] | None:
        value, end = self._entries.get(key, (b"", float("-inf")))
        left = end - self._clock()
        return (value, left) if left > 0 else None

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        end = self._clock() + seconds
        with forks.transaction:
            if lock is not None and not (isinstance(lock, Lease) and self._holder(lock.key) is lock):
                return False
            self._entries[key] = (value, end)
            return True

    def delete(self, key: str) -> None:
        self._entries.pop(key, None)

    def lock(self, key: str, seconds: float) -> Lock | None:
        with forks.transaction:
            if self._holder(key):
                return None
            lease = Lease(key, self._release)
            self._leases[key] = (lease, self._clock() + seconds)
            return lease

    def close(self) -> None:
        pass

    def _holder(self, key: str) -> Lease | None:
        lease, end = self._leases.get(key, (None, float("-inf")))
        return lease if self._clock() < end else None

    def _release(self, lease: Lease) -> None:
        with forks.transaction:
            if self._holder(lease.key) is lease:
                del self._leases[lease.key]
