"""Processes that share a store share the token, its renewal and a refusal. Here a provider stands for a process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Clock, Server, credentials, issued, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth._fleet.sealed import Sealed
from enkash_auth._fleet.shared import look
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime
from enkash_auth._settings.environment import load_token_store
from enkash_auth._signin.direct import Direct
from enkash_auth.errors import ConfigurationError, RefusedError, UnavailableError
from enkash_auth.events import Event
from enkash_auth.stores import FileStore, MemoryStore, RedisStore, StoreError

REFUSAL = httpx.Response(400, json={"error": "invalid_grant"})
Member = Callable[..., TokenProvider]


class Flaky(MemoryStore):
    """Raises what the test says, and shows what it holds. Its length is 0: it counts as false, and is a store."""

    error: Exception | None = None
    operations = 0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=lambda: clock.monotonic)
        self.names: dict[str, None] = {}

    def __len__(self) -> int:
        return 0

    @property
    def entries(self) -> dict[str, tuple[bytes, float]]:
        """The living entries: value and seconds left."""
        return {name: found for name in self.names if (found := super(Flaky, self).load(name))}

    def _may_fail(self, name: str) -> None:
        self.operations += 1
        self.names[name] = None
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


@pytest.fixture
def store(clock: Clock) -> Flaky:
    return Flaky(clock)


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def member(server: Server, clock: Clock, store: Flaky, heard: list[Event]) -> Iterator[Member]:
    """Make one more process of the fleet."""
    with ExitStack() as stack:

        def make(account: dict[str, str] | None = None, **options: Any) -> TokenProvider:
            given = {"store": store, "transport": server.transport, "on_event": heard.append, **options}
            return stack.enter_context(TokenProvider(credentials(**(account or {})), **given))

        yield make


def test_a_siblings_token_is_adopted(member: Member, server: Server, heard: list[Event]) -> None:
    first = member().token().access_token
    assert member().token().access_token == first
    assert len(server.requests) == 1
    wait_for_sign_ins()
    assert [event.kind for event in heard] == ["issued", "adopted"]


def test_an_adopted_tokens_life_is_what_is_left_of_it(member: Member, clock: Clock) -> None:
    first = member().token().access_token
    clock.passes(250)
    other = member()
    assert other.token().access_token == first
    clock.passes(50)
    assert other.token().access_token != first


def test_machines_need_not_agree_on_the_time(member: Member, clock: Clock) -> None:
    first = member().token().access_token
    clock.wall -= 1e6
    assert member().token().access_token == first


def test_a_siblings_renewal_is_adopted(member: Member, server: Server, clock: Clock) -> None:
    members = [member() for _ in range(3)]
    assert {one.token().access_token for one in members} == {"canary-token-1"}
    clock.passes(290)
    for one in members:
        one.token()
        wait_for_sign_ins()
    assert {one.token().access_token for one in members} == {"canary-token-2"}
    assert len(server.requests) == 2


def test_a_refusal_is_the_whole_fleets(member: Member, server: Server) -> None:
    server.answer = lambda _: REFUSAL
    for _ in range(5):
        with pytest.raises(RefusedError) as caught:
            member().token()
        assert (caught.value.status, caught.value.error) == (400, "invalid_grant")
    assert len(server.requests) == 1


def test_other_credentials_are_not_refused_with_them(member: Member, server: Server) -> None:
    server.answer = lambda _: REFUSAL
    with pytest.raises(RefusedError):
        member().token()
    server.answer = lambda _: issued("t")
    assert member({"password": "new"}).token().access_token == "t"


def test_a_reset_is_the_whole_fleets(member: Member, server: Server, clock: Clock) -> None:
    server.answer = lambda _: REFUSAL
    refused = [member(), member()]
    for one in refused:
        with pytest.raises(RefusedError):
            one.token()
    refused[0].reset()
    server.answer = lambda _: issued("t")
    clock.passes(5)
    assert [one.token().access_token for one in refused] == ["t", "t"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("who", [0, 1])
def test_a_refusal_from_before_a_reset_does_not_undo_it(member: Member, server: Server, clock: Clock, who: int) -> None:
    members = [member(), member()]

    def answer(_: httpx.Request) -> httpx.Response:
        members[who].reset()
        return REFUSAL

    server.answer = answer
    with pytest.raises(RefusedError):
        members[0].token()
    server.answer = lambda _: issued("t")
    assert members[1].token().access_token == member().token().access_token == "t"
    clock.passes(400)
    assert members[0].token().access_token == "t"


def test_a_reset_is_good_for_one_attempt(member: Member, server: Server, clock: Clock) -> None:
    server.answer = lambda _: REFUSAL
    refused = [member(), member()]
    for round_ in (1, 2):
        for _ in range(3):
            for one in refused:
                with pytest.raises(RefusedError):
                    one.token()
            clock.passes(5)
        assert len(server.requests) == round_
        refused[1].reset()


def test_a_refusal_that_the_store_has_lost_is_saved_again(
    member: Member, server: Server, store: Flaky, clock: Clock
) -> None:
    server.answer = lambda _: REFUSAL
    one = member()
    for _ in range(2):
        with pytest.raises(RefusedError):
            one.token()
        for name in store.entries:
            store.delete(name)
        clock.passes(5)
    with pytest.raises(RefusedError):
        one.token()
    with pytest.raises(RefusedError):
        member().token()
    assert len(server.requests) == 1


@pytest.mark.parametrize("reset_first", [True, False])
def test_a_refusal_from_a_time_without_the_store_costs_one_more_password_for_a_reset(
    member: Member, server: Server, store: Flaky, clock: Clock, reset_first: bool
) -> None:
    """A process that had not looked before its refusal cannot know whether the reset came before it."""
    server.answer = lambda _: REFUSAL
    one = member()
    if reset_first:
        member().reset()
    store.error = StoreError("x")
    with pytest.raises(RefusedError):
        one.token()
    store.error = None
    if not reset_first:
        member().reset()
    for _ in range(3):
        clock.passes(5)
        with pytest.raises(RefusedError):
            one.token()
        with pytest.raises(RefusedError):
            member().token()
    assert len(server.requests) == 2


@pytest.mark.parametrize("answers", [[], [httpx.Response(503)] * 2], ids=["success", "trouble"])
def test_a_process_that_was_refused_before_a_reset_does_not_undo_it(
    member: Member, server: Server, clock: Clock, answers: list[httpx.Response]
) -> None:
    server.answer = lambda _: REFUSAL
    idle, other = member(), member()
    for one in (idle, other):
        with pytest.raises(RefusedError):
            one.token()
    other.reset()
    server.answer = lambda _: answers.pop() if answers else issued("t", 60)
    with suppress(UnavailableError):
        other.token()
    clock.passes(1000)  # what stood in the way is forgotten, and the token has expired
    with suppress(RefusedError):
        idle.token()
    wait_for_sign_ins()
    clock.passes(61)
    assert other.token().access_token == member().token().access_token == "t"


def test_trouble_from_before_a_reset_does_not_undo_it(member: Member, server: Server, clock: Clock) -> None:
    server.answer = lambda _: REFUSAL
    idle, other = member(), member()
    with pytest.raises(RefusedError):
        idle.token()
    member().reset()

    def answer(_: httpx.Request) -> httpx.Response:
        member().reset()
        return httpx.Response(503)

    server.answer = answer
    with pytest.raises(UnavailableError):
        other.token()
    server.answer = lambda _: issued("t")
    assert member().token().access_token == "t"  # at once: no back-off of that time counts
    clock.passes(5)
    assert idle.token().access_token == other.token().access_token == "t"


def test_a_living_token_reopens_where_the_store_has_lost_the_reset(
    member: Member, server: Server, store: Flaky, clock: Clock
) -> None:
    server.answer = lambda _: REFUSAL
    idle, other = member(), member()
    for one in (idle, other):
        with pytest.raises(RefusedError):
            one.token()
    clock.passes(1)
    other.reset()
    for name in store.entries:
        store.delete(name)
    server.answer = lambda _: issued("t")
    assert other.token().access_token == "t"
    clock.passes(5)
    assert idle.token().access_token == "t"
    clock.passes(300)
    assert other.token().access_token == "t"


def test_a_token_from_before_a_refusal_does_not_reopen(member: Member, server: Server, clock: Clock) -> None:
    one, other = member(), member()
    one.invalidate(one.token())
    clock.passes(1)
    server.answer = lambda _: REFUSAL
    for _ in range(3):
        with pytest.raises(RefusedError):
            one.token()
        clock.passes(5)
    assert other.token().access_token == "canary-token-1"
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.Response(403), httpx.Response(200)])
def test_trouble_is_shared_until_the_back_off_is_over(
    member: Member, server: Server, clock: Clock, answer: httpx.Response
) -> None:
    server.answer = lambda _: answer
    kinds = []
    for _ in range(3):
        with pytest.raises(Exception) as caught:
            member().token()
        kinds.append(caught.type)
    assert len(set(kinds)) == 1
    asked = len(server.requests)
    assert asked <= 2
    clock.passes(1)
    server.answer = lambda _: issued("t")
    assert member().token().access_token == "t"
    assert len(server.requests) == asked + 1


def test_trouble_in_a_row_is_counted_by_the_fleet(member: Member, server: Server, clock: Clock) -> None:
    server.answer = lambda _: httpx.Response(503)
    waits = []
    for _ in range(4):
        with pytest.raises(UnavailableError) as caught:
            member().token()
        with pytest.raises(UnavailableError) as caught:
            member().token()
        assert caught.value.retry_after is not None
        waits.append(caught.value.retry_after)
        clock.passes(caught.value.retry_after)
    assert waits == pytest.approx([0.5, 1, 2, 4])


def test_a_token_that_an_api_rejected_is_not_adopted_again(member: Member, server: Server) -> None:
    one, other = member(), member()
    first = one.token()
    assert other.token().access_token == first.access_token
    one.invalidate(first)
    second = one.token()
    assert second != first
    other.invalidate(first)
    assert other.token().access_token == second.access_token
    assert len(server.requests) == 2


def test_a_sticky_server_is_detected_by_the_fleet(member: Member, server: Server, clock: Clock) -> None:
    ends = [clock.wall + 300.7]

    def answer(_: httpx.Request) -> httpx.Response:
        if clock.wall >= ends[-1]:
            ends.append(clock.wall + 300.7)
        return issued(f"sticky-{len(ends)}", int(ends[-1] - clock.wall))

    server.answer = answer
    members = [member() for _ in range(3)]
    for life in (1, 2, 3):
        for _ in range(15):
            for one in members:
                assert one.token().access_token == f"sticky-{life}"
                wait_for_sign_ins()
            clock.passes(19.5)
        members[life - 1] = member()  # a pod restarts
        clock.passes(ends[-1] - clock.wall + 0.1)
    assert len(server.requests) <= 12


def test_a_process_that_comes_after_the_last_token_knows_that_the_server_is_sticky(
    member: Member, server: Server, clock: Clock
) -> None:
    server.answer = lambda _: issued("same", int(1e9 + 300 - clock.wall))
    one = member()
    one.token()
    clock.passes(290)
    one.token()
    wait_for_sign_ins()
    clock.passes(60)
    server.answer = lambda _: issued("next")
    other = member()
    other.token()
    clock.passes(300)
    asked = clock.monotonic
    other.token()
    assert clock.monotonic > asked  # another server would be asked at once


def test_a_token_that_no_sibling_can_have_makes_none_wait_for_its_expiry(
    member: Member, server: Server, clock: Clock
) -> None:
    server.answer = lambda _: issued("last", 0)
    assert member().token().access_token == "last"
    server.answer = lambda _: issued("next")
    asked = clock.monotonic
    assert member().token().access_token == "next"
    assert clock.monotonic == asked


def test_a_sticky_servers_token_in_its_last_second_makes_the_fleet_wait_for_the_next(
    member: Member, server: Server, clock: Clock
) -> None:
    server.answer = lambda _: issued("same", int(1e9 + 300.9 - clock.wall))
    one = member()
    one.token()
    clock.passes(290)
    one.token()
    wait_for_sign_ins()
    clock.passes(10)
    server.answer = lambda _: issued("next")
    asked = clock.monotonic
    assert member().token().access_token == "next"
    assert clock.monotonic > asked


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("token", {"access_token": "canary"}),
        ("token", {"access_token": "t", "answered": "x", "lower": 9, "upper": 9, "sticky": 0}),
        ("stop", {"kind": "Throttled", "fields": {}}),
        ("stop", {"kind": "Refused", "fields": {"status": 400, "since": 1}}),
        ("reset", {}),
    ],
)
def test_an_entry_of_another_version_counts_as_missing(
    member: Member, store: Flaky, clock: Clock, heard: list[Event], kind: Any, entry: dict[str, Any]
) -> None:
    Sealed(store, credentials(), clock.runtime).save(kind, entry, 600.0)
    assert member().token().access_token == member().token().access_token == "canary-token-1"
    wait_for_sign_ins()
    assert [event.kind for event in heard] == ["issued", "adopted"]


def test_a_reset_of_another_version_undoes_no_refusal(
    member: Member, server: Server, store: Flaky, clock: Clock
) -> None:
    server.answer = lambda _: REFUSAL
    for _ in range(2):
        with pytest.raises(RefusedError):
            member().token()
        Sealed(store, credentials(), clock.runtime).save("reset", {}, 600.0)
    assert len(server.requests) == 1


def test_an_entry_is_as_old_as_its_writing(store: Flaky, clock: Clock) -> None:
    sealed = Sealed(store, credentials(), clock.runtime)
    assert sealed.lease(6.0)
    written = clock.runtime.now()
    clock.passes(5)  # the process was stopped
    assert sealed.save("token", {}, 60.0, written)
    found = sealed.load("token")
    assert found
    assert found[1:] == pytest.approx((5, 55))
    assert not sealed.save("token", {}, 5.0, written)


def test_a_new_server_that_is_not_sticky_is_detected_by_the_fleet(
    member: Member, server: Server, clock: Clock, store: Flaky
) -> None:
    server.answer = lambda _: issued("same", int(1e9 + 300 - clock.wall))
    one = member()
    one.token()
    clock.passes(290)
    one.token()
    wait_for_sign_ins()
    assert any(key.startswith("sticky-") for key in store.entries)
    one.invalidate(one.token())
    server.answer = lambda _: issued("early")
    assert one.token().access_token == "early"
    assert not any(key.startswith("sticky-") for key in store.entries)


class TestWaiting:
    """While another process holds the lease."""

    def lease(self, member: Member, store: Flaky, seconds: float) -> Any:
        """Take the lease as a process would that is killed in its grant."""
        return Sealed(store, credentials(), Runtime()).lease(seconds)

    def test_a_killed_holder_delays_others_no_longer_than_its_lease(
        self, member: Member, store: Flaky, clock: Clock
    ) -> None:
        self.lease(member, store, 6.0)
        asked = clock.monotonic
        assert member().token().access_token == "canary-token-1"
        assert 6 <= clock.monotonic - asked < 7

    def test_a_lease_that_outlives_the_callers_time_is_trouble(
        self, member: Member, store: Flaky, clock: Clock, server: Server
    ) -> None:
        self.lease(member, store, 60.0)
        with pytest.raises(UnavailableError):
            member().token()
        assert server.requests == []

    def test_waiting_is_no_busy_loop(self, member: Member, store: Flaky) -> None:
        self.lease(member, store, 6.0)
        store.operations = 0
        member().token()
        assert store.operations < 100

    def test_a_late_holders_token_is_its_own(self, member: Member, server: Server, clock: Clock, store: Flaky) -> None:
        def answer(_: httpx.Request) -> httpx.Response:
            if len(server.requests) == 1:
                clock.passes(7)
                assert member().token().access_token == "new"
                return issued("late", 10)
            return issued("new")

        server.answer = answer
        assert member(timeout=10.0).token().access_token == "late"
        assert member().token().access_token == "new"

    @pytest.mark.parametrize("answer", [issued("t"), REFUSAL], ids=["token", "refusal"])
    def test_a_sibling_may_finish_between_the_first_look_and_the_lease(
        self, member: Member, server: Server, store: Flaky, answer: httpx.Response
    ) -> None:
        server.answer = lambda _: answer
        lock, others = store.lock, [member()]

        def late(*given: Any) -> Any:
            if others:
                with suppress(RefusedError):
                    others.pop().token()
            return lock(*given)

        store.lock = late  # type: ignore[method-assign]
        with suppress(RefusedError):
            member().token()
        assert len(server.requests) == 1

    def test_a_late_holders_success_leaves_a_younger_refusal(
        self, member: Member, server: Server, store: Flaky, clock: Clock
    ) -> None:
        server.answer = lambda _: httpx.Response(503)
        with pytest.raises(UnavailableError):
            member().token()
        clock.passes(1)

        def answer(_: httpx.Request) -> httpx.Response:
            clock.passes(7)
            server.answer = lambda _: REFUSAL
            with pytest.raises(RefusedError):
                member().token()
            return issued("late")

        server.answer = answer
        assert member().token().access_token == "late"
        asked = len(server.requests)
        with pytest.raises(RefusedError):
            member().token()
        assert len(server.requests) == asked

    @pytest.mark.parametrize("operation", ["save", "second look"])
    def test_a_holder_whose_store_fails_gives_the_lease_back(
        self, member: Member, server: Server, store: Flaky, clock: Clock, operation: str
    ) -> None:
        lock = store.lock
        member().token()
        clock.passes(300)

        def fail(*_: Any) -> Any:
            raise StoreError("it is full")

        def taken(*given: Any) -> Any:
            store.load = fail  # type: ignore[method-assign]
            return lock(*given)

        if operation == "save":
            store.save = fail  # type: ignore[method-assign]
        else:
            store.lock = taken  # type: ignore[method-assign]
        asked = clock.monotonic
        assert [member().token().access_token for _ in range(2)] == ["canary-token-2", "canary-token-3"]
        assert clock.monotonic == asked
        assert all(store.lock(name, 1.0) for name in list(store.names))  # given back


class TestWithoutTheStore:
    """The store may be down."""

    ERRORS = (StoreError("it is down"), OSError("canary"), ZeroDivisionError("canary"))

    @pytest.mark.parametrize("error", ERRORS)
    def test_the_process_goes_on_with_one_warning(
        self, member: Member, store: Flaky, heard: list[Event], clock: Clock, error: Exception
    ) -> None:
        store.error = error
        one = member()
        for _ in range(4):
            assert one.token().access_token
            clock.passes(300)
        wait_for_sign_ins()
        assert [event.kind for event in heard].count("store_down") == 1
        assert "canary" not in str(heard).replace("canary-token", "")

    def test_a_disk_that_cannot_be_written_costs_one_warning(
        self, member: Member, heard: list[Event], clock: Clock
    ) -> None:
        one = member(store=FileStore("/proc/self/no/store"))
        for _ in range(3):
            assert one.token().access_token
            clock.passes(300)
        wait_for_sign_ins()
        assert [event.kind for event in heard].count("store_down") == 1

    def test_a_store_that_answers_again_is_used_again(
        self, member: Member, store: Flaky, heard: list[Event], clock: Clock, server: Server
    ) -> None:
        store.error = StoreError("it is down")
        one = member()
        one.token()
        store.error = None
        clock.passes(300)
        assert one.token().access_token == member().token().access_token
        wait_for_sign_ins()
        assert [event.kind for event in heard if event.kind.startswith("store")] == ["store_down", "store_back"]
        assert len(server.requests) == 2

    def test_a_store_that_failed_is_not_asked_for_a_while(
        self, member: Member, store: Flaky, server: Server, clock: Clock
    ) -> None:
        server.answer = lambda _: issued("t", 1)
        store.error = StoreError("it is down")
        one = member()
        for _ in range(4):
            one.token()
            clock.passes(1)
        assert store.operations == 1

    def test_the_process_keeps_its_own_refusal(
        self, member: Member, store: Flaky, server: Server, clock: Clock
    ) -> None:
        store.error = StoreError("it is down")
        server.answer = lambda _: REFUSAL
        one = member()
        for _ in range(4):
            with pytest.raises(RefusedError):
                one.token()
            clock.passes(10)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("operation", ["save", "delete", "lock"])
    def test_a_store_may_fail_half_way(self, member: Member, store: Flaky, clock: Clock, operation: str) -> None:
        def fail(*_: Any) -> Any:
            raise StoreError("read-only")

        member().token()
        clock.passes(300)
        setattr(store, operation, fail)
        one = member()
        assert one.token().access_token == "canary-token-2"
        one.reset()
        assert one.token().access_token == "canary-token-3"

    def test_a_strict_provider_raises_when_the_store_fails(self, member: Member, store: Flaky, server: Server) -> None:
        store.error = OSError("canary")
        one = member(on_store_error="raise")
        with pytest.raises(UnavailableError, match="token store failed") as caught:
            one.token()
        with pytest.raises(UnavailableError, match="token store failed"):
            one.reset()
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None
        assert server.requests == []

    def test_a_strict_provider_serves_a_living_token_on(self, member: Member, store: Flaky, clock: Clock) -> None:
        one = member(on_store_error="raise")
        first = one.token()
        store.error = StoreError("it is down")
        clock.passes(290)
        assert one.token() is first

    def test_a_store_that_hangs_costs_its_patience_only(
        self, member: Member, store: Flaky, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("enkash_auth._fleet.sealed._PATIENCE", 0.01)
        hangs = threading.Event()
        store.load = lambda key: hangs.wait(30)  # type: ignore[method-assign,assignment]
        assert member().token().access_token == "canary-token-1"
        hangs.set()

    def test_a_call_that_still_hangs_is_the_only_one(
        self, member: Member, store: Flaky, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("enkash_auth._fleet.sealed._PATIENCE", 0.01)
        server.answer = lambda _: issued("t", 1)
        hangs, hung = threading.Event(), list[threading.Thread]()

        def hang(key: str) -> Any:
            hung.append(threading.current_thread())
            hangs.wait(30)

        load, store.load = store.load, hang  # type: ignore[method-assign]
        one = member()
        for _ in range(4):
            assert one.token().access_token == "t"
            clock.passes(5)
        assert len(hung) == 1
        store.load = load  # type: ignore[method-assign]
        hangs.set()
        hung[0].join()
        one.token()
        assert store.entries

    def test_a_slow_stores_calls_share_its_patience(
        self, member: Member, store: Flaky, clock: Clock, server: Server, heard: list[Event]
    ) -> None:
        load = store.load

        def slow(key: str) -> Any:
            clock.passes(0.8)
            return load(key)

        store.load = slow  # type: ignore[method-assign]
        asked = clock.monotonic
        assert member().token().access_token == "canary-token-1"
        assert clock.monotonic - asked < 3
        assert all(store.lock(name, 1.0) for name in list(store.names))  # given back
        wait_for_sign_ins()
        assert [event.kind for event in heard] == ["store_down", "issued"]

    def test_a_missing_extra_is_named(self, member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "enkash_auth._fleet.shared", None)
        with pytest.raises(ConfigurationError, match="needs the extra"):
            member()

    @pytest.mark.parametrize("found", [(b"", 60.0), (b"x" * 50, 60.0), ("text", 60.0), 1])
    def test_what_a_store_holds_may_be_anything(self, member: Member, store: Flaky, found: object) -> None:
        store.load = lambda key: found  # type: ignore[method-assign,assignment,return-value]
        assert member().token().access_token == "canary-token-1"


class TestSealed:
    """What lies in a store says nothing, and cannot be changed."""

    def test_nothing_is_readable(self, member: Member, store: Flaky) -> None:
        one = member()
        one.token()
        one.reset()
        one.token()
        assert len(store.entries) == 3  # a token, a ledger, a reset
        assert "canary" not in str(store.entries)
        assert "token.example" not in str(store.entries)

    def test_a_changed_entry_counts_as_missing_and_is_replaced(
        self, member: Member, store: Flaky, server: Server
    ) -> None:
        member().token()
        for key, (value, left) in store.entries.items():
            for place in (0, 13, len(value) - 1):
                changed = bytearray(value)
                changed[place] ^= 1
                store.save(key, bytes(changed), left)
        second = member().token()
        assert second.access_token == "canary-token-2"
        assert member().token().access_token == second.access_token

    def test_an_entry_under_another_name_counts_as_missing(self, member: Member, store: Flaky) -> None:
        member().token()
        entry = next(entry for name, entry in store.entries.items() if name.startswith("token"))
        other = member({"username": "other"})
        other.token()
        for key in store.entries:
            store.save(key, *entry)
        assert member({"username": "other"}).token().access_token == "canary-token-3"

    def test_an_entry_of_older_credentials_counts_as_missing_and_is_replaced(
        self, member: Member, server: Server
    ) -> None:
        member().token()
        new = member({"password": "new"}).token()
        assert new.access_token == "canary-token-2"
        assert member({"password": "new"}).token().access_token == new.access_token

    def test_an_entry_with_a_longer_life_than_was_saved_counts_as_missing(self, member: Member, store: Flaky) -> None:
        member().token()
        for key, (value, left) in store.entries.items():
            store.save(key, value, left + 1)
        assert member().token().access_token == "canary-token-2"

    @pytest.mark.parametrize("changed", ["base_url", "username", "client_id", "basic_client_id"])
    def test_tenants_never_mix(self, member: Member, store: Flaky, changed: str) -> None:
        value = "https://other.example" if changed == "base_url" else "other"
        tokens = {member().token(), member({changed: value}).token()}
        assert len(tokens) == 2
        assert len(store.entries) == 4  # a token and a ledger each

    def test_no_error_of_a_store_is_logged_or_shown(
        self, member: Member, store: Flaky, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        store.error = ValueError("canary-secret")
        one = member()
        one.token()
        store.error, signer = None, engine_of(one).signer
        assert "canary" not in f"{caplog.text}{signer!r}{vars(signer)!r}"


class TestFromEnv:
    """`ENKASH_TOKEN_STORE` chooses by URL."""

    @pytest.fixture
    def environment(self, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        for name in ("USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET"):
            environment.setenv(f"ENKASH_{name}", "x")
        environment.setenv("ENKASH_BASE_URL", "https://token.example")
        return environment

    @pytest.mark.parametrize("url", [None, "memory:"])
    def test_without_a_store_a_token_stays_in_its_process(
        self, environment: pytest.MonkeyPatch, url: str | None
    ) -> None:
        if url:
            environment.setenv("ENKASH_TOKEN_STORE", url)
        with TokenProvider.from_env() as provider:
            assert isinstance(engine_of(provider).signer, Direct)

    def test_a_url_makes_a_store_that_the_provider_closes(
        self, environment: pytest.MonkeyPatch, tmp_path: Path, server: Server
    ) -> None:
        closed: list[FileStore] = []
        environment.setattr(FileStore, "close", lambda store: closed.append(store))
        environment.setenv("ENKASH_TOKEN_STORE", f"file://{tmp_path}/store")
        with TokenProvider.from_env(transport=server.transport) as provider:
            provider.token()
            assert look(FileStore(tmp_path / "store"), provider.credentials, Runtime())[0]
            assert closed == []
        assert len(closed) == 1

    def test_a_file_may_hold_the_url(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("redis://:pass@h\n")
        environment.setenv("ENKASH_TOKEN_STORE_FILE", str(tmp_path / "url"))
        assert isinstance(load_token_store(), RedisStore)

    def test_a_wrong_url_is_named_but_not_shown(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ENKASH_TOKEN_STORE", "redis://:canary@h:x")
        with pytest.raises(ConfigurationError, match="ENKASH_TOKEN_STORE") as caught:
            TokenProvider.from_env()
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None
