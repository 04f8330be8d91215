"""No canary is found where a secret could leak."""

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Server, assert_clean, credentials
from enkash_auth import Credentials, EnkashAuth, TokenProvider, stores
from enkash_auth._policy.token import make_token
from enkash_auth._provider import engine_of
from enkash_auth._settings.environment import all_places
from enkash_auth.adapters.aiohttp import EnkashMiddleware
from enkash_auth.adapters.requests import EnkashRequestsAuth
from enkash_auth.errors import UnavailableError
from enkash_auth.testing import Sandbox

ANSWERS = {
    "html": httpx.Response(200, content=b"canary-body"),
    "empty": httpx.Response(200),
    "crlf": httpx.Response(200, json={"access_token": "canary-token\r\n"}),
    "negative": httpx.Response(200, json={"access_token": "canary-token", "expires_in": -1}),
    "refused": httpx.Response(400, json={"error": "invalid_grant", "error_description": "canary-token"}),
    "unauthorized": httpx.Response(401, json={"error": "canary", "message": "canary-token"}),
    "broken": httpx.Response(502, content=b"canary-body"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_no_error_of_a_grant_holds_a_secret(
    server: Server, answer: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer = lambda _: answer
    with TokenProvider(credentials(), transport=server.transport) as provider:
        with pytest.raises(Exception) as caught:
            provider.token()
        assert_clean(caught.value)
        api = httpx.Client(auth=EnkashAuth(provider), transport=server.transport)
        with api, pytest.raises(Exception) as caught:
            api.get("https://token.example/")
        assert_clean(caught.value)
    assert "canary" not in caplog.text


def test_an_interrupt_while_a_setting_is_read_shows_none(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As while a network drive is waited for."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    environment.setenv("ENKASH_PASSWORD", "canary-pass")
    (tmp_path / "enkash_client_secret").touch()
    environment.setattr(Path, "open", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        Credentials.load()
    assert_clean(caught.value)


def test_no_source_of_a_setting_shows_it(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enkash_password").write_text("canary-pass")
    environment.setenv("ENKASH_CLIENT_SECRET", "canary-s3")
    found = all_places()
    assert found["ENKASH_PASSWORD"][0].read() == "canary-pass"
    assert "canary" not in f"{found} {[place.read for places in found.values() for place in places]}"


class Broken(stores.MemoryStore):
    """A store whose own errors say everything."""

    def load(self, key: str) -> tuple[bytes, float] | None:
        raise ValueError("canary-url")


@pytest.mark.parametrize("strict", ["continue", "raise"])
def test_no_error_of_a_store_holds_a_secret(server: Server, caplog: pytest.LogCaptureFixture, strict: Any) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {"store": Broken(), "transport": server.transport, "on_store_error": strict}
    with TokenProvider(credentials(), **options) as provider:
        try:
            provider.token()
        except UnavailableError as error:
            assert_clean(error)
        signer = engine_of(provider).signer
        assert "canary" not in f"{signer!r}{vars(signer)!r}"
    assert "ValueError" in caplog.text and "canary" not in caplog.text


def test_a_comparison_that_fails_shows_no_token(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, other = make_token("canary-t", 1), make_token("canary-o", 1)
    with (
        monkeypatch.context() as verbose,
        pytest.raises(AssertionError, match=r"assert Token\(.* == Token\(") as caught,
    ):
        verbose.setattr(request.config.option, "verbose", 2)  # as `pytest -vv`, which shows all that differs
        assert token == other
    assert "canary" not in str(caught.value)


def test_tokens_are_compared_by_value() -> None:
    assert len({make_token("t", 1), make_token("t", 1), make_token("t", 2), make_token("u", 1)}) == 3


def test_nothing_shows_or_pickles_a_secret(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        auths = [EnkashAuth(provider), EnkashRequestsAuth(provider), EnkashMiddleware(provider)]
        things = [credentials(), credentials().password, provider, provider.token()]
        for thing in (*things, *auths):
            assert "canary" not in f"{thing!r} {thing!s} {thing}"
        for thing in things:
            for copied in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be pickled") as caught:
                    copied(thing)
                for frame in caught.traceback[1:]:  # the copier's, too
                    assert "canary" not in repr(frame.frame.f_locals)


def test_no_library_logs_a_secret_over_a_real_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        Sandbox(latency=0) as sandbox,
        TokenProvider(sandbox.credentials()) as provider,
        httpx.Client(auth=EnkashAuth(provider)) as client,
    ):
        assert client.get(f"{sandbox.base_url}/api/echo").status_code == 200
        secrets = [sandbox.password, sandbox.client_secret, provider.token().access_token]
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert not [secret for secret in secrets if secret in caplog.text]
