"""RedisStore: entries in Redis or Valkey, for processes on many machines. Time is the server's."""

import os
import re
import threading
import time
from inspect import iscoroutinefunction
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

import redis
import redis.connection
import redis.sentinel
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from enkash_auth._policy.cause import address
from enkash_auth.errors import ConfigurationError

from ._protocol import Lease, Lock, store_errors

_LIMITS = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}  # seconds to connect, and to answer
_PORT = 26379  # of a Sentinel
_CONNECTIONS = 2**31  # at most: one for each sign-in under way; redis-py 8 would refuse the 101st
_parse_url: Any = redis.connection.parse_url  # redis-py has no types for these two
_Sentinel: Any = redis.sentinel.Sentinel
_PREFIX = "enkash-auth:{1}:"  # one hash slot: in a cluster, all keys of a script must share one
_IDLE = 5.0  # seconds after which an idle connection is replaced: a firewall may have dropped it silently
# scripts: one round trip each, and no other client's command in between
_LOAD = "local v = redis.call('GET', KEYS[1]); return v and {v, redis.call('PTTL', KEYS[1])}"
# if the script is sent again because its answer was lost, it finds its own lease
_LOCK = """
local now = redis.call('TIME')
local held = redis.call('GET', KEYS[1]) == ARGV[1] or redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return held and now"""
# a server that hung runs old commands late: the delay is subtracted, or the value would seem younger than it is
_SAVE = """
local now = redis.call('TIME')
local late = math.max(0, now[1] + now[2] / 1000000 - tonumber(ARGV[4]))
local left = math.floor(tonumber(ARGV[2]) - 1000 * late)
if left <= 0 or redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', left)
return 1"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"
# all exceptions: redis-py passes on foreign ones, and those of a cluster are not RedisError
# after one the next call connects anew: the server may have become a replica, and its name another server's
_store_errors = store_errors(Exception, failed=lambda store: vars(store).update(_used=float("-inf")))


class RedisStore:
    """Keeps entries in the server or cluster of `client`, which should have timeouts.

    Raises `ConfigurationError` for an asyncio client and for one with `decode_responses`.
    """

    _idle = float("inf")

    def __init__(self, client: redis.Redis | RedisCluster) -> None:
        if not hasattr(client, "get_encoder") or iscoroutinefunction(client.execute_command):
            raise ConfigurationError(
                "the token store's client must be a redis.Redis, a redis.cluster.RedisCluster or what a Sentinel's"
                " master_for returns, and not asyncio's: stores are called on threads"
            )
        if client.get_encoder().decode_responses:
            raise ConfigurationError("the token store's client must not have decode_responses: entries are bytes")
        self._own: Any = client
        self.place = place_of(client)
        self._pid, self._used = os.getpid(), time.monotonic()

    @property
    def _client(self) -> Any:
        """The client, without connections that were idle for long."""
        if self._pid != os.getpid():  # pragma: no cover - a forked child's coverage is not written
            _renew_after_fork(self._own)
            self._pid = os.getpid()
        if time.monotonic() - self._used > self._idle:
            for pool in (self._own.connection_pool, *_sentinel_pools(self._own)):
                pool.disconnect(inuse_connections=False)
        self._used = time.monotonic()
        return self._own

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return a store for a URL of redis-py or `redis+sentinel://host:port,host:port/service`.

        Connecting and answering may take 1 s each, unless the URL says otherwise. Raises `ConfigurationError` for a
        URL that redis-py does not understand.
        """
        client, why = None, ""
        try:
            client = client_from_url(url)
        except Exception as error:  # the exception depends on the wrong option
            why = type(error).__name__
        del url  # it may hold a password, which a traceback with locals would show
        if client is None:
            raise ConfigurationError(f"the token store's URL must be one of redis-py or of a Sentinel ({why})")
        store = cls(client)
        store._idle = _IDLE
        return store

    @_store_errors
    def load(self, key: str) -> tuple[bytes, float] | None:
        found: Any = self._client.eval(_LOAD, 1, _PREFIX + key)
        return (bytes(found[0]), found[1] / 1000) if found else None

    @_store_errors
    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        milliseconds = int(seconds * 1000)
        if milliseconds <= 0 or not (lock is None or isinstance(lock, Lease)):
            return False
        if lock is None:
            return bool(self._client.set(_PREFIX + key, value, px=milliseconds))
        given = value, milliseconds, lock.owner, f"{time.monotonic() + lock.clock:.6f}"
        return bool(self._client.eval(_SAVE, 2, _PREFIX + key, lock.key, *given))

    @_store_errors
    def delete(self, key: str) -> None:
        self._client.delete(_PREFIX + key)

    @_store_errors
    def lock(self, key: str, seconds: float) -> Lock | None:
        lease = Lease(f"{_PREFIX}{key}-lease", self._release)
        taken: Any = self._client.eval(_LOCK, 1, lease.key, lease.owner, int(seconds * 1000))
        if not taken:
            return None
        lease.clock = int(taken[0]) + int(taken[1]) / 1e6 - time.monotonic()
        return lease

    @_store_errors
    def close(self) -> None:
        self._client.close()
        for pool in _sentinel_pools(self._own):
            pool.disconnect(inuse_connections=False)

    @_store_errors
    def _release(self, lease: Lease) -> None:
        self._client.eval(_RELEASE, 1, lease.key, lease.owner)


