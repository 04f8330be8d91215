"""The pytest plugin as a service's own tests use it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import enkash_auth.testing
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.testing import LeakCheck, Sandbox, SandboxTransport

Call = Callable[..., httpx.Response]


def test_the_environment_names_the_sandbox_and_nothing_else(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENKASH_PROFILE", "ENKASH_PASSWORD_FILE", "NO_PROXY"):
        monkeypatch.setenv(name, "stray")
    sandbox = request.getfixturevalue("enkash_sandbox")
    ours = {name: value for name, value in os.environ.items() if name.startswith("ENKASH_")}
    assert ours == {**sandbox.environment(), "ENKASH_SECRETS_DIR": os.devnull}
    assert "127.0.0.1" in os.environ["NO_PROXY"]


def test_the_provider_opens_no_socket_and_asks_the_tests_one_sandbox(
    enkash_sandbox: Sandbox,
    enkash_transport: SandboxTransport,
    enkash_provider: TokenProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    assert enkash_provider.token().access_token
    assert (enkash_transport.sandbox, enkash_sandbox.token_requests) == (enkash_sandbox, 1)


def test_the_leak_check_is_of_the_tests_one_sandbox(
    enkash_leak_check: LeakCheck, enkash_provider: TokenProvider
) -> None:
    with pytest.raises(AssertionError, match="the access token shows in stdout"), enkash_leak_check:
        print(enkash_provider.token().access_token)


@pytest.mark.enkash(life=2, sticky=False)
class TestMarked:
    @pytest.mark.enkash(life=7)
    def test_the_closest_mark_wins(self, enkash_transport: SandboxTransport) -> None:
        assert (enkash_transport.sandbox.life, enkash_transport.sandbox.sticky) == (7, False)


def test_a_mark_without_names_is_refused(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.enkash(2))
    with pytest.raises(pytest.UsageError, match="keyword arguments only"):
        request.getfixturevalue("enkash_sandbox")


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, enkash_provider: TokenProvider, enkash_transport: SandboxTransport) -> Call:
    """A client's call of the sandbox, blocking or on a loop, without sockets."""
    options: Any = {"auth": EnkashAuth(enkash_provider), "transport": enkash_transport}
    options["base_url"] = enkash_transport.sandbox.base_url

    def blocking(*asked: str, **more: Any) -> httpx.Response:
        with httpx.Client(**options) as client:
            return client.request(*asked, **more)

    async def on_a_loop(*asked: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(**options) as client:
            return await client.request(*asked, **more)

    return blocking if request.param == "sync" else lambda *asked, **more: asyncio.run(on_a_loop(*asked, **more))


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/api/echo", 200), ("GET", "/nothing", 404)])
def test_an_api_call_needs_no_socket(call: Call, method: str, path: str, status: int) -> None:
    assert call(method, path).status_code == status


def test_a_slow_answer_meets_the_read_timeout(call: Call, enkash_transport: SandboxTransport) -> None:
    enkash_transport.sandbox.slow(60)
    with pytest.raises(httpx.ReadTimeout):
        call("POST", "/oauth/token", timeout=0.01, auth=None)


def test_a_client_without_a_timeout_gets_the_slow_answer(call: Call, enkash_transport: SandboxTransport) -> None:
    enkash_transport.sandbox.slow(0.01)
    assert call("POST", "/oauth/token", timeout=None, auth=None).status_code == 401


@pytest.mark.parametrize(
    ("came", "message"), [(0, "0 token requests, not 5"), (2, r"2 token requests, not 5: 0\.00 s, \d\.\d\d s")]
)
def test_a_wrong_number_of_token_requests_is_reported_with_their_times(came: int, message: str) -> None:
    sandbox = Sandbox()
    for _ in range(came):
        sandbox.arrived()
    with pytest.raises(AssertionError, match=f"^{message}$"):
        sandbox.assert_token_requests(5)


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="sandbox"):
        enkash_auth.testing.sandbox  # noqa: B018


HEAVY = ("httpx", "httpcore", "starlette", "uvicorn", "enkash_auth_client", "enkash_auth._signin.gateway")


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = f"import sys, enkash_auth.testing._plugin; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout == "[]\n"
