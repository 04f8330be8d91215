"""What every store must do in processes that a fork has made; the keys of the contract's tests."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING

from ._later import becomes, in_child

if TYPE_CHECKING:
    from enkash_auth.stores import Lock, Store

_SHORT = 0.2  # seconds


class Forked:
    """The tests of `StoreContract` that fork."""

    @property
    def _account(self) -> str:
        return str(vars(self).setdefault("_named", secrets.token_hex(20)[1:]))  # several threads may be the first

    @property
    def _token(self) -> str:
        return f"token-{self._account}0"

    @property
    def _other(self) -> str:
        """Another account's."""
        return f"token-{self._account}1"

    def _lock(self, store: Store, seconds: float) -> Lock | None:
        return store.lock(f"grant-{self._account}0", seconds)

    def test_a_forked_child_and_its_parent_find_each_its_own(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return

        def finds(key: str, ended: list[bool]) -> bool:
            found, end = set[bool](), time.monotonic() + _SHORT
            while time.monotonic() < end or not ended:
                found.add((store.load(key) or (b"",))[0] == key.encode())
            return found == {True}

        def ours() -> None:
            os.write(begin, b"1")
            found.append(finds(self._token, ended))

        for key in (self._token, self._other):
            store.save(key, key.encode(), 60.0)
        # the child loads amid our loads, however busy the machine is: it waits for their begin, and they for its end
        (begun, begin), found, ended = os.pipe(), list[bool](), list[bool]()
        child = in_child(lambda: os.read(begun, 1) == b"1" and finds(self._other, [True]))
        # a thread: where the two share a connection, an answer may never come
        threading.Thread(target=ours, daemon=True).start()
        ended.append(child())
        assert ended == [True] and becomes(lambda: found == [True])
        os.close(begun)
        os.close(begin)

    def test_a_lease_of_a_forked_child_is_held_for_its_parent(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            return

        def holds() -> bool:  # pragma: no cover - a forked child's coverage is not written
            ours.close()
            held = store.save(token, b"1", 60.0) and self._lock(store, 60.0) is not None
            theirs.send(b"1")
            return held and theirs.recv(1) == b"1"  # until its parent has looked: a lease may end with its process

        token, (ours, theirs) = self._token, socket.socketpair()  # a key that the child has, too
        with ours, theirs:
            child = in_child(holds)
            theirs.close()
            ours.settimeout(10)
            ours.recv(1)
            shared = store.load(token) is not None  # a store of one process's memory shares nothing
            lease = self._lock(store, 60.0)
            ours.send(b"1")
            assert child()
        assert (lease is None) == shared
