"""The pytest plugin. Every pytest run where the package is installed loads it: it imports nothing that costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from enkash_auth import TokenProvider

    from . import LeakCheck, Sandbox, SandboxTransport


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "enkash(**options): what Sandbox() is made with in this test, as in enkash(life=2, sticky=False)"
    )


@pytest.fixture
def _enkash(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    from . import Sandbox

    monkeypatch.setenv("ENKASH_ATTEMPTS", "off")  # no test writes into the user's state folder
    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("enkash"):  # the closest first
        if mark.args:
            raise pytest.UsageError("the marker enkash takes keyword arguments only")
        options = {**mark.kwargs, **options}
    return Sandbox(**options)


@pytest.fixture
def enkash_sandbox(_enkash: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A token server of this test's own on a loopback port; the environment names it, so that `from_env()` finds it."""
    for name in [name for name in os.environ if name.startswith("ENKASH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENKASH_SECRETS_DIR", os.devnull)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1", prepend=",")
    with _enkash as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def enkash_transport(_enkash: Sandbox) -> SandboxTransport:
    """An httpx transport to a token server without sockets, which is its `sandbox`."""
    return _enkash.transport


@pytest.fixture
def enkash_provider(enkash_transport: SandboxTransport) -> Iterator[TokenProvider]:
    """A `TokenProvider` that never touches the network: it signs in over `enkash_transport`."""
    from enkash_auth import TokenProvider

    credentials = enkash_transport.sandbox.credentials()
    # without a socket there is no TLS: reading the machine's certificates would be the slowest part of a test
    with TokenProvider(credentials, transport=enkash_transport, verify=False) as provider:
        yield provider


@pytest.fixture
def enkash_leak_check(_enkash: Sandbox) -> LeakCheck:
    """A `LeakCheck` for the secrets of this test's sandbox: `with enkash_leak_check: ...`."""
    from . import LeakCheck

    return LeakCheck(_enkash)
