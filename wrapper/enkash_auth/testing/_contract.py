"""What every store must do, as tests that a user's own store can run, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enkash_auth.stores import Store

_SHORT = 0.2  # seconds


def _becomes(what: Callable[[], bool]) -> bool:
    """Wait for something that has to come true within seconds."""
    end = time.monotonic() + 10
    while not (true := what()) and time.monotonic() < end:
        threading.Event().wait(0.01)
    return true


class StoreContract:
    """Tests for a store: subclass it as `TestMyStore` in a pytest module and give it a fixture `store`."""

    def test_what_was_saved_is_loaded_with_the_seconds_it_still_lives(self, store: Store) -> None:
        value = bytes(range(256)) * 16
        assert store.save("token-1", value, 60.0) is True
        found = store.load("token-1")
        assert found is not None
        assert found[0] == value
        assert 50 < found[1] <= 60

    def test_it_can_be_closed(self, store: Store) -> None:
        store.save("token-1", b"1", 60.0)
        store.close()

    def test_an_unknown_key_is_not_there(self, store: Store) -> None:
        store.save("token-1", b"1", 60.0)
        assert store.load("token-2") is None

    def test_a_value_is_replaced(self, store: Store) -> None:
        store.save("token-1", b"old", 60.0)
        store.save("token-1", b"new", 30.0)
        found = store.load("token-1")
        assert found is not None
        assert found[0] == b"new"
        assert found[1] <= 30

    def test_a_value_ends(self, store: Store) -> None:
        store.save("token-1", b"1", _SHORT)
        assert _becomes(lambda: store.load("token-1") is None)

    def test_a_deleted_value_is_not_there(self, store: Store) -> None:
        store.delete("token-1")
        store.save("token-1", b"1", 60.0)
        store.delete("token-1")
        assert store.load("token-1") is None

    def test_a_lease_has_one_holder(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            leases = list(pool.map(lambda _: store.lock("grant-1", 60.0), range(8)))
        assert sum(lease is not None for lease in leases) == 1

    def test_leases_of_two_keys_are_two(self, store: Store) -> None:
        assert store.lock("grant-1", 60.0)
        assert store.lock("grant-2", 60.0)

    def test_a_released_lease_can_be_had(self, store: Store) -> None:
        lease = store.lock("grant-1", 60.0)
        assert lease is not None
        lease.release()
        assert store.lock("grant-1", 60.0)

    def test_a_lease_ends(self, store: Store) -> None:
        assert store.lock("grant-1", _SHORT)
        assert _becomes(lambda: store.lock("grant-1", 60.0) is not None)

    def test_a_late_holder_does_not_end_the_next_ones_lease(self, store: Store) -> None:
        late = store.lock("grant-1", _SHORT)
        assert late is not None
        assert _becomes(lambda: store.lock("grant-1", 60.0) is not None)
        late.release()
        assert store.lock("grant-1", 60.0) is None

    def test_a_holders_value_is_kept(self, store: Store) -> None:
        lease = store.lock("grant-1", 60.0)
        assert store.save("token-1", b"1", 60.0, lease) is True
        found = store.load("token-1")
        assert found is not None
        assert found[0] == b"1"

    def test_a_late_holders_value_is_not_kept(self, store: Store) -> None:
        late = store.lock("grant-1", _SHORT)
        assert _becomes(lambda: store.lock("grant-1", 60.0) is not None)
        store.save("token-1", b"new", 60.0)
        assert store.save("token-1", b"old", 60.0, late) is False
        found = store.load("token-1")
        assert found is not None
        assert found[0] == b"new"

    def test_a_holders_value_is_not_kept_once_its_lease_has_ended(self, store: Store) -> None:
        late = store.lock("grant-1", _SHORT)
        assert _becomes(lambda: not store.save("token-1", b"1", 60.0, late))
