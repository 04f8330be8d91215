"""What several tests share: credentials full of canaries, and a token server without sockets."""

import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import Phase, settings

from enkash_auth import Credentials, TokenProvider
from enkash_auth._outside import Outside
from enkash_auth.testing import Sandbox

settings.register_profile("short", max_examples=100, stateful_step_count=50)
settings.register_profile("deep", max_examples=3000, stateful_step_count=100)
settings.register_profile("mutation", settings.get_profile("deep"), phases=[Phase.generate])  # no time for shrinking
settings.load_profile("short")

pytest.register_assert_rewrite("releasing")  # test modules import from it and name it as a plugin

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, children included

CANARIES = {
    "username": "canary-user",
    "password": "canary-pass",
    "client_id": "canary-id",
    "client_secret": "canary-s3",
}
Answer = Callable[[httpx.Request], httpx.Response]


def credentials(**changed: str) -> Credentials:
    return Credentials(**{"base_url": "https://token.example", **CANARIES, **changed})


def settings_of(sandbox: Sandbox) -> Credentials:
    return Credentials(**{name[7:].lower(): value for name, value in sandbox.environment().items()})


class Server:
    """A token endpoint: answers what the test says, and counts."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Answer = lambda request: issued(f"canary-token-{len(self.requests)}")
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)


def issued(access_token: str, expires_in: object = 300) -> httpx.Response:
    return httpx.Response(200, json={"access_token": access_token, "expires_in": expires_in})


class Clock:
    """Both clocks of a provider, moved by hand; a pause moves them."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 1000.0, 1e9
        self.pauses: list[float] = []
        self.outside = Outside(lambda: self.monotonic, lambda: self.wall, self.pause, lambda: 0.0)

    def move(self, provider: TokenProvider) -> TokenProvider:
        """Make the provider live by this clock."""
        provider._outside, provider._monotonic = self.outside, self.outside.monotonic
        return provider

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[pytest.MonkeyPatch]:
    for name in ("BASE_URL", "USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET", "BASIC_CLIENT_ID", "PROFILE"):
        monkeypatch.delenv(f"ENKASH_{name}", raising=False)
        monkeypatch.delenv(f"ENKASH_{name}_FILE", raising=False)
    monkeypatch.setenv("ENKASH_SECRETS_DIR", str(tmp_path))
    yield monkeypatch
