"""What one account keeps in a store: entries that its credentials name and encrypt, so there is no key to configure."""

import hmac
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enkash_auth._forks import forks
from enkash_auth._policy.lifetime import Moment
from enkash_auth._runtime import Runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth.stores import Lock, Store

from .commands import Entry, TooSlowError

T = TypeVar("T")
_NONCE = 12  # bytes
_PATIENCE = 2.0  # seconds with a store before a sign-in, and again after it; its calls share them


def _derived(secret: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"enkash-auth 1 " + purpose).derive(secret.encode())


class Sealed:
    """The entries of one set of credentials, and the lease on their account's sign-in.

    `commands.py` says what the methods return. A name is the same for all credentials of an account (but for `ledger`
    and `reset`), and tells nothing without the client secret. What other credentials have sealed, what is damaged and
    what claims to be from the future counts as missing. `hung`: the thread of a call that did not come back, for all
    `Sealed` of one store.
    """

    def __init__(self, store: Store, credentials: Credentials, runtime: Runtime, hung: list[Any] | None = None) -> None:
        self._store, self._runtime = store, runtime
        self._hung = [] if hung is None else hung
        with forks.waiting():  # here and below: OpenSSL has locks of its own
            self._fingerprint, client_secret = credentials.fingerprint(), credentials.client_secret.reveal()
            self._cipher = AESGCM(_derived(f"{client_secret}\0{self._fingerprint}", b"seal"))
            account = "\0".join(credentials.account).encode()
            self._account = hmac.digest(_derived(client_secret, b"name"), account, "sha256").hex()[:40]
        self._lock: Lock | None = None
        self.renew_patience()

    def renew_patience(self) -> None:
        """Give the calls that follow their whole time again."""
        self._left = _PATIENCE

    def _call(self, call: Callable[..., T], *given: object) -> T:
        """Return what the store does in the time that is left; one that still hangs in an earlier call gets none."""
        if self._left <= 0 or any(thread.is_alive() for thread in self._hung):  # none runs on in a forked child
            raise TooSlowError("the token store is too slow")
        threads, began = list[Any](), self._runtime.monotonic()

        def run() -> T:
            threads.append(threading.current_thread())
            return call(*given)

        try:
            value: T = self._runtime.call_within(self._left, run)
        except TimeoutError:
            self._hung[:] = threads
            raise TooSlowError("the token store is too slow") from None
        finally:
            self._left -= self._runtime.monotonic() - began
        if self._left < 0:  # it came back all the same, so this process stood still meanwhile
            self.renew_patience()
        return value

    def _name(self, kind: Entry) -> str:
        return f"{kind}-{self._fingerprint[:40] if kind in ('ledger', 'reset') else self._account}"

    def load(self, kind: Entry) -> tuple[dict[str, Any], float, float] | None:
        name = self._name(kind)
        found = self._call(self._store.load, name)
        if found is None:
            return None
        # a database may say memoryview and Decimal; a store that says anything else fails: the entry is not missing
        sealed, left = bytes(found[0]), float(found[1])
        try:
            with forks.waiting():
                text = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
            entry = json.loads(text)
            age = entry.pop("seconds") - left
        except (InvalidTag, AttributeError, KeyError, TypeError, ValueError):  # also: of another version's shape
            return None
        return (entry, max(0.0, age), left) if left > 0 and age > -0.1 else None  # a store may round

    def save(self, kind: Entry, entry: Mapping[str, Any], seconds: float, written: Moment | None = None) -> bool:
        name, nonce = self._name(kind), os.urandom(_NONCE)
        text = json.dumps({**entry, "seconds": seconds}).encode()
        with forks.waiting():
            sealed = nonce + self._cipher.encrypt(nonce, text, name.encode())
        end = (written or self._runtime.now()).after(seconds)

        def save() -> bool:  # an entry that this process was stopped with is as old as it is
            left = self._runtime.now().until(end)
            return left > 0 and self._store.save(name, sealed, left, self._lock if written else None)

        return bool(self._call(save))

    def delete(self, kind: Entry) -> None:
        self._call(self._store.delete, self._name(kind))

    def lease(self, seconds: float) -> bool:
        self._lock = self._call(self._store.lock, f"grant-{self._account}", seconds)
        return self._lock is not None

    def release(self) -> None:
        """Give the lease back, if it was taken; one that cannot be given back ends by itself."""
        lock, self._lock = self._lock, None
        if lock is not None:  # also when the store's time is over: siblings wait
            with suppress(Exception):
                self._runtime.call_within(_PATIENCE / 2, lock.release)
