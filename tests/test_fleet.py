"""Processes that share a store share the token, its renewal and a refusal. Here a provider stands for a process.

What the processes do with a store, command by command, is in `test_protocol.py`; here are their shell and the store.
"""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import REFUSAL, Clock, Heard, Server, credentials, failure, issued, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth._fleet.sealed import Sealed
from enkash_auth._fleet.shared import look
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime
from enkash_auth._settings.environment import load_token_store
from enkash_auth._signin.direct import Direct
from enkash_auth.errors import ConfigurationError, UnavailableError
from enkash_auth.stores import FileStore, MemoryStore, RedisStore, StoreError


class Flaky(MemoryStore):
    """Raises what the test says, and shows what it holds. Its length is 0: it counts as false, and is a store."""

    error: Exception | None = None
    operations = 0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=lambda: clock.monotonic)
        self.names: dict[str, None] = {}
        self.delay, self._clock_passes = 0.0, clock.passes

    def __len__(self) -> int:
        return 0

    @property
    def entries(self) -> dict[str, tuple[bytes, float]]:
        """The living entries: value and seconds left."""
        return {name: found for name in self.names if (found := super(Flaky, self).load(name))}

    def can_be_leased(self) -> bool:
        """Return whether no lease was held; takes them."""
        return all(self.lock(name, 1.0) for name in list(self.names))

    def _may_fail(self, name: str) -> None:
        self.operations += 1
        self.names[name] = None
        self._clock_passes(self.delay)
        if self.error:
            raise self.error

    def load(self, key: str) -> Any:
        self._may_fail(key)
        return super().load(key)

    def save(self, key: str, *given: Any) -> bool:
        self._may_fail(key)
        return super().save(key, *given)

    def delete(self, key: str) -> None:
        self._may_fail(key)
        super().delete(key)

    def lock(self, key: str, seconds: float) -> Any:
        self._may_fail(key)
        return super().lock(key, seconds)


class Fleet:
    """Processes with one store, one server and one clock, and the events of all."""

    def __init__(self, server: Server, clock: Clock, stack: ExitStack) -> None:
        self.server, self.clock, self.store, self.heard = server, clock, Flaky(clock), Heard()
        self._stack = stack

    def process(self, account: dict[str, str] | None = None, **options: Any) -> TokenProvider:
        given = {"store": self.store, "transport": self.server.transport, "on_event": self.heard, **options}
        return self._stack.enter_context(TokenProvider(credentials(**(account or {})), **given))

    def ask(self, *processes: TokenProvider) -> list[str]:
        """Return the tokens that processes get, one after the other; a renewal ends before the next asks."""
        tokens = []
        for process in processes or [self.process()]:
            tokens.append(process.token().access_token)
            wait_for_sign_ins()
        return tokens

    @property
    def requests(self) -> int:
        return len(self.server.requests)

    @property
    def sealed(self) -> Sealed:
        return Sealed(self.store, credentials(), self.clock.runtime)


@pytest.fixture
def fleet(server: Server, clock: Clock) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(server, clock, stack)


def fail(*_: object) -> Any:
    raise StoreError("it is full")


def test_a_siblings_token_is_adopted(fleet: Fleet) -> None:
    assert fleet.ask() == fleet.ask()
    assert fleet.requests == 1
    assert fleet.heard.kinds == ["issued", "adopted"]


def test_an_adopted_tokens_life_is_what_is_left_of_it_whatever_the_machines_clocks_say(fleet: Fleet) -> None:
    fleet.ask()
    fleet.clock.passes(250)
    fleet.clock.wall -= 1e6
    other = fleet.process()
    assert fleet.ask(other) == ["canary-token-1"]
    fleet.clock.passes(50)
    assert fleet.ask(other) == ["canary-token-2"]


def test_a_process_that_stood_still_in_a_call_gives_the_store_its_whole_time_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(key: str) -> tuple[bytes, float] | None:
        fleet.clock.passes(70)
        return MemoryStore.load(fleet.store, key)

    sealed = fleet.sealed
    monkeypatch.setattr(fleet.store, "load", load)
    assert sealed.load("token") is sealed.load("token") is None


def test_a_siblings_renewal_is_adopted(fleet: Fleet) -> None:
    processes = [fleet.process() for _ in range(3)]
    assert set(fleet.ask(*processes)) == {"canary-token-1"}
    fleet.clock.passes(290)
    fleet.ask(*processes)
    assert set(fleet.ask(*processes)) == {"canary-token-2"}
    assert fleet.requests == 2


