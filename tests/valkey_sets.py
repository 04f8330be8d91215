"""Several Valkeys that replace one another: a cluster, and a primary with a replica and a Sentinel."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from attrs import frozen
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from enkash_auth.stores import RedisStore, Store, StoreError
from enkash_auth.testing._later import becomes
from valkey_server import Valkey, free_port

DOCS = Path(__file__).parents[1] / "docs" / "fleet.md"
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


def documented_rights(rows: str) -> list[str]:
    """Return the commands that these rows of the table in docs/fleet.md name."""
    found = "".join(re.findall(rf"^\| (?:{rows}) \|.*", DOCS.read_text(), re.MULTILINE))
    return [right.lower().replace("\\", "") for right in re.findall(r"`([A-Z\\|]+)`", found)]


def allow(server: Valkey, rights: list[str]) -> None:
    """Let a user `svc` do no more than that."""
    commands = [f"+{right}" for right in rights]
    server.ask("ACL", "SETUSER", "svc", "reset", "on", ">pw", "~enkash-auth:*", *commands)


def use(store: Store) -> None:
    """Do all that a provider does."""
    lease = store.lock("grant-rights", 60.0)
    assert lease
    assert store.save("token-1", b"1", 60.0, lease)
    assert store.load("token-1")
    store.delete("token-1")
    lease.release()
    store.close()


def cluster_store(servers: Servers, **options: str) -> RedisStore:
    startup = [ClusterNode("127.0.0.1", port) for port in servers.ports]
    return RedisStore(RedisCluster(startup_nodes=startup, socket_timeout=1, socket_connect_timeout=1, **options))


def wait_for(done: Callable[[], Any]) -> None:
    """Wait until this is true; meanwhile the servers may refuse to answer."""

    def is_done() -> bool:
        with suppress(redis.RedisError, StoreError):
            return bool(done())
        return False

    assert becomes(is_done, 30), "the servers found no agreement"


def in_step(replica: Valkey) -> bool:
    return replica.ask("INFO", "replication").get("master_link_status") == "up"


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
            primaries[number].ask("CLUSTER", "ADDSLOTSRANGE", first, min(first + 5461, 16383))
            primaries[number].ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other, bus in nodes[1:]:
            primaries[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        holder = primaries[SLOT // 5462]
        name = holder.ask("CLUSTER", "MYID")
        wait_for(lambda: replica.ask("CLUSTER", "REPLICATE", name))
        wait_for(lambda: in_step(replica))
        wait_for(lambda: all("cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in primaries))
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
        wait_for(lambda: sentinel.ask("SENTINEL", "REPLICAS", "tokens"))
        yield Servers(primary, [free_port(), sentinel.port], [primary, replica, sentinel])
