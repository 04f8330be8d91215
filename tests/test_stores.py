"""Stores keep what they are given, privately, and say when they cannot."""

import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel
from filelock import FileLock
from redis.crc import key_slot

from conftest import assert_clean, limited
from enkash_auth import stores
from enkash_auth.errors import ConfigurationError
from enkash_auth.stores import FileStore, MemoryStore, RedisStore, Store, StoreError, from_url
from enkash_auth.stores._redis import client_from_url, place_of
from enkash_auth.testing import StoreContract
from enkash_auth.testing._later import in_child
from proxy import Proxy, certificate
from valkey_server import Valkey, free_port
from valkey_sets import allow, documented_rights, use


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(free_port()) as server:
        yield server


@pytest.fixture
def admin(valkey: Valkey) -> Iterator[redis.Redis]:
    """A client of database 15, which is empty."""
    with redis.Redis(unix_socket_path=str(valkey.socket), db=15) as client:
        client.flushdb()
        yield client


def loaded(store: Store) -> tuple[bytes, float]:
    """Return what the store holds of `token-1`, and the seconds left."""
    found = store.load("token-1")
    assert found
    return found


@pytest.mark.parametrize("url", ["memory:", "file://{tmp_path}/new/store", "unix://{valkey.socket}?db=15"])
class TestStore(StoreContract):
    @pytest.fixture
    def store(self, url: str, valkey: Valkey, admin: redis.Redis, tmp_path: Path) -> Iterator[Store]:
        store = from_url(url.format(valkey=valkey, tmp_path=tmp_path))
        yield store
        store.close()

    @pytest.mark.parametrize("make", [object, lambda: MemoryStore().lock("grant-1", 60.0)], ids=["object", "lease"])
    def test_a_strangers_lease_saves_nothing(self, store: Store, make: Callable[[], Any]) -> None:
        assert store.save("token-1", b"1", 60.0, make()) is False


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_redis_is_reached_over(valkey: Valkey, admin: redis.Redis, tmp_path: Path, way: str) -> None:
    pem = certificate(tmp_path)
    with Proxy(valkey.socket, pem) as tls:
        tls_url = f"rediss://127.0.0.1:{tls.port}/15?ssl_ca_certs={pem}"
        use(from_url(tls_url if way == "tls" else f"redis://127.0.0.1:{valkey.port}/15"))


def test_redis_forgets_what_has_expired(admin: redis.Redis) -> None:
    RedisStore(admin).save("token-1", b"1", 60.0)
    assert 59_000 < admin.pttl("enkash-auth:{1}:token-1") <= 60_000


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("file:///{tmp}/a%20b", FileStore),
        ("redis://:pass@h:1/2", RedisStore),
        ("rediss://h", RedisStore),
        ("unix:///s", RedisStore),
        ("valkey://:pass@h:1/2", RedisStore),
        ("valkeys://h", RedisStore),
        ("redis+sentinel://h,[::1]:2/service", RedisStore),
        ("valkeys+sentinel://u:p@h:1,h:2/service/3?socket_timeout=2", RedisStore),
    ],
)
def test_a_url_names_a_store(tmp_path: Path, url: str, kind: type) -> None:
    store = from_url(url.format(tmp=tmp_path))
    assert isinstance(store, kind)
    store.close()


REDIS_IS_OLD = pytest.mark.skipif(find_spec("redis.maint_notifications") is None, reason="redis-py is too old")


