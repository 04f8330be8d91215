"""Stores keep what they are given, privately, and say when they cannot."""

from __future__ import annotations

import itertools
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from enkash_auth import stores
from enkash_auth.errors import ConfigurationError
from enkash_auth.stores import FileStore, MemoryStore, RedisStore, Store, StoreError, from_url
from enkash_auth.testing import StoreContract
from proxy import Proxy, certificate
from valkey_server import Valkey, free_port

database = itertools.count()


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(free_port()) as server:
        yield server


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FileStore(tmp_path / "new" / "store")


class TestRedisStore(StoreContract):
    @pytest.fixture(params=["tcp", "socket", "tls"])
    def store(self, valkey: Valkey, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        number = next(database) % 16
        with Proxy(valkey.socket, certificate(tmp_path)) as tls:
            urls = {
                "tcp": f"redis://127.0.0.1:{valkey.port}/{number}",
                "socket": f"unix://{valkey.socket}?db={number}",
                "tls": f"rediss://127.0.0.1:{tls.port}/{number}?ssl_ca_certs={tmp_path / 'proxy.pem'}",
            }
            redis.Redis(unix_socket_path=str(valkey.socket), db=number).flushdb()
            store = from_url(urls[request.param])
            yield store
            store.close()


def test_redis_forgets_what_has_ended(valkey: Valkey) -> None:
    client = redis.Redis(unix_socket_path=str(valkey.socket), db=15)
    RedisStore(client).save("token-1", b"1", 60.0)
    assert 59_000 < client.pttl("enkash-auth:token-1") <= 60_000


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("file:///{tmp}/a%20b", FileStore),
        ("redis://:pass@h:1/2", RedisStore),
        ("rediss://h", RedisStore),
        ("unix:///s", RedisStore),
    ],
)
def test_a_url_names_a_store(tmp_path: Path, url: str, kind: type) -> None:
    assert isinstance(from_url(url.format(tmp=tmp_path)), kind)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "canary",
        "memcached://canary",
        "file:canary",
        "file://canary/x",
        "file:///x?canary",
        "redis://h:canary",
        "x://[",
    ],
)
def test_a_wrong_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_url(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("name", "extra"), [("FileStore", "file"), ("RedisStore", "redis")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, f"enkash_auth.stores._{extra}", None)
    with pytest.raises(ConfigurationError, match=re.escape(f"enkash-auth[{extra}]")):
        getattr(stores, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Canary"):
        stores.Canary  # noqa: B018


class TestFiles:
    """What the directory and its files must be."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        return FileStore(tmp_path / "store")

    def files(self, tmp_path: Path) -> list[Path]:
        return sorted((tmp_path / "store").iterdir())

    def test_all_is_private(self, store: FileStore, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            lease = store.lock("grant-1", 60.0)
            store.save("token-1", b"1", 60.0, lease)
        finally:
            os.umask(before)
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
        assert [path.name for path in self.files(tmp_path)] == ["grant-1.lease", "grant-1.lease.lock", "token-1"]
        assert {path.stat().st_mode & 0o777 for path in self.files(tmp_path)} == {0o600}

    @pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
    def test_a_looser_directory_is_refused(self, tmp_path: Path, mode: int) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "store").chmod(mode)
        with pytest.raises(ConfigurationError, match="0700"):
            FileStore(tmp_path / "store")

    def test_a_directory_loosened_later_is_not_used(self, store: FileStore, tmp_path: Path) -> None:
        store.save("token-1", b"1", 60.0)
        (tmp_path / "store").chmod(0o755)
        with pytest.raises(StoreError, match="0700"):
            store.load("token-1")

    def test_a_link_to_a_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "store").symlink_to(tmp_path / "real")
        with pytest.raises(ConfigurationError, match="no link"):
            FileStore(tmp_path / "store")

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_a_looser_file_is_not_read(self, store: FileStore, tmp_path: Path, mode: int) -> None:
        store.save("token-1", b"1", 60.0)
        (tmp_path / "store" / "token-1").chmod(mode)
        with pytest.raises(StoreError, match="0600"):
            store.load("token-1")

    def test_a_link_is_not_followed(self, store: FileStore, tmp_path: Path) -> None:
        store.save("token-1", b"1", 60.0)
        (tmp_path / "store" / "token-1").rename(tmp_path / "elsewhere")
        (tmp_path / "store" / "token-1").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreError):
            store.load("token-1")
        before = (tmp_path / "elsewhere").read_bytes()
        store.save("token-1", b"2", 60.0)
        assert (tmp_path / "elsewhere").read_bytes() == before

    def test_a_pipe_does_not_hang_it(self, store: FileStore, tmp_path: Path) -> None:
        store.save("token-2", b"1", 60.0)
        os.mkfifo(tmp_path / "store" / "token-1", 0o600)
        with pytest.raises(StoreError):
            store.load("token-1")

    @pytest.mark.parametrize("content", [b"", b"\0\xff", b"1", b"nan", b"1 2 3\n", b"x y\nz", b"nan nan\nz"])
    def test_a_damaged_file_is_not_there(self, store: FileStore, tmp_path: Path, content: bytes) -> None:
        store.save("token-1", b"1", 60.0)
        (tmp_path / "store" / "token-1").write_bytes(content)
        assert store.load("token-1") is None

    def test_an_entry_from_the_future_is_not_there(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.save("token-1", b"1", 60.0)
        monkeypatch.setattr("enkash_auth.stores._file.time.time", lambda: 1e9)
        assert store.load("token-1") is None

    def test_a_directory_that_cannot_be_made_is_trouble(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="NotADirectory"):
            FileStore(tmp_path / "file" / "store")
        store = FileStore("/proc/self/no/store")  # a read-only disk
        with pytest.raises(StoreError, match="directory failed"):
            store.save("token-1", b"1", 60.0)

    def test_a_full_disk_is_trouble_and_leaves_nothing_behind(self, store: FileStore, tmp_path: Path) -> None:
        store.save("token-1", b"old", 60.0)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(StoreError):
                store.save("token-1", b"x" * 1000, 60.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in self.files(tmp_path)] == ["token-1"]
        found = store.load("token-1")
        assert found is not None
        assert found[0] == b"old"

    def test_a_strangers_lease_saves_nothing(self, store: FileStore) -> None:
        stranger: Any = MemoryStore().lock("grant-1", 60.0)
        assert store.save("token-1", b"1", 60.0, stranger) is False


class TestServers:
    """What happens when the server does not."""

    @pytest.mark.parametrize("operation", ["load", "save", "save_held", "delete", "lock", "release"])
    def test_a_dead_server_is_trouble(self, operation: str, tmp_path: Path) -> None:
        with Valkey() as server:
            store = from_url(server.url)
            lease = store.lock("grant-1", 60.0)
            assert lease
            server.kill()
            calls = {
                "load": lambda: store.load("token-1"),
                "save": lambda: store.save("token-1", b"1", 60.0),
                "save_held": lambda: store.save("token-1", b"1", 60.0, lease),
                "delete": lambda: store.delete("token-1"),
                "lock": lambda: store.lock("grant-2", 60.0),
                "release": lease.release,
            }
            with pytest.raises(StoreError, match="ConnectionError"):
                calls[operation]()

    def test_a_restarted_server_is_found_again_at_once(self) -> None:
        with Valkey() as server:
            store = from_url(server.url)
            store.save("token-1", b"1", 60.0)
            server.kill()
            server.start()
            assert store.load("token-1") is None

    def test_a_server_that_hangs_is_trouble(self) -> None:
        with Valkey() as server:
            store = from_url(server.url + "&socket_timeout=0.05")
            store.load("token-1")
            server.pause()
            with pytest.raises(StoreError, match="TimeoutError"):
                store.load("token-1")

    def test_what_a_server_that_hung_runs_late_is_not_kept(self) -> None:
        with Valkey() as server:
            store = from_url(server.url + "&socket_timeout=0.2")
            lease = store.lock("grant-1", 60.0)
            server.pause()
            with pytest.raises(StoreError):
                store.save("token-1", b"1", 60.0, lease)
            server.resume()
            assert store.load("token-1") is None
            assert store.save("token-1", b"1", 60.0, lease)

    def test_an_answer_cut_short_is_trouble(self, valkey: Valkey) -> None:
        with Proxy(valkey.socket) as proxy:
            store = from_url(f"redis://127.0.0.1:{proxy.port}/14")
            store.save("token-1", b"1" * 100, 60.0)
            proxy.cut = 20
            with pytest.raises(StoreError):
                store.load("token-1")

    def test_a_life_too_short_to_count_is_not_kept(self, valkey: Valkey) -> None:
        assert from_url(f"unix://{valkey.socket}").save("token-1", b"1", 0.0001) is False

    def test_a_strangers_lease_saves_nothing(self, valkey: Valkey) -> None:
        stranger: Any = MemoryStore().lock("grant-1", 60.0)
        assert from_url(f"unix://{valkey.socket}").save("token-1", b"1", 60.0, stranger) is False

    def test_a_url_that_redis_does_not_understand_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="redis-py"):
            RedisStore.from_url("canary://x")


def test_a_strangers_lease_saves_nothing_in_memory() -> None:
    stranger: Any = object()
    assert MemoryStore().save("token-1", b"1", 60.0, stranger) is False


def test_a_test_run_that_is_killed_leaves_no_server_behind() -> None:
    script = "from valkey_server import Valkey; v = Valkey(); print(v._process.pid, flush=True); v._process.wait()"
    run = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    server = int(run.stdout.readline())
    run.kill()
    run.communicate()

    def gone() -> bool:
        try:
            return "Z" in Path(f"/proc/{server}/stat").read_text().rpartition(")")[2]
        except FileNotFoundError:
            return True

    while not gone():  # the kernel needs a moment
        threading.Event().wait(0.01)
