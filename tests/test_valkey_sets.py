"""Stores on a cluster, and on a server that Sentinels may replace."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enkash_auth.stores import Store, StoreError, from_url
from enkash_auth.testing import StoreContract
from valkey_sets import Servers, ask, cluster, cluster_store, primary_and_replica, wait_for

pytestmark = pytest.mark.once
DOCS = Path(__file__).parents[1] / "docs" / "fleet.md"
FORK = """
import os, sys, threading
from contextlib import ExitStack
import redis
from redis.cluster import RedisCluster
from enkash_auth.stores import RedisStore
from enkash_auth.stores._redis import client_from_url

kind, where = sys.argv[1:]
if kind == "cluster":
    client = RedisCluster.from_url(where, socket_timeout=1)
    pools = [node.redis_connection.connection_pool for node in client.get_nodes()]
else:
    client = client_from_url(where)
    if kind == "blocking":
        client = redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(where, socket_timeout=1))
    pool = client.connection_pool
    pools = [pool, *(one.connection_pool for one in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()))]
names = "_initialization_lock", "_lock", "_fork_lock"
owners = client, getattr(client, "nodes_manager", None), *pools
locks = [getattr(owner, name) for owner in owners for name in names if hasattr(owner, name)]
store = RedisStore(client)
store.save("fork-1", b"1", 60.0)
held = threading.Event()

def hold():
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        held.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    os.write(1, f"{store.load('fork-1')[0]}\\n".encode())
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Servers]:
    with cluster() as servers:
        yield servers


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with primary_and_replica(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


class TestClusterStore(StoreContract):
    @pytest.fixture
    def store(self, nodes: Servers) -> Iterator[Store]:
        ask(nodes.holder, "FLUSHALL")
        store = cluster_store(nodes)
        yield store
        store.close()


class TestSentinelStore(StoreContract):
    @pytest.fixture
    def store(self, replicated: Servers) -> Iterator[Store]:
        ask(replicated.holder, "FLUSHALL")
        store = from_url(replicated.sentinel_url)
        yield store
        store.close()


@pytest.mark.parametrize("kind", ["connection", "blocking", "cluster", "sentinel"])
def test_a_forked_child_has_locks_and_connections_of_its_own(nodes: Servers, replicated: Servers, kind: str) -> None:
    urls = {"cluster": f"redis://127.0.0.1:{nodes.ports[0]}", "sentinel": replicated.sentinel_url}
    command = [sys.executable, "-c", FORK, kind, urls.get(kind, replicated.holder.url)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "b'1'\n"


def test_a_closed_store_leaves_no_connection_to_a_sentinel(replicated: Servers) -> None:
    def connections() -> int:
        return ask(replicated.all[-1], "CLIENT", "LIST", "TYPE", "NORMAL").count("id=")

    before = connections()
    store = from_url(replicated.sentinel_url)
    store.load("token-1")
    assert connections() == before + 1
    store.close()
    wait_for(lambda: connections() == before)


def test_the_documented_rights_suffice_on_a_cluster(nodes: Servers) -> None:
    rows = re.findall(r"^\| (?:Redis ACL|cluster) \|.*", DOCS.read_text(), re.MULTILINE)
    rights = [right.lower().replace("\\", "") for right in re.findall(r"`([A-Z\\|]+)`", "".join(rows))]
    assert "command" in rights
    for server in nodes.all:
        ask(server, "ACL", "SETUSER", "svc", "reset", "on", ">pw", "~enkash-auth:*", *(f"+{right}" for right in rights))
    store = cluster_store(nodes, username="svc", password="pw")
    lease = store.lock("grant-rights", 60.0)
    assert lease
    assert store.save("token-1", b"1", 60.0, lease)
    assert store.load("token-1")
    store.delete("token-1")
    lease.release()


def test_a_cluster_without_the_entries_node_is_trouble_that_shows_nothing() -> None:
    with cluster() as servers:
        store = cluster_store(servers)
        for server in servers.all:
            server.kill()
        with pytest.raises(StoreError) as caught:
            store.load("token-1")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("lead", ["cluster", "sentinel"])
def test_the_replica_takes_over_what_was_saved(tmp_path: Path, lead: str) -> None:
    with cluster() if lead == "cluster" else primary_and_replica(tmp_path) as servers:
        store = cluster_store(servers) if lead == "cluster" else from_url(servers.sentinel_url)
        store.save("token-1", b"1", 60.0)
        ask(servers.holder, "WAIT", 1, 5000)
        servers.holder.kill()

        def found() -> bool:
            try:
                return store.load("token-1") is not None
            except StoreError:
                return False

        wait_for(found)