@pytest.mark.parametrize("url", [
    "", "x://[", "canary", "memcached://canary",
    "file:canary", "file://canary/x", "file:///x?canary", "file:///canary%00",
    "file:///C:/canary", "file:///c%3A/canary", "file:///C|/canary", "file:///C:",
    "redis://h:canary", "redis://:canary@h?db=canary", "redis://:canary@h?decode_responses=True",
    pytest.param("redis://:canary@h?maint_notifications_config=x", marks=REDIS_IS_OLD),
    "redis+canary://h", "redis+sentinel://canary", "redis+sentinel:///canary", "redis+sentinel://canary,/service",
    "redis+sentinel://h:canary/service", "redis+sentinel://:canary@h/service?socket_timeout=canary",
    "redis+sentinel://:canary@h/service?decode_responses=True",
])  # fmt: skip
def test_a_wrong_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_url(url)
    assert_clean(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_sentinel_url_has_accounts_of_server_and_sentinels_and_one_tls(scheme: str) -> None:
    tls = scheme == "rediss"
    query = "sentinel_username=b&sentinel_password=c%20&ssl_ca_certs=/ca" if tls else "sentinel_password=c"
    pool = client_from_url(f"{scheme}+sentinel://u:p%40@h:1,[::1]/a%20b/3?{query}").connection_pool
    pools = [one.connection_pool for one in pool.sentinel_manager.sentinels]
    own, *sentinels = (one.connection_kwargs for one in (pool, *pools))
    assert [(one["host"], one["port"]) for one in sentinels] == [("h", 1), ("::1", 26379)]
    assert (pool.service_name, own["db"], own["username"], own["password"]) == ("a b", 3, "u", "p@")
    assert [(one["username"], one["password"]) for one in sentinels] == 2 * [("b", "c ") if tls else (None, "c")]
    for options in (own, *sentinels):
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1, 1)
        assert options.get("ssl_ca_certs") == ("/ca" if tls else None)
    assert all(("SSL" in one.connection_class.__name__) == tls for one in (pool, *pools))


def test_as_many_connections_are_opened_as_sign_ins_need_unless_the_url_says_otherwise() -> None:
    """redis-py 8 would refuse the 101st."""
    urls = ("redis://host", "redis+sentinel://host/service", "redis+sentinel://host/service?max_connections=7")
    assert [client_from_url(url).connection_pool.max_connections for url in urls] == [2**31, 2**31, 7]


def test_a_message_names_the_place_of_any_client() -> None:
    cluster = SimpleNamespace(nodes_manager=SimpleNamespace(startup_nodes={"a:6379": None, "b:6379": None}))
    places = {
        "db:6380": redis.Redis(host="db", port=6380),
        "[::1]:6379": client_from_url("redis://[::1]"),
        "localhost:6379": client_from_url("redis://"),
        "/run/valkey.sock": redis.Redis(unix_socket_path="/run/valkey.sock"),
        "service tokens of a Sentinel": client_from_url("redis+sentinel://host/tokens"),
        "cluster at a:6379, b:6379": cluster,
    }
    assert [place_of(client) for client in places.values()] == [*places]


@pytest.mark.parametrize("parts", [{}, {"connection_pool": SimpleNamespace()}], ids=["no pool", "another's pool"])
def test_a_client_of_a_users_own_needs_only_methods(parts: dict[str, Any]) -> None:
    encoder = SimpleNamespace(decode_responses=False)
    RedisStore(SimpleNamespace(execute_command=print, get_encoder=lambda: encoder, **parts))  # type: ignore[arg-type]  # duck-typed


@pytest.mark.parametrize(
    "client",
    [
        redis.asyncio.Redis(),
        redis.asyncio.RedisCluster(host="h"),
        redis.asyncio.sentinel.Sentinel([("h", 1)]).master_for("m"),
        redis.sentinel.Sentinel([("h", 1)]),
        "redis://h",
    ],
)
def test_what_is_no_client_for_threads_is_refused_when_the_store_is_made(client: Any) -> None:
    with pytest.raises(ConfigurationError, match="not asyncio's"):
        RedisStore(client)


def test_a_client_that_decodes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="decode_responses"):
        RedisStore(redis.Redis(decode_responses=True))


def test_a_url_that_redis_does_not_understand_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="redis-py"):
        RedisStore.from_url("canary://x")


