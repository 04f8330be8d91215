"""Several Valkeys that replace one another: a cluster, and a primary with a replica and a Sentinel."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from attrs import frozen
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from enkash_auth.stores import RedisStore
from valkey_server import Valkey, free_port

SLOT = key_slot(b"enkash-auth:{1}:")
_QUICK = "--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1
_DOWN = 500  # milliseconds of silence


@frozen
class Servers:
    """`holder` is the server that holds the entries now; any of `ports` leads a client there."""

    holder: Valkey
    ports: list[int]
    all: list[Valkey]  # a Sentinel is the last

    @property
    def sentinel_url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/tokens"


def cluster_store(servers: Servers, **options: str) -> RedisStore:
    startup = [ClusterNode("127.0.0.1", port) for port in servers.ports]
    return RedisStore(RedisCluster(startup_nodes=startup, socket_timeout=1, socket_connect_timeout=1, **options))


def wait_for(done: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            if done():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < end, "the servers found no agreement"
        threading.Event().wait(0.02)


def ask(server: Valkey, *words: object) -> Any:
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True) as client:
        return client.execute_command(*words)


def in_step(replica: Valkey) -> bool:
    return ask(replica, "INFO", "replication").get("master_link_status") == "up"


@contextmanager
def cluster() -> Iterator[Servers]:
    """Three nodes, each with a third of the slots, and a replica of the one that holds the entries."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(4):
            bus = free_port()
            own = "--cluster-enabled", "yes", "--cluster-node-timeout", _DOWN, "--cluster-port", bus
            nodes.append((stack.enter_context(Valkey(free_port(), *own, *_QUICK)), bus))
        primaries, (replica, _) = [server for server, _ in nodes[:3]], nodes[3]
        for number, first in enumerate(range(0, 16384, 5462)):
            ask(primaries[number], "CLUSTER", "ADDSLOTSRANGE", first, min(first + 5461, 16383))
            ask(primaries[number], "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other, bus in nodes[1:]:
            ask(primaries[0], "CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        holder = primaries[SLOT // 5462]
        name = ask(holder, "CLUSTER", "MYID")
        wait_for(lambda: ask(replica, "CLUSTER", "REPLICATE", name))
        wait_for(lambda: in_step(replica))
        wait_for(lambda: all("cluster_state:ok" in ask(server, "CLUSTER", "INFO") for server in primaries))
        yield Servers(holder, [server.port for server in primaries], [*primaries, replica])


@contextmanager
def primary_and_replica(tmp_path: Path) -> Iterator[Servers]:
    """Two servers and the Sentinel that makes the second the primary when the first is dead."""
    with ExitStack() as stack:
        primary = stack.enter_context(Valkey(free_port(), *_QUICK))
        replica = stack.enter_context(Valkey(free_port(), "--replicaof", f"127.0.0.1 {primary.port}", *_QUICK))
        wait_for(lambda: in_step(replica))
        rules = tmp_path / "sentinel.conf"
        rules.write_text(
            f"sentinel monitor tokens 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds tokens {_DOWN}\n"
            "sentinel failover-timeout tokens 3000\n"
        )
        sentinel = stack.enter_context(Valkey(free_port(), rules, "--sentinel"))
        wait_for(lambda: ask(sentinel, "SENTINEL", "REPLICAS", "tokens"))
        yield Servers(primary, [free_port(), sentinel.port], [primary, replica, sentinel])
