"""What every store must do, as tests that a user's own store can run, too."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ._forked import Forked
from ._later import becomes

if TYPE_CHECKING:
    from enkash_auth.stores import Store

_SHORT = 0.2  # seconds
_HELD = 5.0  # seconds of a lease that a store must not wait for: one that does fails all the same, within a minute
_YEARS = 10 * 365 * 86_400.0  # seconds for which a provider keeps the passwords that it has sent


class StoreContract(Forked):
    """Tests for a store: subclass it as `TestMyStore` in a pytest module and give it a fixture `store`.

    Each test has keys of its own, as long as a provider's, so the store may hold other entries.
    """

    def test_what_was_saved_is_loaded_with_the_seconds_it_still_lives(self, store: Store) -> None:
        value = bytes(range(256)) * 16
        assert store.save(self._token, value, 59.6) is True
        threading.Event().wait(_SHORT)
        found = store.load(self._token)
        assert found is not None and found[0] == value
        assert type(found[0]) is bytes
        assert isinstance(found[1], int | float)  # a database may say a Decimal
        assert 50 < found[1] <= 59.6 - _SHORT / 2  # rounded up, or not counted down, it would seem younger than it is

    def test_an_unknown_key_is_not_there(self, store: Store) -> None:
        store.save(self._token, b"1", 60.0)
        assert store.load(self._other) is None

    def test_a_value_is_replaced(self, store: Store) -> None:
        store.save(self._token, b"old", 60.0)
        store.save(self._token, b"new", 30.0)
        found = store.load(self._token)
        assert found is not None and found[0] == b"new"
        assert found[1] <= 30

    def test_a_value_ends(self, store: Store) -> None:
        store.save(self._token, b"1", _SHORT)
        assert becomes(lambda: store.load(self._token) is None)

    def test_a_value_does_not_end_with_the_one_that_it_replaced(self, store: Store) -> None:
        store.save(self._token, b"old", _SHORT)
        store.save(self._token, b"new", 60.0)
        threading.Event().wait(2 * _SHORT)
        assert store.load(self._token) is not None

    def test_a_value_is_kept_for_years(self, store: Store) -> None:
        key = f"ledger-{self._account}0"
        assert store.save(key, b"1", _YEARS) is True
        found = store.load(key)
        assert found is not None and found[1] > _YEARS - 60

    def test_a_deleted_value_is_not_there(self, store: Store) -> None:
        store.delete(self._token)
        store.save(self._token, b"1", 60.0)
        store.save(self._other, b"1", 60.0)
        store.delete(self._token)
        assert store.load(self._token) is None
        assert store.load(self._other) is not None

    def test_threads_find_each_what_it_saved(self, store: Store) -> None:
        together = threading.Barrier(8)

        def finds_its_own(number: int) -> bool:
            key, found = f"token-{self._account}{number}", list[bool]()
            for value in (f"{number} {again}".encode() for again in range(10)):
                together.wait(10)
                store.save(key, value, 60.0)
                together.wait(10)
                found.append((store.load(key) or (b"",))[0] == value)
            return all(found)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(finds_its_own, range(8))) == [True] * 8

    def test_a_lease_has_one_holder(self, store: Store) -> None:
        together = threading.Barrier(4)

        def locks(_: int) -> list[bool]:
            held = list[bool]()
            for again in range(10):  # a store that looks, then takes, seldom gives one lease to two
                together.wait(10)
                held.append(store.lock(f"grant-{self._account}{again}", _HELD) is not None)
            return held

        with ThreadPoolExecutor(4) as pool:
            assert [sum(held) for held in zip(*pool.map(locks, range(4)), strict=True)] == [1] * 10

    def test_leases_of_two_keys_are_two(self, store: Store) -> None:
        assert store.lock(f"grant-{self._account}0", 60.0)
        assert store.lock(f"grant-{self._account}1", 60.0)

    def test_a_released_lease_can_be_had(self, store: Store) -> None:
        lease = self._lock(store, 60.0)
        assert lease is not None
        lease.release()
        assert self._lock(store, 60.0)

    def test_a_lease_belongs_to_no_thread(self, store: Store) -> None:
        with ThreadPoolExecutor(1) as pool:
            lease = pool.submit(self._lock, store, 60.0).result()
        assert lease is not None
        assert store.save(self._token, b"1", 60.0, lease) is True
        lease.release()
        assert self._lock(store, 60.0)

    def test_a_lease_ends(self, store: Store) -> None:
        assert self._lock(store, _SHORT)
        assert becomes(lambda: self._lock(store, 60.0) is not None)

    def test_a_late_holder_does_not_end_the_next_ones_lease(self, store: Store) -> None:
        late = self._lock(store, _SHORT)
        assert late is not None
        assert becomes(lambda: self._lock(store, _HELD) is not None)
        late.release()
        assert self._lock(store, _HELD) is None

    def test_a_holders_value_is_kept(self, store: Store) -> None:
        lease = self._lock(store, _HELD)
        assert store.save(self._token, b"1", 60.0, lease) is True
        found = store.load(self._token)
        assert found is not None
        assert found[0] == b"1"
        assert self._lock(store, _HELD) is None

    def test_a_late_holders_value_is_not_kept(self, store: Store) -> None:
        late = self._lock(store, _SHORT)
        assert becomes(lambda: self._lock(store, 60.0) is not None)
        store.save(self._token, b"new", 60.0)
        assert store.save(self._token, b"old", 60.0, late) is False
        found = store.load(self._token)
        assert found is not None
        assert found[0] == b"new"

    def test_a_holders_value_is_not_kept_once_its_lease_has_ended(self, store: Store) -> None:
        late = self._lock(store, _SHORT)
        assert becomes(lambda: not store.save(self._token, b"1", 60.0, late))

    def test_a_holders_value_is_not_kept_once_its_lease_is_released(self, store: Store) -> None:
        lease = self._lock(store, 60.0)
        assert lease is not None
        lease.release()
        assert store.save(self._token, b"1", 60.0, lease) is False
        assert store.load(self._token) is None

    def test_it_can_be_closed(self, store: Store) -> None:
        # the last test: a store may be one for all of them
        store.save(self._token, b"1", 60.0)
        store.close()
