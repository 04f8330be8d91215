"""Stores on a cluster, and on a server that Sentinels may replace."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from enkash_auth.stores import RedisStore, Store, StoreError, from_url
from enkash_auth.stores._redis import client_from_url
from enkash_auth.testing import StoreContract
from enkash_auth.testing._later import in_child
from valkey_sets import Servers, allow, cluster, cluster_store, documented_rights, primary_and_replica, use, wait_for


@pytest.fixture(scope="module")
def nodes() -> Iterator[Servers]:
    with cluster() as servers:
        yield servers


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with primary_and_replica(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


def store_of(kind: str, servers: Servers) -> Store:
    return cluster_store(servers) if kind == "cluster" else from_url(servers.sentinel_url)


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
class TestStore(StoreContract):
    @pytest.fixture
    def store(self, kind: str, nodes: Servers, replicated: Servers) -> Iterator[Store]:
        servers = nodes if kind == "cluster" else replicated
        servers.holder.ask("FLUSHALL")
        store = store_of(kind, servers)
        yield store
        store.close()


def clients(kind: str, nodes: Servers, replicated: Servers) -> tuple[Any, list[Any]]:
    """Return a client and its connection pools."""
    if kind == "cluster":
        cluster: Any = RedisCluster.from_url(f"redis://127.0.0.1:{nodes.ports[0]}", socket_timeout=1)
        return cluster, [node.redis_connection.connection_pool for node in cluster.get_nodes()]
    client = client_from_url(replicated.sentinel_url if kind == "sentinel" else replicated.holder.url)
    if kind == "blocking":
        pool = redis.BlockingConnectionPool.from_url(replicated.holder.url, socket_timeout=1)
        client = redis.Redis(connection_pool=pool)
    sentinels = getattr(getattr(client.connection_pool, "sentinel_manager", None), "sentinels", ())
    return client, [client.connection_pool, *(one.connection_pool for one in sentinels)]


@pytest.mark.parametrize("kind", ["connection", "blocking", "cluster", "sentinel"])
def test_a_forked_child_has_locks_and_connections_of_its_own(nodes: Servers, replicated: Servers, kind: str) -> None:
    client, pools = clients(kind, nodes, replicated)
    names, owners = ("_initialization_lock", "_lock", "_fork_lock"), [client, *pools]
    owners.append(getattr(client, "nodes_manager", None))
    locks = [getattr(owner, name) for owner in owners for name in names if hasattr(owner, name)]
    store, held, done = RedisStore(client), threading.Event(), threading.Event()
    store.save("fork-1", b"1", 60.0)

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    loads = in_child(lambda: (store.load("fork-1") or (b"",))[0] == b"1")()
    done.set()
    thread.join()
    store.close()
    assert locks and loads


def test_a_closed_store_leaves_no_connection_to_a_sentinel(replicated: Servers) -> None:
    def connections() -> int:
        return replicated.all[-1].ask("CLIENT", "LIST", "TYPE", "NORMAL").count("id=")

    before = connections()
    store = from_url(replicated.sentinel_url)
    store.load("token-1")
    assert connections() == before + 1
    store.close()
    wait_for(lambda: connections() == before)


def test_the_documented_rights_suffice_on_a_cluster(nodes: Servers) -> None:
    for server in nodes.all:
        allow(server, documented_rights("Redis ACL|cluster"))
    use(cluster_store(nodes, username="svc", password="pw"))


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
def test_the_replica_takes_over_what_was_saved_and_without_it_is_trouble(tmp_path: Path, kind: str) -> None:
    with cluster() if kind == "cluster" else primary_and_replica(tmp_path) as servers:
        store = store_of(kind, servers)
        store.save("token-1", b"1", 60.0)
        servers.holder.ask("WAIT", 1, 5000)
        servers.holder.kill()
        wait_for(lambda: store.load("token-1"))
        for server in servers.all:
            server.kill()
        with pytest.raises(StoreError) as caught:
            store.load("token-1")
        store.close()
    assert caught.value.__context__ is None  # redis-py's frames hold the password
