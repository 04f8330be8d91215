"""The sandbox refuses passwords in many dialects, counts them in all, and has outages; the client stops in time."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.routing import Mount

from conftest import Clock, credentials, failure, wait_for_sign_ins
from conftest import Server as Scripted
from crowd import Crowd
from enkash_auth import Credentials, TokenProvider, stores
from enkash_auth.errors import EnkashAuthError, RefusedError, UnavailableError
from enkash_auth.testing import DIALECTS, Sandbox
from enkash_auth.testing._later import becomes
from enkash_auth.testing._server import Server
from valkey_server import Valkey

GUIDE = Path(__file__).parents[1] / "docs" / "testing.md"
TOKEN = 200
Seen = tuple[int | type[Exception], str | None]


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def ask(sandbox: Sandbox, *, socket: bool = False, patience: float = 0.05, **changed: str) -> Seen:
    """What a client sees of the answer: status and body, or the error and nothing."""
    own = {"username": sandbox.username, "password": sandbox.password, "clientId": sandbox.client_id}
    options: dict[str, Any] = {"verify": False} if socket else {"transport": sandbox.transport}
    with httpx.Client(base_url=sandbox.base_url, timeout=patience, trust_env=False, **options) as client:
        pair = (sandbox.basic_client_id, sandbox.client_secret)
        try:
            answer = client.post("/oauth/token", data={**own, "grant_type": "password", **changed}, auth=pair)
        except httpx.HTTPError as error:
            return type(error), None
        return answer.status_code, answer.text


@pytest.mark.once
@pytest.mark.parametrize("name", DIALECTS)
def test_a_refusal_is_the_same_on_a_socket_and_without(served: Sandbox, name: str) -> None:
    served.unlock()
    served.dialect = name
    patience = 0.05 if name == "silence" else 10.0
    seen = ask(served, socket=True, patience=patience, password="wrong")
    assert ask(served, password="wrong") == seen
    errors = {"silence": httpx.ReadTimeout, "dropped": httpx.RemoteProtocolError, "cut": httpx.RemoteProtocolError}
    gone = httpx.DecodingError if name.startswith("bad-gzip") else errors.get(DIALECTS[name].sent)
    assert seen[0] == (gone or DIALECTS[name].status)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_third_wrong_password_locks_and_the_right_one_is_refused_alike_from_then_on(name: str) -> None:
    sandbox = Sandbox(dialect=name)
    assert ask(sandbox)[0] == TOKEN
    for wrong in range(3):
        assert (sandbox.failed_passwords, sandbox.locked) == (wrong, False)
        refusal, _ = ask(sandbox, password="wrong")
    assert (sandbox.failed_passwords, sandbox.locked) == (3, True)
    assert (ask(sandbox)[0], sandbox.tokens_issued) == (refusal, 1)


def test_a_refusal_says_why_in_the_words_of_its_dialect() -> None:
    sandbox = Sandbox(dialect="envelope-200", lock_after=1)
    bodies = [ask(sandbox, password=password)[1] for password in ("wrong", sandbox.password)]
    assert re.search("Bad credentials.*User account is locked", repr(bodies))


NO_DIALECT = "unknown dialect 'keyclock'; did you mean 'keycloak'.*There are spring, .*429"
NO_OPTION = "'server_error' takes no option 'status'; 'raw' does"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Sandbox(dialect="keyclock"), NO_DIALECT),
        (lambda: setattr(Sandbox(), "dialect", "keyclock"), NO_DIALECT),
        (lambda: Sandbox(stiky=False), "option 'stiky'; did you mean 'sticky'.*There are life, .*dialect"),
        (lambda: setattr(Sandbox(), "stiky", 0), "option 'stiky'; did you mean 'sticky'.*There are .*dialect, .*life"),
        (lambda: Sandbox().fail_next("raw", stauts=3), "option 'stauts'; did you mean 'status'.*There .*s, .*headers"),
        (lambda: Sandbox().start_outage("raw", boddy=b""), "option 'boddy'; did you mean 'body'"),
        (lambda: Sandbox().fail_next("server_error", status=503), NO_OPTION),
        (lambda: Sandbox().start_outage("server_error", status=503), NO_OPTION),
        (lambda: Sandbox(form_charset="latin1x"), "latin1x"),
    ],
)
def test_what_is_misspelt_or_anothers_is_refused_with_what_there_is(call: Callable[[], object], said: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError, LookupError), match=said):
        call()


def test_the_guide_names_every_dialect_under_its_kind() -> None:
    rows = re.findall(r"(?m)^\| `(clear|client|maybe|unknown|not tried)`: [^|]*\| (.*) \|$", GUIDE.read_text())
    named = {name: kind for kind, names in rows for name in re.findall("`((?!invalid_|Bearer)[^` ]+)`", names)}
    assert named == {name: dialect.kind for name, dialect in DIALECTS.items()}


OUTAGES: dict[str, int | type[Exception]] = {
    "user_database_down": 401, "client_database_down": 401, "server_error": 500, "html_502": 502, "rate_limited": 429,
    "silence": httpx.ReadTimeout, "dropped": httpx.RemoteProtocolError, "520": 520,
}  # fmt: skip


@pytest.mark.parametrize(("name", "seen"), OUTAGES.items())
def test_an_outage_meets_every_password_uncounted_until_it_ends(name: str, seen: object) -> None:
    sandbox = Sandbox(outage=name)
    for password in ("wrong", "wrong", "wrong", sandbox.password):
        assert ask(sandbox, password=password)[0] == seen
    assert sandbox.failed_passwords == 0
    sandbox.end_outage()
    assert ask(sandbox)[0] == TOKEN


def test_an_outage_takes_the_options_of_a_fault() -> None:
    sandbox = Sandbox()
    sandbox.start_outage("raw", status=529, body=b"busy")
    assert ask(sandbox) == (529, "busy")


@pytest.mark.parametrize(
    ("fault", "options", "seen"),
    [("lost", {}, httpx.RemoteProtocolError), ("slow", {"seconds": 60}, httpx.ReadTimeout)],
)
def test_a_lost_or_late_answer_was_decided(fault: str, options: Any, seen: type[Exception]) -> None:
    sandbox = Sandbox()
    sandbox.fail_next(fault, 2, **options)
    assert [ask(sandbox, password=password)[0] for password in ("wrong", sandbox.password)] == [seen, seen]
    assert (sandbox.attempts_refused, sandbox.tokens_issued) == (1, 1)


def test_a_head_is_no_token_request_but_meets_an_outage() -> None:
    sandbox = Sandbox()
    sandbox.fail_next("500")
    with httpx.Client(base_url=sandbox.base_url, transport=sandbox.transport) as client:
        assert client.head("/oauth/token").headers["WWW-Authenticate"] == 'Basic realm="oauth2/client"'
        sandbox.start_outage("502")
        assert client.head("/oauth/token").status_code == 502
    sandbox.assert_token_requests(0)
    assert sandbox.attempts_refused == 0


# What the client makes of them. Where an answer of the kind `not tried` is a lie, no client can help.

PASSWORDS = {"clear": 1, "client": 1, "maybe": 2, "unknown": 2}  # that leave within five minutes, at least and at most
REFUSALS = {name: PASSWORDS[dialect.kind] for name, dialect in DIALECTS.items() if dialect.kind != "not tried"}
LATER = (0, 1, 61, 122, 240)  # seconds after the first question
ONE_OF_A_KIND = {name: REFUSALS[name] for name in ("spring", "basic-401", "envelope-200", "500")}


class Reached(httpx.BaseTransport):
    """Reaches a sandbox without a socket, and notes when a password leaves. Silence takes the clock's time alone."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        self.sandbox, self.clock, self.left = sandbox, clock, list[float]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.left.append(self.clock.monotonic)
        patience = request.extensions["timeout"]["read"]
        request.extensions["timeout"] = {"read": 0.001}
        try:
            return self.sandbox.transport.handle_request(request)
        except httpx.ReadTimeout:
            self.clock.passes(patience)
            raise


