"""What one account keeps in a store: entries that its credentials name and encrypt, so there is no key to configure."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ._credentials import Credentials
from ._outside import Outside
from .stores import Lock, Store

# the account's token, and whether its server is sticky; what stops these very credentials
Kind = Literal["token", "sticky", "stop"]
_NONCE = 12  # bytes
_PATIENCE = 2.0  # seconds with a store that has no timeout of its own, or does not keep it


def _derived(secret: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"enkash-auth 1 " + purpose).derive(secret.encode())


class Sealed:
    """The entries of one set of credentials.

    A name is the same for all credentials of an account (but for `stop`), and tells nothing without the client secret.
    What other credentials have sealed, what is damaged and what claims to be from the future is not there.
    """

    def __init__(self, store: Store, credentials: Credentials, outside: Outside) -> None:
        self._store, self._within, self._fingerprint = store, outside.within, credentials.fingerprint()
        self.host = credentials.origin[1]
        client_secret = credentials.client_secret.reveal()
        self._cipher = AESGCM(_derived(f"{client_secret}\0{self._fingerprint}", b"seal"))
        name = HMAC(_derived(client_secret, b"name"), hashes.SHA256())
        name.update("\0".join(credentials.account).encode())
        self._account = name.finalize().hex()[:40]

    def _name(self, kind: Kind) -> str:
        return f"{kind}-{self._fingerprint[:40] if kind == 'stop' else self._account}"

    def load(self, kind: Kind) -> tuple[dict[str, Any], float, float] | None:
        """Return an entry, the seconds since it was saved and the seconds it still lives."""
        name = self._name(kind)
        found = self._within(_PATIENCE, partial(self._store.load, name))
        if found is None:
            return None
        sealed, left = found
        try:
            entry = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode()))
        except (InvalidTag, ValueError):
            return None
        age = entry.pop("seconds") - left
        return (entry, max(0.0, age), left) if left > 0 and age > -0.1 else None  # a store may round

    def save(self, kind: Kind, entry: dict[str, Any], seconds: float, lock: Lock | None = None) -> bool:
        """Keep an entry for `seconds`, while the `lock` is held if there is one."""
        name, nonce = self._name(kind), os.urandom(_NONCE)
        text = json.dumps({**entry, "seconds": seconds}).encode()
        sealed = nonce + self._cipher.encrypt(nonce, text, name.encode())
        return bool(self._within(_PATIENCE, partial(self._store.save, name, sealed, seconds, lock)))

    def delete(self, kind: Kind) -> None:
        self._within(_PATIENCE, partial(self._store.delete, self._name(kind)))

    def lock(self, seconds: float) -> Lock | None:
        """Return a lease on the account's sign-in, None while another process holds it."""
        lock: Lock | None = self._within(_PATIENCE, partial(self._store.lock, f"grant-{self._account}", seconds))
        return lock

    def release(self, lock: Lock) -> None:
        self._within(_PATIENCE, lock.release)
