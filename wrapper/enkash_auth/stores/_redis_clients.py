"""redis-py clients: created from a URL, and repaired in a forked child."""

import re
import threading
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import redis
import redis.connection
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

_LIMITS = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}  # seconds to connect, and to answer
_PORT = 26379  # of a Sentinel
_parse_url: Any = redis.connection.parse_url  # redis-py has no types for these two
_Sentinel: Any = redis.sentinel.Sentinel


def client_from_url(url: str) -> redis.Redis:
    """Return a client that may take 1 s to connect and 1 s to answer, unless the URL says otherwise.

    The Sentinels' own account is `?sentinel_username=...&sentinel_password=...`; `valkey` means `redis` in each scheme.
    """
    # retry once, for a connection that broke while idle; never retry a server that does not answer
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    options: dict[str, Any] = {**_LIMITS, "retry": retry, "retry_on_error": []}
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
        return f"cluster at {', '.join(client.nodes_manager.startup_nodes)}"
    if service := getattr(pool, "service_name", None):
        return f"service {service} of a Sentinel"
    options = pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


def sentinel_pools(client: Any) -> list[Any]:
    """Return the connection pools of the Sentinels that a client asks for its server."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [one.connection_pool for one in getattr(manager, "sentinels", ())]


def renew_after_fork(client: Any) -> None:  # pragma: no cover - a forked child's coverage is not written
    """Give a child connections of its own, and locks: another thread of the parent may have held them in the fork."""
    manager, pools = getattr(client, "nodes_manager", None), sentinel_pools(client)
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
