"""RedisStore: entries in Redis or Valkey, for the processes of many machines; time is the server's."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from enkash_auth.errors import ConfigurationError

from ._protocol import Lock, StoreError

_PREFIX = "enkash-auth:"
_TIMEOUT = 1.0  # seconds to connect, and again to answer
_LATE = 0.1  # seconds that a save may take to arrive: a server that hung runs what has piled up, and time counts anew
# one round trip each, and no step of another client's between
_LOAD = "local v = redis.call('GET', KEYS[1]); return v and {v, redis.call('PTTL', KEYS[1])}"
_LOCK = "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and redis.call('TIME')"
_SAVE = """
local now = redis.call('TIME')
if now[1] + now[2] / 1000000 > tonumber(ARGV[4]) or redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class RedisStore:
    """Keeps entries in the server that `client`, a `redis.Redis`, speaks to; it should have timeouts."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @classmethod
    def from_url(cls, url: str) -> RedisStore:
        """Return a store on redis-py's URL, with a second's time to connect and to answer unless it says otherwise.

        Raises `ConfigurationError` for a URL that redis-py does not understand.
        """
        # a connection that died while it was idle is replaced once; a server that does not answer is not asked again
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        try:
            client = redis.Redis.from_url(
                url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=retry, retry_on_error=[]
            )
        except (ValueError, TypeError) as error:
            why = type(error).__name__
        else:
            return cls(client)
        raise ConfigurationError(f"the token store's URL is not one of redis-py's ({why})")

    def load(self, key: str) -> tuple[bytes, float] | None:
        with _trouble():
            found: Any = self._client.eval(_LOAD, 1, _PREFIX + key)
            return (bytes(found[0]), found[1] / 1000) if found else None

    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        milliseconds = int(seconds * 1000)
        if milliseconds <= 0 or not (lock is None or isinstance(lock, _Lease)):
            return False
        with _trouble():
            if lock is None:
                return bool(self._client.set(_PREFIX + key, value, px=milliseconds))
            given = value, milliseconds, lock.owner, f"{lock.server_time() + _LATE:.6f}"
            return bool(self._client.eval(_SAVE, 2, _PREFIX + key, lock.key, *given))

    def delete(self, key: str) -> None:
        with _trouble():
            self._client.delete(_PREFIX + key)

    def lock(self, key: str, seconds: float) -> Lock | None:
        lease = _Lease(self._client, f"{_PREFIX}{key}-lease")
        with _trouble():
            taken: Any = self._client.eval(_LOCK, 1, lease.key, lease.owner, int(seconds * 1000))
            if not taken:
                return None
            lease.clock = int(taken[0]) + int(taken[1]) / 1e6 - time.monotonic()
            return lease

    def close(self) -> None:
        with _trouble():
            self._client.close()


class _Lease:
    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client, self.key, self.owner = client, key, secrets.token_hex(16)
        self.clock = 0.0  # the server's time less ours; the answer's way here makes it too small, never too large

    def server_time(self) -> float:
        return time.monotonic() + self.clock

    def release(self) -> None:
        with _trouble():
            self._client.eval(_RELEASE, 1, self.key, self.owner)


@contextmanager
def _trouble() -> Iterator[None]:
    """What redis-py and the socket raise may name the server's user; its class says enough."""
    try:
        yield
    except (redis.RedisError, OSError, ValueError) as error:
        why = type(error).__name__
    else:
        return
    raise StoreError(f"the token store's server failed ({why})")