# minutes between each password and the next, by the answers' kind and whether the credentials have worked before
HOURS = {
    ("clear", False): [], ("client", False): [], ("maybe", False): [1],
    ("unknown", False): [0, 5, 10, 20, 30, 30, 30, 30], ("clear", True): [],
    ("client", True): [1, 5, 10, 20, 30, 30, 30, 30], ("maybe", True): [1],
}  # fmt: skip
ASKED = [(name, proven) for name in REFUSALS for kind, proven in HOURS if DIALECTS[name].kind == kind]


@contextmanager
def provided(sandbox: Sandbox, clock: Clock, *, proven: bool = False) -> Iterator[tuple[Reached, TokenProvider]]:
    """A provider with a password that the account has no more."""
    reached = Reached(sandbox, clock)
    with TokenProvider(sandbox.credentials(), transport=reached) as provider:
        if proven:
            provider.token()
            clock.passes(1000)
            reached.left.clear()
        sandbox.password = "changed"
        yield reached, provider


@pytest.mark.parametrize(("name", "proven"), ASKED)
def test_a_process_that_asks_for_hours_sends_two_passwords_or_pauses(clock: Clock, name: str, proven: bool) -> None:
    sandbox = Sandbox(dialect=name, clock=lambda: clock.monotonic)
    with provided(sandbox, clock, proven=proven) as (reached, provider):
        for _ in range(3 * 180):
            with suppress(EnkashAuthError):
                provider.token()
            wait_for_sign_ins()  # the caller hears of a silent server when its own time is over
            clock.passes(20)
    minutes = [round(after - before) // 60 for before, after in pairwise(reached.left)]
    assert minutes == HOURS[DIALECTS[name].kind, proven]


@pytest.mark.parametrize("name", REFUSALS)
def test_eight_threads_at_once_send_no_more_than_one(clock: Clock, name: str) -> None:
    sandbox = Sandbox(dialect=name)
    with provided(sandbox, clock) as (_, provider), ThreadPoolExecutor(8) as pool:
        began = clock.monotonic
        for seconds in LATER:
            clock.passes(max(0.0, began + seconds - clock.monotonic))
            for call in [pool.submit(provider.token) for _ in range(8)]:
                assert isinstance(call.exception(), EnkashAuthError)
    assert sandbox.attempts_refused == REFUSALS[name]
    assert not sandbox.locked


@contextmanager
def guessing(
    names: Iterable[str], **settings: str
) -> Iterator[tuple[Callable[..., Any], Callable[[], dict[str, int]]]]:
    """Processes with a wrong password for an account of each dialect, all behind one server: see crowd.py.

    Yields what gives them an order and waits until that is carried out, and what counts the passwords of each account.
    """
    account = {"username": "user@example.com", "client_id": "CEK", "client_secret": "c" * 40}
    sandboxes = {name: Sandbox(dialect=name, **account) for name in names}
    server = Server(Starlette(routes=[Mount(f"/{name}", app=sandbox.app) for name, sandbox in sandboxes.items()]))
    urls = {name: f"http://127.0.0.1:{server.port}/{name}" for name in names}
    own = {**sandboxes["spring"].environment(), "ENKASH_PASSWORD": "wrong", **settings}

    def passwords() -> dict[str, int]:
        assert not [name for name, sandbox in sandboxes.items() if sandbox.locked]
        return {name: sandbox.attempts_refused for name, sandbox in sandboxes.items()}

    with closing(Crowd(urls, {**os.environ, **own})) as crowd:
        yield crowd.order, passwords
    server.stop()


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "refusals"),
    [
        pytest.param("file", REFUSALS, marks=pytest.mark.thorough),
        pytest.param("valkey", REFUSALS, marks=pytest.mark.thorough),
        ("valkey", ONE_OF_A_KIND),
    ],
)
def test_eight_processes_with_a_store_send_no_more_than_one(kind: str, refusals: Any, tmp_path: Path) -> None:
    with Valkey() as valkey:
        url = f"file://{tmp_path}/store" if kind == "file" else valkey.url
        with guessing(refusals, ENKASH_TOKEN_STORE=url) as (order, passwords):
            order(start=8)
            for seconds in LATER[::2]:
                order(ask=seconds)
            # a back-off in the store ends by the store's own clock
            becomes(lambda: bool(order(ask=LATER[-1])) and passwords() == refusals)
            order(ask=LATER[-1], end=0)
            assert passwords() == refusals