@pytest.mark.parametrize("kind", [FileStore, MemoryStore, RedisStore])
def test_a_subclass_may_have_a_metaclass_or_name_the_protocol_first(kind: type) -> None:
    """The stores are no subclasses of `Store`, for a `Protocol` has a metaclass."""
    assert isinstance(type("Registered", (type,), {})("Mine", (kind,), {}), type)
    assert issubclass(types.new_class("Mine", (Store, kind)), kind)


@pytest.mark.parametrize(("name", "extra"), [("FileStore", "file"), ("RedisStore", "redis")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, f"enkash_auth.stores._{extra}", None)
    with pytest.raises(ConfigurationError, match=re.escape(f"enkash-auth[{extra}]")):
        getattr(stores, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Canary"):
        stores.Canary  # noqa: B018


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestFiles:
    """What the directory and its files must be."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    @pytest.fixture
    def store(self, directory: Path) -> FileStore:
        """A store that has an entry, `token-1`."""
        store = FileStore(directory)
        store.save("token-1", b"1", 300.0)
        return store

    @pytest.fixture
    def set_clocks(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Sets the store's clocks on by so many seconds."""
        clocks = {"time": time.time(), "monotonic": time.monotonic()}

        def set_clocks(**seconds: float) -> None:
            for name, on in seconds.items():
                monkeypatch.setattr(f"enkash_auth.stores._file.time.{name}", lambda now=clocks[name] + on: now)

        return set_clocks

    def test_all_is_private(self, directory: Path, umask: Callable[[int], int]) -> None:
        umask(0)
        store = FileStore(directory / "below")
        store.save("token-1", b"1", 60.0, store.lock("grant-1", 60.0))
        assert (mode(directory / "below"), mode(directory)) == (0o700, 0o755)
        modes = {path.name: mode(path) for path in (directory / "below").iterdir()}
        assert modes == {"grant-1.lease": 0o600, "grant-1.lease.lock": 0o600, "token-1": 0o600}

    @pytest.mark.parametrize("loose", [0o755, 0o750, 0o701])
    def test_a_looser_directory_is_refused(self, directory: Path, loose: int) -> None:
        directory.mkdir()
        directory.chmod(loose)
        with pytest.raises(ConfigurationError, match="0700"):
            FileStore(directory)

    def test_a_link_to_a_directory_is_refused(self, directory: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "real")
        with pytest.raises(ConfigurationError, match="no link"):
            FileStore(directory)

    def test_a_directory_loosened_later_is_not_used(self, store: FileStore, directory: Path) -> None:
        directory.chmod(0o755)
        with pytest.raises(StoreError, match="0700"):
            store.load("token-1")

    def test_a_directory_that_cannot_be_made_is_trouble(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="file/store cannot be used .not a directory.; name another"):
            FileStore(tmp_path / "file" / "store")
        store = FileStore("/proc/self/no/store")  # a read-only disk
        with pytest.raises(StoreError, match="/proc/self/no/store failed: no such file"):
            store.save("token-1", b"1", 60.0)

    def test_a_missing_directory_holds_nothing_and_stays_missing(self, directory: Path) -> None:
        store = FileStore(directory)
        assert store.load("token-1") is None
        store.delete("token-1")
        assert not directory.exists()

    def test_a_directory_deleted_at_any_moment_is_made_again_as_private(
        self, store: FileStore, directory: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """filelock makes the directory of its file, as the umask allows."""

        def deleted_before(*args: Any, **options: Any) -> FileLock:
            shutil.rmtree(directory)
            return FileLock(*args, **options)

        umask(0o022)
        with monkeypatch.context() as patch:
            patch.setattr("enkash_auth.stores._file.FileLock", deleted_before)
            lease = store.lock("grant-1", 60.0)
        assert lease
        assert mode(directory) == 0o700
        assert store.save("token-1", b"2", 60.0, lease)
        shutil.rmtree(directory)
        lease.release()
        assert not directory.exists()

    def test_a_taken_lease_is_seen_without_the_lock_that_its_holder_needs(
        self, store: FileStore, directory: Path
    ) -> None:
        """Of 200 processes that started at once, up to 46 waited for that lock in vain, and their store was down."""
        assert store.lock("grant-1", 60.0)
        with FileLock(directory / "grant-1.lease.lock"):
            assert store.lock("grant-1", 60.0) is None

    def test_a_lease_that_is_taken_while_another_process_waits_for_the_lock_is_had_once(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def taken_before(*args: Any, **options: Any) -> FileLock:
            monkeypatch.undo()
            assert store.lock("grant-1", 60.0)
            return FileLock(*args, **options)

        monkeypatch.setattr("enkash_auth.stores._file.FileLock", taken_before)
        assert store.lock("grant-1", 60.0) is None

    def test_a_directory_that_is_deleted_whenever_it_is_made_is_trouble(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So may a network drive seem, that is slow to notice what it has made."""
        shutil.rmtree(directory)
        once = iter(["made"])
        monkeypatch.setattr("enkash_auth.stores._file.make_directory", lambda _: next(once))
        with pytest.raises(StoreError):
            store.save("token-1", b"2", 60.0)

    @pytest.mark.parametrize("loose", [0o644, 0o640, 0o604])
    def test_a_file_that_was_loosened_counts_until_it_is_replaced(
        self, store: FileStore, directory: Path, loose: int
    ) -> None:
        (directory / "token-1").chmod(loose)
        assert loaded(store)[0] == b"1"
        store.save("token-1", b"2", 60.0)
        assert mode(directory / "token-1") == 0o600

    def test_a_link_is_not_followed(self, store: FileStore, directory: Path, tmp_path: Path) -> None:
        elsewhere = (directory / "token-1").rename(tmp_path / "elsewhere")
        (directory / "token-1").symlink_to(elsewhere)
        assert store.load("token-1") is None
        before = elsewhere.read_bytes()
        store.save("token-1", b"2", 60.0)
        assert (elsewhere.read_bytes(), loaded(store)[0]) == (before, b"2")

    @pytest.mark.parametrize("content", [None, b"", b"\0\xff", b"1", b"nan", b"1 2 3\n", b"x y\nz", b"nan nan\nz"])
    def test_a_pipe_or_a_damaged_file_counts_as_missing_and_is_replaced(
        self, store: FileStore, directory: Path, content: bytes | None
    ) -> None:
        if content is None:
            store.delete("token-1")
            os.mkfifo(directory / "token-1", 0o600)  # opening it must not block
        else:
            (directory / "token-1").write_bytes(content)
        assert store.load("token-1") is None
        store.save("token-1", b"2", 60.0)
        assert loaded(store)[0] == b"2"

    def test_a_file_that_cannot_be_opened_is_trouble(self, store: FileStore, directory: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening, pytest.raises(StoreError) as caught:
            listening.bind(str(directory / "token-2"))
            store.load("token-2")
        assert caught.value.__context__ is None

    def test_a_directory_in_an_entrys_place_is_trouble_and_is_closed(self, store: FileStore, directory: Path) -> None:
        def free() -> int:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            os.close(descriptor)
            return descriptor

        (directory / "token-2").mkdir()
        before = free()
        with pytest.raises(StoreError):
            store.load("token-2")
        assert free() == before

    @pytest.mark.parametrize(("seconds", "found"), [(60.0, None), (1e8, (b"1", 1e8))], ids=["a token", "a refusal"])
    def test_after_a_boot_what_is_from_the_future_counts_only_if_it_is_kept_for_years(
        self, store: FileStore, directory: Path, set_clocks: Callable[..., None], seconds: float, found: object
    ) -> None:
        store.save("token-1", b"1", seconds)
        head, _, rest = (directory / "token-1").read_bytes().partition(b"\n")
        (directory / "token-1").write_bytes(head.rpartition(b" ")[0] + b" another-boot\n" + rest)
        set_clocks(time=-1e8)
        assert store.load("token-1") == found

    @pytest.mark.skipif(sys.platform != "linux", reason="another system tells no id of its boot")
    @pytest.mark.parametrize(
        ("wall", "monotonic"), [(-1e6, 100), (30, 100), (100, 1)], ids=["set back far", "set back", "suspended"]
    )
    def test_an_entry_is_as_old_as_the_clock_says_that_ran_on(
        self, store: FileStore, set_clocks: Callable[..., None], wall: float, monotonic: float
    ) -> None:
        store.lock("grant-1", 300.0)
        set_clocks(time=wall, monotonic=monotonic)
        assert loaded(store)[1] == pytest.approx(200, abs=1)
        assert store.lock("grant-1", 300.0) is None

    def test_where_no_boot_has_an_id_an_entry_is_as_old_as_the_wall_clock_says(
        self, store: FileStore, set_clocks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("enkash_auth.stores._file.Path.read_bytes", Mock(side_effect=FileNotFoundError))
        store.save("token-1", b"1", 300.0)
        set_clocks(time=100, monotonic=1e9)
        assert loaded(store)[1] == pytest.approx(200, abs=1)

    def test_a_full_disk_is_trouble_and_leaves_nothing_behind(self, store: FileStore, directory: Path) -> None:
        with limited(resource.RLIMIT_FSIZE, 100), pytest.raises(StoreError):
            store.save("token-1", b"x" * 1000, 60.0)
        assert [path.name for path in directory.iterdir()] == ["token-1"]
        assert loaded(store)[0] == b"1"

    def test_what_killed_writers_left_goes_with_the_next_save(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def is_killed() -> bool:
            monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            return store.save("k-1", b"", 9.0)

        assert not in_child(is_killed)()
        (left,) = (path for path in directory.iterdir() if path.name != "token-1")
        (directory / ".mine").touch()
        for path in directory.iterdir():
            os.utime(path, (0, 0))
        store.save("token-1", b"1", 60.0)
        assert sorted(path.name for path in directory.iterdir()) == [".mine", "token-1"]
        left.touch()  # its writer may live
        store.save("token-1", b"1", 60.0)
        assert left.exists()


class TestServers:
    """What happens when the server does not."""

    @pytest.fixture
    def store(self, valkey: Valkey, admin: redis.Redis) -> Store:
        return from_url(f"unix://{valkey.socket}?db=15")

    @pytest.fixture
    def victim(self) -> Iterator[Valkey]:
        with Valkey() as server:
            yield server

    def test_a_dead_server_is_trouble_until_it_is_started_again(self, victim: Valkey) -> None:
        store = from_url(victim.url)
        store.save("token-1", b"1", 60.0)
        lease = store.lock("grant-1", 60.0)
        assert lease
        victim.kill()
        calls: list[Callable[[], object]] = [
            partial(store.load, "token-1"),
            partial(store.save, "token-1", b"1", 60.0),
            partial(store.save, "token-1", b"1", 60.0, lease),
            partial(store.delete, "token-1"),
            partial(store.lock, "grant-2", 60.0),
            lease.release,
        ]
        for call in calls:
            with pytest.raises(StoreError, match="/s failed: connection refused") as caught:
                call()
            assert caught.value.__context__ is None  # redis-py's frames hold the password
        victim.start()
        assert store.load("token-1") is None

    def test_a_server_that_hangs_is_trouble_and_what_it_runs_late_has_a_shorter_life(self, victim: Valkey) -> None:
        store = from_url(victim.url + "&socket_timeout=0.2")
        lease = store.lock("grant-1", 60.0)
        victim.pause()
        with pytest.raises(StoreError, match="/s failed: timeout"):
            store.save("token-1", b"1", 60.0, lease)
        victim.resume()
        assert loaded(store)[1] <= 59.8

    def test_what_arrives_after_its_expiry_is_not_kept(self, store: Store) -> None:
        lease: Any = store.lock("grant-1", 60.0)
        lease.clock -= 5  # as if the save had taken so long
        assert [store.save("token-1", b"1", seconds, lease) for seconds in (4.0, 60.0)] == [False, True]
        assert 54 < loaded(store)[1] <= 55

    def test_a_life_too_short_to_count_is_not_kept(self, store: Store) -> None:
        assert store.save("token-1", b"1", 0.0001) is False

    def test_a_lease_that_is_asked_for_again_because_the_answer_was_lost_is_had(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("enkash_auth.stores._protocol.secrets.token_hex", lambda count: "same")
        assert store.lock("grant-1", 60.0)
        assert store.lock("grant-1", 60.0)

    def test_a_user_who_may_not_ask_for_the_time_leaves_no_lease(self, valkey: Valkey, admin: redis.Redis) -> None:
        allow(valkey, ["get", "set", "pttl", "del", "eval", "select"])
        with pytest.raises(StoreError, match="its ACL forbids a command"):
            from_url(f"unix://svc:pw@{valkey.socket}?db=15").lock("grant-1", 60.0)
        assert admin.keys() == []

    def test_the_documented_rights_suffice(self, valkey: Valkey, admin: redis.Redis) -> None:
        allow(valkey, documented_rights("Redis ACL"))
        use(from_url(f"unix://svc:pw@{valkey.socket}?db=15"))
        assert admin.keys() == []

    def test_all_keys_are_in_one_slot_of_a_cluster(self, store: Store, admin: redis.Redis) -> None:
        store.save("stop-1", b"1", 60.0)
        assert store.lock("grant-2", 60.0)
        first, second = admin.keys("*")
        assert key_slot(first) == key_slot(second)

    def test_a_connection_that_was_idle_for_long_is_not_used_again(
        self, valkey: Valkey, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = from_url(f"unix://{valkey.socket}?db=15&client_name=idle")

        def connections() -> list[str]:
            store.load("token-1")
            return [client["id"] for client in admin.client_list() if client["name"] == "idle"]

        first = connections()
        assert connections() == first
        now = time.monotonic()
        monkeypatch.setattr("enkash_auth.stores._redis.time.monotonic", lambda: now + 6)
        assert connections() != first

    def test_a_server_that_became_a_replica_is_left_when_its_name_is_anothers(
        self, victim: Valkey, valkey: Valkey
    ) -> None:
        """Many accounts keep a connection busy: it was never idle, and stayed at the replica for ever."""
        with Proxy(victim.socket) as proxy:
            store = from_url(f"redis://127.0.0.1:{proxy.port}/15")
            assert store.save("token-1", b"1", 60.0)
            victim.ask("REPLICAOF", "127.0.0.1", valkey.port)
            proxy.target = valkey.socket
            with pytest.raises(StoreError, match="it is a read-only replica"):
                store.save("token-1", b"1", 60.0)
            assert store.save("token-1", b"1", 60.0)

    def test_an_answer_cut_short_is_trouble(self, valkey: Valkey) -> None:
        with Proxy(valkey.socket) as proxy:
            store = from_url(f"redis://127.0.0.1:{proxy.port}/14")
            store.save("token-1", b"1" * 100, 60.0)
            proxy.cut = 20
            with pytest.raises(StoreError):
                store.load("token-1")

    def test_whatever_redis_meets_is_trouble(self, valkey: Valkey) -> None:
        with pytest.raises(StoreError, match="TypeError") as caught:
            from_url(f"unix://:canary@{valkey.socket}?no_such_option=1").load("token-1")
        assert caught.value.__context__ is None


def test_a_test_run_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    script = "from valkey_server import Valkey; server = Valkey(); print(server.pid, flush=True); input()"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # for its directory, which stays
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command, here = [sys.executable, "-c", script], Path(__file__).parent
    with subprocess.Popen(command, cwd=here, env=environment, **pipes) as run:
        server = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
    assert select.select([server], [], [], 10)[0]  # it has ended
    os.close(server)
