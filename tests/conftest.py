"""What several tests share: credentials full of canaries, and a token server without sockets."""

import os
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import Any

import httpx
import pytest

import profiles  # noqa: F401  # it loads one
from enkash_auth import Credentials, TokenProvider
from enkash_auth._forks import forks
from enkash_auth._provider import engine_of
from enkash_auth._runtime import Runtime, use_runtime
from enkash_auth._settings.environment import SETTINGS
from enkash_auth._signin.call import Reply
from enkash_auth.errors import RefusedError
from enkash_auth.events import Event
from enkash_auth.testing._later import becomes

for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of a hook in a linked worktree: tests would commit there
    os.environ.pop(name, None)

pytest.register_assert_rewrite("releasing")  # test modules import from it and name it as a plugin

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, children included

CANARIES = dict(username="canary-user", password="canary-pass", client_id="canary-id", client_secret="canary-s3")
REFUSAL = httpx.Response(400, json={"error": "invalid_grant"})
Patch, Logs = pytest.MonkeyPatch, pytest.LogCaptureFixture
Answer = Callable[[httpx.Request], httpx.Response]


def credentials(**changed: str) -> Credentials:
    return Credentials(**{"base_url": "https://token.example", **CANARIES, **changed})


class Server:
    """A token endpoint: answers what the test says, and counts."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Answer = lambda request: issued(f"canary-token-{len(self.requests)}")
        self.transport = httpx.MockTransport(self._handle)

    def provider(self, source: Credentials | Callable[[], Credentials] | None = None, **options: Any) -> TokenProvider:
        """Return a provider that signs in here."""
        return TokenProvider(source or credentials(), transport=self.transport, **options)

    def answers(self, answer: httpx.Response, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Answer so from now on, and do something while a request is under way."""

        def answered(_: httpx.Request) -> httpx.Response:
            meanwhile()
            return answer

        self.answer = answered

    def hold(self, answer: httpx.Response) -> threading.Event:
        """Answer from now on when the event is set that this returns."""
        go = threading.Event()
        self.answers(answer, lambda: go.wait(5))
        return go

    def wait_for_request(self) -> None:
        wait_until(lambda: self.requests)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)


def issued(access_token: str, expires_in: object = 300) -> httpx.Response:
    return httpx.Response(200, json={"access_token": access_token, "expires_in": expires_in})


def table(names: str, *rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Parametrize with rows, each of which begins with the rule that it shows."""
    return pytest.mark.parametrize(names, [pytest.param(*values, id=rule) for rule, *values in rows])


def wait_until(happened: Callable[[], object], seconds: float = 10.0) -> None:
    assert becomes(lambda: bool(happened()), seconds), f"it has not happened in {seconds:.0f} s"


def failure(provider: TokenProvider, kind: type[Exception] = RefusedError) -> Any:
    """Return the error that a caller gets instead of a token."""
    with pytest.raises(kind) as caught:
        provider.token()
    return caught.value


def assert_clean(error: BaseException | None) -> None:
    """No error of the chain holds a canary, and no frame of our package that it has left."""
    while error is not None:
        assert "canary" not in f"{error} {error!r} {vars(error)}"
        for frame, _ in traceback.walk_tb(error.__traceback__):
            names = frame.f_locals.items() if "enkash_auth" in frame.f_code.co_filename else ()
            assert [f"{frame.f_code.co_name}: {name}" for name, value in names if "canary" in repr(value)] == []
        error = error.__cause__ or error.__context__


def grant(provider: TokenProvider, seconds: float = 5.0) -> Reply:
    """Send one token request, past all that limits it."""
    runtime = Runtime()
    return engine_of(provider).held.account.gateway.grant(runtime.now().after(seconds), runtime)


def loaded_anew(name: str) -> Any:
    """Return a module of the package, executed once more: it finds the other modules that there are now."""
    spec: Any = find_spec(name)
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def wait_for_sign_ins() -> None:
    """Wait until no sign-in is under way, its events included."""
    wait_until(lambda: all(thread.name != "enkash-auth-grant" for thread in threading.enumerate()))


def fork_waits() -> bool:
    """Return whether a fork would wait for another thread."""
    try:
        return not forks.begin(0)
    finally:
        forks.end()


@contextmanager
def limited(which: int, to: int) -> Iterator[None]:
    """Let this process have no more of a resource, such as `resource.RLIMIT_NOFILE`."""
    before = resource.getrlimit(which)
    resource.setrlimit(which, (to, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


class Heard(list[Event]):
    """An `on_event` that remembers; a hook is called after the callers have been answered."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def kinds(self) -> list[str]:
        wait_for_sign_ins()
        return [event.kind for event in self]


class Clock:
    """Both clocks of the providers that a test makes, moved by hand; a pause moves them, a look calls `on_look`."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 1000.0, 1e9
        self.pauses: list[float] = []
        self.on_look: Callable[[], object] = lambda: None
        self.runtime = Runtime(lambda: self.monotonic, self._look, self.pause, lambda: 0.0)

    def _look(self) -> float:
        self.on_look()
        return self.wall

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@pytest.fixture(autouse=True)
def attempts(monkeypatch: Patch) -> None:
    """A test's refusals are no other test's: each provider remembers its attempts for itself."""
    monkeypatch.setenv("ENKASH_ATTEMPTS", "off")


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Every provider that is made in the test lives by this clock."""
    clock = Clock()
    with use_runtime(clock.runtime):
        yield clock


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """`os.umask`, whose mask is the old one after the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def tls() -> Iterator[object]:
    from tls_server import TlsServer  # needs trustme, which users of this file need not have

    server = TlsServer()
    yield server
    server.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def provider(server: Server, clock: Clock, heard: Heard) -> Iterator[TokenProvider]:
    """A provider whose time is moved by hand."""
    with server.provider(on_event=heard) as provider:
        yield provider


@pytest.fixture
def environment(monkeypatch: Patch, tmp_path: object) -> Patch:
    """An environment without settings."""
    for name in (*SETTINGS, "origins", "profile"):
        for suffix in ("", "_FILE"):
            monkeypatch.delenv(f"ENKASH_{name.upper()}{suffix}", raising=False)
    monkeypatch.setenv("ENKASH_SECRETS_DIR", str(tmp_path))
    return monkeypatch


@pytest.fixture
def configured(environment: Patch) -> Patch:
    """An environment with all that `Credentials.load` needs."""
    for name in ("USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET"):
        environment.setenv(f"ENKASH_{name}", "x")
    environment.setenv("ENKASH_BASE_URL", "https://token.example")
    return environment