def test_a_refusal_and_a_reset_are_the_whole_fleets(fleet: Fleet) -> None:
    fleet.server.answer = lambda _: REFUSAL
    refused = [fleet.process(), fleet.process()]
    for process in refused:
        error = failure(process)
        assert (error.status, error.error) == (400, "invalid_grant")
    assert fleet.requests == 1
    refused[0].reset()
    fleet.server.answer = lambda _: issued("t")
    fleet.clock.passes(5)
    assert fleet.ask(*reversed(refused)) == ["t", "t"]  # who sees the reset of another reads its source first
    assert fleet.requests == 2


def test_a_siblings_reset_makes_a_process_read_its_source(fleet: Fleet) -> None:
    named = ["canary-pass"]
    source = lambda: credentials(password=named[0])  # noqa: E731
    with TokenProvider(source, store=fleet.store, transport=fleet.server.transport) as process:
        fleet.ask(process)
        named[0] = "new"
        fleet.process().reset()
        fleet.clock.passes(310)
        fleet.ask(process)
    assert [b"password=new" in request.content for request in fleet.server.requests] == [False, True]


def test_a_sign_in_that_began_before_a_reset_brings_no_refusal_back(fleet: Fleet) -> None:
    """Nor if the store is emptied between its reads of the ledger and of the reset."""
    fleet.server.answer = lambda _: REFUSAL
    one, sibling, store = fleet.process(), fleet.process(), fleet.store
    lock, load = store.lock, store.load

    def is_leased(*given: Any) -> Any:
        store.lock = lock
        failure(sibling)
        store.load = is_read
        return lock(*given)

    def is_read(name: str) -> Any:
        if name.startswith("reset"):
            store.load = load
            one.reset()
            for entry in [*store.names]:
                store.delete(entry)
        return load(name)

    store.lock = is_leased
    failure(one)
    fleet.server.answer = lambda _: issued("t")
    assert fleet.ask(one) == ["t"]


def test_other_credentials_are_not_refused_with_them(fleet: Fleet) -> None:
    fleet.server.answer = lambda _: REFUSAL
    failure(fleet.process())
    fleet.server.answer = lambda _: issued("t")
    assert fleet.ask(fleet.process({"password": "new"})) == ["t"]


def test_a_token_that_an_api_rejected_is_not_adopted_again(fleet: Fleet) -> None:
    one, other = fleet.process(), fleet.process()
    first = one.token()
    assert fleet.ask(other) == [first.access_token]
    one.invalidate(first)
    assert fleet.ask(one) == ["canary-token-2"]
    other.invalidate(first)
    assert fleet.ask(other) == ["canary-token-2"]
    assert fleet.requests == 2


def test_a_killed_holder_delays_others_no_longer_than_its_lease_and_they_make_no_busy_loop(fleet: Fleet) -> None:
    fleet.sealed.lease(6.0)
    asked, fleet.store.operations = fleet.clock.monotonic, 0
    assert fleet.ask() == ["canary-token-1"]
    assert 6 <= fleet.clock.monotonic - asked < 7
    assert fleet.store.operations < 100


@pytest.mark.parametrize(
    ("read", "requests", "events"),
    [
        (lambda value, left: (memoryview(value), Decimal(left)), 1, ["issued", "adopted"]),
        (lambda value, left: (value.decode("latin-1"), left), 2, ["issued", "store_down", "issued"]),
    ],
    ids=["memoryview-Decimal", "str"],
)
def test_a_store_of_other_types_is_read_or_fails_but_is_never_empty(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes, float], Any], requests: int, events: list[str]
) -> None:
    load = MemoryStore.load
    monkeypatch.setattr(MemoryStore, "load", lambda self, key: (found := load(self, key)) and read(*found))
    fleet.ask()
    fleet.ask()
    assert fleet.requests == requests
    assert fleet.heard.kinds == events