@pytest.mark.thorough
def test_ten_restarts_without_a_store_send_no_more_than_one_process(tmp_path: Path) -> None:
    with guessing(REFUSALS, ENKASH_ATTEMPTS=f"{tmp_path}/attempts.db") as (order, passwords):
        for restart in range(10):
            order(start=1)
            order(ask=25 * restart)
            order(end=0)
        assert passwords() == REFUSALS


# Traces by which an account was locked, or stayed refused.


@pytest.mark.parametrize("setting", [("CONFIG", "SET", "maxmemory", 1), ("REPLICAOF", "127.0.0.1", 1)])
def test_a_store_that_is_full_or_read_only_lets_no_process_send_a_wrong_password(setting: tuple[object, ...]) -> None:
    sandbox = Sandbox()
    wrong, sandbox.password = sandbox.credentials(), "changed"
    with Valkey() as valkey:
        with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
            client.execute_command(*setting)
        for _ in range(3):
            with TokenProvider(wrong, store=stores.from_url(valkey.url), transport=sandbox.transport) as provider:
                for _ in range(2):
                    with pytest.raises(UnavailableError, match=r"failed: it.*\. It can be read, but not written"):
                        provider.token()
    assert sandbox.attempts_refused == 0


@pytest.fixture(params=["store", "file"])
def sharing(request: pytest.FixtureRequest, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes processes that share a store, or the file of attempts."""
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    store = stores.MemoryStore(clock=lambda: clock.monotonic) if request.param == "store" else None
    return partial(TokenProvider, store=store)


@pytest.mark.parametrize("own", [True, False], ids=["its own", "a sibling's"])
def test_a_reset_reads_the_source_before_a_password_leaves(clock: Clock, sharing: Any, own: bool) -> None:
    sandbox, named = Sandbox(lock_after=99), list[Credentials | Exception]()

    def load() -> Credentials:
        if isinstance(named[-1], Exception):
            raise named[-1]
        return named[-1]

    def refused(provider: TokenProvider) -> None:
        clock.passes(6)  # the source is read every 5 s at most
        failure(provider, RefusedError)

    right = sandbox.credentials()
    named.append(right)
    with sharing(load, transport=sandbox.transport) as old, sharing(load, transport=sandbox.transport) as sibling:
        sandbox.lock()
        refused(old)  # the right password, of a locked account
        named.append(Credentials(sandbox.base_url, sandbox.username, "wrong", sandbox.client_id, sandbox.client_secret))
        refused(old)
        sandbox.unlock()
        if not own:
            sibling.reset()  # of both passwords
        named.append(RuntimeError("canary"))
        for _ in range(3):
            clock.passes(60)
            with pytest.raises(UnavailableError, match=r"the source \S+load(: it)? failed \(RuntimeError\)\. "):
                old.reset() if own else old.token()
        if own:
            refused(old)  # nothing was reset
        named.append(right)
        if own:
            old.reset()
        clock.passes(60)
        assert old.token().access_token
    assert sandbox.attempts_refused == 2


def test_both_requests_go_with_what_the_source_names_after_a_siblings_reset(
    clock: Clock, server: Scripted, sharing: Any
) -> None:
    passwords = ["old"]

    def source() -> Credentials:
        return credentials(password=passwords[-1])

    with sharing(source, transport=server.transport) as one, sharing(source, transport=server.transport) as sibling:
        one.token()
        sibling.reset()
        passwords.append("new")
        clock.passes(301)
        server.requests.clear()
        server.answer = lambda _: httpx.Response(503)
        failure(one, UnavailableError)
    assert [b"password=new" in request.content for request in server.requests] == [True, True]


@pytest.mark.parametrize("stopped", ["monotonic", "wall"])
def test_a_password_does_not_leave_a_process_that_was_stopped_on_its_way(
    clock: Clock, server: Scripted, stopped: str, sharing: Any
) -> None:
    stops = [60.0]

    class Stopped(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            setattr(clock, stopped, getattr(clock, stopped) + sum(stops))
            b"".join(request.stream)  # as a socket takes it
            return server.transport.handle_request(request)

    with sharing(credentials(), transport=Stopped()) as provider:
        failure(provider, UnavailableError)
        assert not server.requests
        stops.clear()
        clock.passes(60)
        assert provider.token().access_token == "canary-token-1"


@pytest.mark.parametrize(
    "spelling",
    ["https://TOKEN.example", "https://token.example:443", "https://token.example/", "https://token.example//"],
)
def test_spellings_of_a_url_are_one_account(clock: Clock, server: Scripted, spelling: str) -> None:
    assert credentials(base_url=spelling).fingerprint() == credentials().fingerprint()
    store = stores.MemoryStore(clock=lambda: clock.monotonic)
    for account in (credentials(), credentials(base_url=spelling)):
        with TokenProvider(account, store=store, transport=server.transport) as provider:
            assert provider.token().access_token == "canary-token-1"


@pytest.mark.parametrize("changed", [{"username": "zoë@example.com"}, {"password": "pässwörd"}, {"password": "पासवर्ड"}])
def test_a_server_that_reads_latin_1_gets_what_is_not_ascii_in_utf_8(changed: dict[str, str]) -> None:
    sandbox = Sandbox(form_charset="latin-1", **changed)
    with TokenProvider(sandbox.credentials(), transport=sandbox.transport) as provider:
        assert provider.token().access_token
    assert sandbox.attempts_refused == 0