def client_from_url(url: str) -> redis.Redis:
    """Return a client; the Sentinels' own account is `?sentinel_username=...&sentinel_password=...`."""
    # retry once, for a connection that broke while idle; never retry a server that does not answer
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    options: dict[str, Any] = {**_LIMITS, "retry": retry, "retry_on_error": [], "max_connections": _CONNECTIONS}
    scheme, colon, rest = url.partition(":")
    scheme, by_sentinel, _ = re.sub("^valkey", "redis", scheme.lower()).partition("+sentinel")
    url = f"{scheme}{colon}{rest}"
    return _by_sentinel(url, options) if by_sentinel else redis.Redis.from_url(url, **options)


def _by_sentinel(url: str, options: dict[str, Any]) -> Any:
    # the hosts apart: from Python 3.15 on `urlsplit` takes no [::1] in a list
    before, hosts, after = re.findall(r"(?s)^([^/]*//(?:[^/?#]*@)?)([^/?#]*)(.*)", url)[0]
    parts = urlsplit(f"{before}any{after}")
    service, _, database = parts.path[1:].partition("/")
    sentinels = [(one.hostname, one.port or _PORT) for one in (urlsplit(f"//{host}") for host in hosts.split(","))]
    if not service or not all(host for host, _ in sentinels):
        raise ValueError("not host,host/service")
    options |= _parse_url(urlunsplit((parts.scheme, parts.netloc, database, parts.query, "")))
    del options["host"]
    options["ssl"] = options.pop("connection_class", None) is not None  # that is for a host, not for a service
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    shared = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl", "retry"))}
    return _Sentinel(sentinels, sentinel_kwargs=own | shared, **options).master_for(unquote(service))


def place_of(client: Any) -> str:
    """Return where a client's server is, for messages: host and port, a socket's path, or a Sentinel's service."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        nodes = getattr(getattr(client, "nodes_manager", None), "startup_nodes", None)  # a user's own client has none
        return f"cluster at {', '.join(nodes or ())}"
    if service := getattr(pool, "service_name", None):
        return f"service {service} of a Sentinel"
    options = getattr(pool, "connection_kwargs", {})
    return str(options.get("path") or address(options.get("host", "localhost"), options.get("port", 6379)))


def _sentinel_pools(client: Any) -> list[Any]:
    """Return the connection pools of the Sentinels that a client asks for its server."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [one.connection_pool for one in getattr(manager, "sentinels", ())]


def _renew_after_fork(client: Any) -> None:  # pragma: no cover - a forked child's coverage is not written
    """Give a child connections of its own, and locks: another thread of the parent may have held them in the fork."""
    manager, pools = getattr(client, "nodes_manager", None), _sentinel_pools(client)
    if manager:
        nodes = [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
        pools = [node.redis_connection.connection_pool for node in nodes if node.redis_connection]
    else:
        pools.append(client.connection_pool)
    parts = (getattr(manager, name, None) for name in ("read_load_balancer", "_event_dispatcher"))
    for owner in (client, manager, *parts, *pools):
        for name in ("_fork_lock", "_initialization_lock", "_lock"):
            if hasattr(owner, name):
                setattr(owner, name, threading.RLock())
    for pool in pools:
        pool.reset()