class TestWithoutTheStore:
    """The store may be down."""

    @pytest.mark.parametrize("error", [StoreError("it is down"), OSError("canary"), ZeroDivisionError("canary")])
    def test_the_process_goes_on_with_one_warning(self, fleet: Fleet, error: Exception) -> None:
        fleet.store.error = error
        one = fleet.process()
        for _ in range(4):
            fleet.ask(one)
            fleet.clock.passes(300)
        assert fleet.heard.kinds.count("store_down") == 1
        assert "canary" not in str(fleet.heard)

    def test_a_store_that_answers_again_is_used_again(self, fleet: Fleet) -> None:
        fleet.store.error = StoreError("it is down")
        one = fleet.process()
        fleet.ask(one)
        fleet.store.error = None
        fleet.clock.passes(300)
        assert fleet.ask(one) == fleet.ask()
        assert [kind for kind in fleet.heard.kinds if kind.startswith("store")] == ["store_down", "store_back"]
        assert fleet.requests == 2

    def test_a_store_that_failed_is_not_asked_for_a_while(self, fleet: Fleet) -> None:
        fleet.server.answer = lambda _: issued("t", 1)
        fleet.store.error = StoreError("it is down")
        one = fleet.process()
        for _ in range(4):
            fleet.ask(one)
            fleet.clock.passes(1)
        assert fleet.store.operations == 1

    @pytest.mark.parametrize("operation", ["save", "delete", "lock"])
    def test_a_store_may_fail_half_way(self, fleet: Fleet, operation: str) -> None:
        fleet.ask()
        fleet.clock.passes(300)
        setattr(fleet.store, operation, fail)
        one = fleet.process()
        assert fleet.ask(one) == ["canary-token-2"]
        one.reset()
        assert fleet.ask(one) == ["canary-token-3"]

    def test_a_strict_provider_raises_when_the_store_fails(self, fleet: Fleet) -> None:
        fleet.store.error = OSError("canary")
        one = fleet.process(on_store_error="raise")
        error = failure(one, UnavailableError)
        with pytest.raises(UnavailableError, match="token store failed"):
            one.reset()
        assert "token store failed" in str(error)
        assert "canary" not in str(error)
        assert error.__context__ is None
        assert fleet.requests == 0

    def test_a_strict_provider_serves_a_living_token_on(self, fleet: Fleet) -> None:
        one = fleet.process(on_store_error="raise")
        first = one.token()
        fleet.store.error = StoreError("it is down")
        fleet.clock.passes(290)
        assert one.token() is first

    def test_a_call_that_still_hangs_is_the_only_one(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("enkash_auth._fleet.sealed._PATIENCE", 0.01)
        fleet.server.answer = lambda _: issued("t", 1)
        hangs, hung = threading.Event(), list[threading.Thread]()

        def hang(key: str) -> Any:
            hung.append(threading.current_thread())
            hangs.wait(30)

        load, fleet.store.load = fleet.store.load, hang
        one = fleet.process()
        for _ in range(4):
            assert fleet.ask(one) == ["t"]
            fleet.clock.passes(5)
        assert len(hung) == 1
        fleet.store.load = load
        hangs.set()
        hung[0].join()
        fleet.ask(one)
        assert fleet.store.entries

    def test_a_slow_stores_calls_share_its_patience(self, fleet: Fleet) -> None:
        load, asked = fleet.store.load, fleet.clock.monotonic

        def slow(key: str) -> Any:
            fleet.clock.passes(0.5)
            return load(key)

        fleet.store.load = slow
        assert fleet.ask() == ["canary-token-1"]
        assert fleet.clock.monotonic - asked < 3
        assert fleet.store.can_be_leased()
        assert fleet.heard.kinds == ["store_down", "issued"]

    def test_a_slow_store_keeps_no_provider_that_was_dropped(self, fleet: Fleet) -> None:
        """Nor a token: an error's traceback, in a cycle with a frame, would keep both until the next collection."""
        fleet.store.delay = 0.5
        provider = TokenProvider(
            credentials(), store=fleet.store, transport=fleet.server.transport, on_event=fleet.heard
        )
        engine = weakref.ref(engine_of(provider))
        gc.disable()
        try:
            assert fleet.ask(provider) == ["canary-token-1"]
            assert fleet.heard.kinds == ["store_down", "issued"]
            del provider
            assert any(engine() is None or time.sleep(0.01) for _ in range(200))  # its thread may still end
        finally:
            gc.enable()

    @pytest.mark.parametrize("seconds", [0.15, 0.27, 0.4, 1.0, 2.0])
    def test_a_store_of_any_slowness_keeps_no_process_without_a_token(self, fleet: Fleet, seconds: float) -> None:
        fleet.store.delay, process = seconds, fleet.process()
        with suppress(UnavailableError):
            fleet.ask(process)
        fleet.clock.passes(1)
        assert fleet.ask(process) == ["canary-token-1"]

    def test_a_missing_extra_is_named(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "enkash_auth._fleet.shared", None)
        with pytest.raises(ConfigurationError, match="needs the extra"):
            fleet.process()

    @pytest.mark.parametrize("found", [(b"", 60.0), (b"x" * 50, 60.0), ("text", 60.0), 1])
    def test_what_a_store_holds_may_be_anything(self, fleet: Fleet, found: object) -> None:
        fleet.store.load = lambda key: found
        assert fleet.ask() == ["canary-token-1"]


def flip_a_bit(place: int) -> Callable[[bytes, float], tuple[bytes, float]]:
    def change(value: bytes, left: float) -> tuple[bytes, float]:
        changed = bytearray(value)
        changed[place] ^= 1
        return bytes(changed), left

    return change


class TestSealed:
    """What lies in a store says nothing, and cannot be changed."""

    def test_nothing_is_readable(self, fleet: Fleet) -> None:
        one = fleet.process()
        fleet.ask(one)
        one.reset()
        fleet.ask(one)
        assert len(fleet.store.entries) == 3  # a token, a ledger, a reset
        assert "canary" not in str(fleet.store.entries)
        assert "token.example" not in str(fleet.store.entries)

    @pytest.mark.parametrize(
        "change",
        [flip_a_bit(0), flip_a_bit(13), flip_a_bit(-1), lambda value, left: (value, left + 1)],
        ids=["nonce", "text", "tag", "a longer life than was saved"],
    )
    def test_a_changed_entry_counts_as_missing_and_is_replaced(self, fleet: Fleet, change: Any) -> None:
        fleet.ask()
        for key, entry in fleet.store.entries.items():
            fleet.store.save(key, *change(*entry))
        assert fleet.ask(fleet.process(), fleet.process()) == ["canary-token-2", "canary-token-2"]

    def test_an_entry_under_another_name_counts_as_missing(self, fleet: Fleet) -> None:
        fleet.ask()
        entry = next(entry for name, entry in fleet.store.entries.items() if name.startswith("token"))
        fleet.ask(fleet.process({"username": "other"}))
        for key in fleet.store.entries:
            fleet.store.save(key, *entry)
        assert fleet.ask(fleet.process({"username": "other"})) == ["canary-token-3"]

    def test_an_entry_of_older_credentials_counts_as_missing_and_is_replaced(self, fleet: Fleet) -> None:
        fleet.ask()
        new = [fleet.process({"password": "new"}) for _ in range(2)]
        assert fleet.ask(*new) == ["canary-token-2", "canary-token-2"]

    @pytest.mark.parametrize("changed", ["base_url", "username", "client_id", "basic_client_id"])
    def test_tenants_never_mix(self, fleet: Fleet, changed: str) -> None:
        value = "https://other.example" if changed == "base_url" else "other"
        assert len(set(fleet.ask(fleet.process(), fleet.process({changed: value})))) == 2
        assert len(fleet.store.entries) == 4  # a token and a ledger each

    @pytest.mark.parametrize("text", ["{}", '{"seconds": "9"}', '{"seconds": null}', "[]", "1", "null", "NaN", "{"])
    def test_an_entry_of_another_shape_counts_as_missing(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("enkash_auth._fleet.sealed.json.dumps", lambda _: text)
            fleet.sealed.save("token", {}, 60.0)
        assert fleet.sealed.load("token") is None

    def test_an_entry_is_as_old_as_its_writing(self, fleet: Fleet) -> None:
        sealed = fleet.sealed
        assert sealed.lease(6.0)
        written = fleet.clock.runtime.now()
        fleet.clock.passes(5)  # the process was stopped
        assert sealed.save("token", {}, 60.0, written)
        found = sealed.load("token")
        assert found
        assert found[1:] == pytest.approx((5, 55))
        assert not sealed.save("token", {}, 5.0, written)


class TestFromEnv:
    """`ENKASH_TOKEN_STORE` chooses by URL."""

    @pytest.mark.parametrize("url", [None, "memory:"])
    def test_without_a_store_a_token_stays_in_its_process(
        self, configured: pytest.MonkeyPatch, url: str | None
    ) -> None:
        if url:
            configured.setenv("ENKASH_TOKEN_STORE", url)
        with TokenProvider.from_env() as provider:
            assert isinstance(engine_of(provider).signer, Direct)

    def test_a_url_makes_a_store_that_the_provider_closes(
        self, configured: pytest.MonkeyPatch, tmp_path: Path, server: Server
    ) -> None:
        closed: list[FileStore] = []
        configured.setattr(FileStore, "close", lambda store: closed.append(store))
        configured.setenv("ENKASH_TOKEN_STORE", f"file://{tmp_path}/store")
        with TokenProvider.from_env(transport=server.transport) as provider:
            provider.token()
            assert look(FileStore(tmp_path / "store"), provider.credentials, Runtime())[0]
            assert closed == []
        assert len(closed) == 1

    def test_a_file_may_hold_the_url(self, configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("redis://:pass@h\n")
        configured.setenv("ENKASH_TOKEN_STORE_FILE", str(tmp_path / "url"))
        assert isinstance(load_token_store(), RedisStore)
