"""Processes that share a store share the token, its renewal and a refusal. Here a provider stands for a process.

What the processes do with a store, command by command, is in `test_protocol.py`; here are their shell and the store.
"""

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

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
    """Does first what the test says, and shows what it holds. Its length is 0: it counts as false, and is a store."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=lambda: clock.monotonic)
        self.names: dict[str, None] = {}
        self.operations, self.before = 0, lambda operation: None

    def __len__(self) -> int:
        return 0

    @property
    def entries(self) -> dict[str, tuple[bytes, float]]:
        """The living entries: value and seconds left."""
        return {name: found for name in self.names if (found := MemoryStore.load(self, name))}

    def fails(self, error: Exception, *operations: str) -> None:
        """Raise from now on, in these operations or in each."""

        def fail(operation: str) -> None:
            if operation in (operations or operation):
                raise error

        self.before = fail

    def load(self, key: str) -> Any:
        return self._do("load", key)

    def save(self, key: str, *given: Any) -> Any:
        return self._do("save", key, *given)

    def delete(self, key: str) -> None:
        self._do("delete", key)

    def lock(self, key: str, seconds: float) -> Any:
        return self._do("lock", key, seconds)

    def _do(self, operation: str, key: str, *given: Any) -> Any:
        self.operations += 1
        self.names[key] = None
        self.before(operation)
        return getattr(MemoryStore, operation)(self, key, *given)


class Fleet:
    """Processes with one store, one server and one clock, and the events of all."""

    def __init__(self, server: Server, clock: Clock, stack: ExitStack) -> None:
        self.server, self.clock, self.store, self.heard = server, clock, Flaky(clock), Heard()
        self.passes, self._stack = clock.passes, stack

    def process(self, source: Any = None, **options: Any) -> TokenProvider:
        given = {"store": self.store, "transport": self.server.transport, "on_event": self.heard, **options}
        return self._stack.enter_context(TokenProvider(source or credentials(), **given))

    def ask(self, *processes: TokenProvider) -> list[str]:
        """Return the tokens that processes get, one after the other; a renewal ends before the next asks."""
        tokens = []
        for process in processes or [self.process()]:
            tokens.append(process.token().access_token)
            wait_for_sign_ins()
        return tokens

    @property
    def sealed(self) -> Sealed:
        return Sealed(self.store, credentials(), self.clock.runtime)


@pytest.fixture
def fleet(server: Server, clock: Clock) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(server, clock, stack)


def test_a_siblings_token_and_its_renewal_are_adopted(fleet: Fleet) -> None:
    processes = [fleet.process() for _ in range(3)]
    assert {*fleet.ask(*processes)} == {"canary-token-1"}
    fleet.passes(290)
    fleet.ask(*processes)
    assert {*fleet.ask(*processes)} == {"canary-token-2"}
    assert fleet.heard.kinds == ["issued", "adopted", "adopted", "renewed", "adopted", "adopted"]


def test_an_adopted_tokens_life_is_what_is_left_of_it_whatever_the_machines_clocks_say(fleet: Fleet) -> None:
    fleet.ask()
    fleet.passes(250)
    fleet.clock.wall -= 1e6
    other = fleet.process()
    assert fleet.ask(other) == ["canary-token-1"]
    fleet.passes(50)
    assert fleet.ask(other) == ["canary-token-2"]


def test_a_process_that_stood_still_in_a_call_gives_the_store_its_whole_time_again(fleet: Fleet) -> None:
    sealed, fleet.store.before = fleet.sealed, lambda operation: fleet.passes(70)
    assert sealed.load("token") is sealed.load("token") is None


def test_a_siblings_reset_makes_a_process_read_its_source(fleet: Fleet) -> None:
    named = ["canary-pass"]
    process = fleet.process(lambda: credentials(password=named[0]))
    fleet.ask(process)
    named[0] = "new"
    fleet.process().reset()
    fleet.passes(310)
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


def test_other_credentials_of_an_account_share_neither_its_token_nor_a_refusal(fleet: Fleet) -> None:
    fleet.ask()
    answer, fleet.server.answer = fleet.server.answer, lambda _: REFUSAL
    failure(fleet.process(credentials(password="wrong")))
    fleet.server.answer = answer
    assert fleet.ask(*(fleet.process(credentials(password="new")) for _ in range(2))) == 2 * ["canary-token-3"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sign_in_that_is_cut_short_keeps_no_sibling_waiting_for_its_lease(fleet: Fleet) -> None:
    def end(_: object) -> NoReturn:
        raise SystemExit

    answer, fleet.server.answer = fleet.server.answer, end
    with pytest.raises(UnavailableError, match="cut short"):
        fleet.process().token()
    wait_for_sign_ins()
    before, fleet.server.answer = fleet.clock.monotonic, answer
    assert fleet.ask() == ["canary-token-2"]
    assert fleet.clock.monotonic == before


def test_a_token_that_an_api_rejected_is_not_adopted_again(fleet: Fleet) -> None:
    one, other = fleet.process(), fleet.process()
    first = one.token()
    assert fleet.ask(other) == [first.access_token]
    for process in (one, other):
        process.invalidate(first)
        assert fleet.ask(process) == ["canary-token-2"]


@pytest.mark.parametrize(
    ("read", "events"),
    [
        (lambda value, left: (memoryview(value), Decimal(left)), ["issued", "adopted"]),
        (lambda value, left: (value.decode("latin-1"), left), ["issued", "store_down", "issued"]),
        (lambda value, left: 1, ["issued", "store_down", "issued"]),
        (lambda value, left: (b"", left), ["issued", "issued"]),
        (lambda value, left: (b"x" * 50, left), ["issued", "issued"]),
    ],
    ids=["memoryview-Decimal", "str", "no pair", "empty", "damaged"],
)
def test_a_store_of_other_types_is_read_or_fails_and_what_is_damaged_counts_as_missing(
    fleet: Fleet, read: Callable[[bytes, float], Any], events: list[str]
) -> None:
    load = fleet.store.load
    fleet.store.load = lambda key: (found := load(key)) and read(*found)
    fleet.ask(fleet.process(), fleet.process())
    assert fleet.heard.kinds == events


class TestWithoutTheStore:
    """The store may be down."""

    @pytest.mark.parametrize("error", [StoreError("it is down"), OSError("canary"), ZeroDivisionError("canary")])
    def test_the_process_goes_on_with_one_warning(self, fleet: Fleet, error: Exception) -> None:
        fleet.store.fails(error)
        one = fleet.process()
        for _ in range(4):
            fleet.ask(one)
            fleet.passes(300)
        assert fleet.heard.kinds.count("store_down") == 1
        assert "canary" not in str(fleet.heard)

    def test_a_store_that_answers_again_is_used_again(self, fleet: Fleet) -> None:
        fleet.store.fails(StoreError("it is down"))
        one = fleet.process()
        fleet.ask(one)
        fleet.store.before = lambda operation: None
        fleet.passes(300)
        assert fleet.ask(one) == fleet.ask()
        assert fleet.heard.kinds == ["store_down", "issued", "store_back", "issued", "adopted"]

    def test_a_store_that_failed_is_not_asked_for_a_while(self, fleet: Fleet) -> None:
        fleet.server.answer = lambda _: issued("t", 1)
        fleet.store.fails(StoreError("it is down"))
        one = fleet.process()
        for _ in range(4):
            fleet.ask(one)
            fleet.passes(1)
        assert fleet.store.operations == 1

    @pytest.mark.parametrize("operation", ["save", "delete", "lock"])
    def test_a_store_may_fail_half_way(self, fleet: Fleet, operation: str) -> None:
        fleet.ask()
        fleet.passes(300)
        fleet.store.fails(StoreError("it is full"), operation)
        one = fleet.process()
        assert fleet.ask(one) == ["canary-token-2"]
        one.reset()
        assert fleet.ask(one) == ["canary-token-3"]

    @pytest.mark.parametrize("call", [TokenProvider.token, TokenProvider.reset])
    def test_a_strict_provider_raises_when_the_store_fails(self, fleet: Fleet, call: Callable[..., object]) -> None:
        fleet.store.fails(OSError("canary"))
        with pytest.raises(UnavailableError, match="token store failed") as caught:
            call(fleet.process(on_store_error="raise"))
        assert ("canary" in str(caught.value), caught.value.__context__, len(fleet.server.requests)) == (False, None, 0)

    def test_a_call_that_still_hangs_is_the_only_one(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("enkash_auth._fleet.sealed._PATIENCE", 0.01)
        fleet.server.answer = lambda _: issued("t", 1)
        hangs, hung = threading.Event(), list[threading.Thread]()

        def hang(operation: str) -> None:
            hung.append(threading.current_thread())
            hangs.wait(30)

        fleet.store.before, one = hang, fleet.process()
        for _ in range(4):
            assert fleet.ask(one) == ["t"]
            fleet.passes(5)
        assert len(hung) == 1
        fleet.store.before = lambda operation: None
        hangs.set()
        hung[0].join()
        fleet.ask(one)
        assert fleet.store.entries

    def test_a_slow_stores_calls_share_its_patience(self, fleet: Fleet) -> None:
        asked, store = fleet.clock.monotonic, fleet.store
        store.before = lambda operation: operation == "load" and fleet.passes(0.5)
        assert fleet.ask() == ["canary-token-1"]
        assert fleet.clock.monotonic - asked < 3
        assert all(store.lock(name, 1.0) for name in [*store.names])  # no lease was left
        assert fleet.heard.kinds == ["store_down", "issued"]

    @pytest.mark.parametrize("broken", ["slow", "down"])
    def test_a_store_that_fails_keeps_no_provider_that_was_dropped(self, fleet: Fleet, broken: str) -> None:
        """Nor a token: an error's traceback, in a cycle with a frame, would keep both until the next collection."""

        def before(operation: str) -> None:
            if broken == "down":
                raise StoreError("it is down")
            fleet.passes(0.5 if operation == "load" else 0)

        fleet.store.before = before
        given = {"store": fleet.store, "transport": fleet.server.transport, "on_event": fleet.heard}
        provider = TokenProvider(credentials(), **given)
        engine = weakref.ref(engine_of(provider))
        gc.disable()
        try:
            assert (fleet.ask(provider), fleet.heard.kinds) == (["canary-token-1"], ["store_down", "issued"])
            del provider
            assert engine() is None
        finally:
            gc.enable()

    @pytest.mark.parametrize("seconds", [0.15, 0.27, 0.4, 1.0, 2.0])
    def test_a_store_of_any_slowness_keeps_no_process_without_a_token(self, fleet: Fleet, seconds: float) -> None:
        fleet.store.before, process = lambda operation: fleet.passes(seconds), fleet.process()
        with suppress(UnavailableError):
            fleet.ask(process)
        fleet.passes(1)
        assert fleet.ask(process) == ["canary-token-1"]

    def test_a_missing_extra_is_named(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "enkash_auth._fleet.shared", None)
        with pytest.raises(ConfigurationError, match="needs the extra"):
            fleet.process()


