"""The pytest plugin as a service's own tests use it."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

import enkash_auth.testing
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.errors import RefusedError, UnavailableError
from enkash_auth.testing import LeakCheck, Sandbox, SandboxTransport


@pytest.fixture
def stray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENKASH_PROFILE", "stray")
    monkeypatch.setenv("ENKASH_PASSWORD_FILE", "/stray")
    monkeypatch.setenv("NO_PROXY", "stray.example")


@pytest.mark.usefixtures("stray")
def test_the_environment_names_the_sandbox_and_nothing_else(enkash_sandbox: Sandbox) -> None:
    ours = {name: value for name, value in os.environ.items() if name.startswith("ENKASH_")}
    assert ours == {**enkash_sandbox.environment(), "ENKASH_SECRETS_DIR": os.devnull}
    assert "127.0.0.1" in os.environ["NO_PROXY"]


def test_a_service_under_test_finds_the_sandbox(enkash_sandbox: Sandbox) -> None:
    with TokenProvider.from_env() as provider, httpx.Client(auth=EnkashAuth(provider)) as client:
        assert client.get(f"{enkash_sandbox.base_url}/api/echo").json() == {"ok": True}
    enkash_sandbox.assert_token_requests(1)


def test_a_test_has_one_sandbox(
    enkash_sandbox: Sandbox, enkash_transport: SandboxTransport, enkash_provider: TokenProvider
) -> None:
    enkash_provider.token()
    assert enkash_transport.sandbox is enkash_sandbox
    assert enkash_sandbox.token_requests == 1


@pytest.mark.enkash(life=2, sticky=False)
class TestMarked:
    @pytest.mark.enkash(life=7)
    def test_the_closest_mark_wins(self, enkash_transport: SandboxTransport) -> None:
        assert (enkash_transport.sandbox.life, enkash_transport.sandbox.sticky) == (7, False)


def test_a_mark_without_names_is_refused(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.enkash(2))
    with pytest.raises(pytest.UsageError, match="keyword arguments only"):
        request.getfixturevalue("enkash_sandbox")


def test_the_provider_opens_no_socket(enkash_provider: TokenProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    assert enkash_provider.token().access_token


class Service:
    """A client of the sandbox's API, blocking or on a loop, without sockets."""

    def __init__(self, provider: TokenProvider, transport: SandboxTransport, kind: str) -> None:
        self._options: dict[str, Any] = {
            "auth": EnkashAuth(provider),
            "transport": transport,
            "base_url": transport.sandbox.base_url,
        }
        self._kind = kind

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        if self._kind == "sync":
            with httpx.Client(**self._options) as client:
                return client.request(method, path, **more)

        async def main() -> httpx.Response:
            async with httpx.AsyncClient(**self._options) as client:
                return await client.request(method, path, **more)

        return asyncio.run(main())


@pytest.fixture(params=["sync", "async"])
def service(
    request: pytest.FixtureRequest, enkash_provider: TokenProvider, enkash_transport: SandboxTransport
) -> Service:
    return Service(enkash_provider, enkash_transport, request.param)


def test_an_api_call_needs_no_socket(service: Service) -> None:
    assert service.request("POST", "/api/echo", json={}).json() == {"ok": True}


def test_what_is_not_there_is_404(service: Service) -> None:
    assert service.request("GET", "/nothing").status_code == 404


def test_a_slow_answer_meets_the_read_timeout(service: Service, enkash_transport: SandboxTransport) -> None:
    enkash_transport.sandbox.slow(60)
    with pytest.raises(httpx.ReadTimeout):
        service.request("POST", "/oauth/token", timeout=0.01, auth=None)


def test_a_client_without_a_timeout_gets_the_slow_answer(service: Service, enkash_transport: SandboxTransport) -> None:
    enkash_transport.sandbox.slow(0.01)
    assert service.request("POST", "/oauth/token", timeout=None, auth=None).status_code == 401


def test_an_expired_token_is_replaced(service: Service, enkash_transport: SandboxTransport) -> None:
    service.request("GET", "/api/echo")
    enkash_transport.sandbox.expire()
    assert service.request("GET", "/api/echo").status_code == 200
    enkash_transport.sandbox.assert_token_requests(2)


def test_a_locked_account_is_refused_until_unlocked(
    enkash_provider: TokenProvider, enkash_transport: SandboxTransport
) -> None:
    enkash_transport.sandbox.lock()
    for _ in range(2):
        with pytest.raises(RefusedError):
            enkash_provider.token()
    enkash_transport.sandbox.assert_token_requests(1)
    enkash_transport.sandbox.unlock()
    enkash_provider.reset()
    assert enkash_provider.token()


def test_a_limited_rate_says_how_long(enkash_provider: TokenProvider, enkash_transport: SandboxTransport) -> None:
    enkash_transport.sandbox.limit_rate(30)
    with pytest.raises(UnavailableError) as caught:
        enkash_provider.token()
    assert 28 < (caught.value.retry_after or 0) <= 30


def test_a_limited_rate_ends() -> None:
    now = [1000.0]
    sandbox = Sandbox(clock=lambda: now[0])
    sandbox.limit_rate(2.5)
    fault = sandbox.arrived()
    assert fault is not None and fault.answer is not None
    assert fault.answer.headers["Retry-After"] == "3"
    now[0] += 2.5
    assert sandbox.arrived() is None


@pytest.mark.parametrize(
    ("came", "message"), [(0, "0 token requests, not 5"), (2, r"2 token requests, not 5: 0\.00 s, \d\.\d\d s")]
)
def test_a_wrong_number_of_token_requests_is_told_with_their_times(came: int, message: str) -> None:
    sandbox = Sandbox()
    for _ in range(came):
        sandbox.arrived()
    with pytest.raises(AssertionError, match=f"^{message}$"):
        sandbox.assert_token_requests(5)


def test_the_leak_check_is_of_this_tests_sandbox(
    enkash_leak_check: LeakCheck, enkash_provider: TokenProvider, enkash_transport: SandboxTransport
) -> None:
    with pytest.raises(AssertionError, match="the access token shows in stdout"), enkash_leak_check:
        print(enkash_provider.token().access_token)


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="sandbox"):
        enkash_auth.testing.sandbox  # noqa: B018


HEAVY = ("httpx", "httpcore", "starlette", "uvicorn", "enkash_auth_client", "enkash_auth._signin.gateway")


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = f"import sys, enkash_auth.testing._plugin; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"