def flip_a_bit(place: int) -> Callable[[bytes, float], tuple[bytes, float]]:
    return lambda value, left: (value[:place] + bytes([value[place] ^ 1]) + value[place:][1:], left)


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
        other = credentials(username="other")
        fleet.ask()
        entry = next(entry for name, entry in fleet.store.entries.items() if name.startswith("token"))
        fleet.ask(fleet.process(other))
        for key in fleet.store.entries:
            fleet.store.save(key, *entry)
        assert fleet.ask(fleet.process(other)) == ["canary-token-3"]

    @pytest.mark.parametrize("changed", ["base_url", "username", "client_id", "basic_client_id"])
    def test_tenants_never_mix(self, fleet: Fleet, changed: str) -> None:
        other = credentials(**{changed: "https://other.example" if changed == "base_url" else "other"})
        assert len({*fleet.ask(fleet.process(), fleet.process(other))}) == 2
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
        sealed, written = fleet.sealed, fleet.clock.runtime.now()
        assert sealed.lease(6.0)
        fleet.passes(5)  # the process was stopped
        assert sealed.save("token", {}, 60.0, written)
        assert (sealed.load("token") or ())[1:] == pytest.approx((5, 55))
        assert not sealed.save("token", {}, 5.0, written)


class TestFromEnv:
    """`ENKASH_TOKEN_STORE` chooses by URL."""

    @pytest.mark.parametrize("variables", [{}, {"ENKASH_TOKEN_STORE": "memory:"}])
    def test_without_a_store_a_token_stays_in_its_process(
        self, configured: pytest.MonkeyPatch, variables: dict[str, str]
    ) -> None:
        for variable in variables.items():
            configured.setenv(*variable)
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
