"""No canary is found where a secret could leak."""

import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import httpx
import pytest

from conftest import CANARIES, Server, credentials
from enkash_auth import Credentials, EnkashAuth, TokenProvider, stores
from enkash_auth._credentials import load_token_store
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


def frames(error: BaseException | None) -> list[FrameType]:
    """Frames of our package in the whole chain."""
    found: list[FrameType] = []
    while error is not None:
        found += [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        error = error.__cause__ or error.__context__
    return [frame for frame in found if "enkash_auth" in frame.f_code.co_filename]


def assert_clean(error: BaseException) -> None:
    chain: BaseException | None = error
    while chain is not None:
        assert "canary" not in f"{chain} {chain!r} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__
    for frame in frames(error):
        for name, value in frame.f_locals.items():
            assert "canary" not in repr(value), f"{frame.f_code.co_name}: {name}"


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


def test_no_configuration_error_holds_a_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENKASH_TOKEN_STORE", "rediss://:canary@h:x")
    attempts: list[Callable[[], object]] = [
        lambda: Credentials.load(password="canary-pass", username="canary\r"),
        lambda: Credentials.load(**CANARIES),
        lambda: Credentials(**{**CANARIES, "base_url": "http://canary.example"}),
        lambda: stores.from_url("redis://:canary@h:x"),
        lambda: stores.from_url("canary"),
        lambda: stores.from_url("file:///canary?x"),
        load_token_store,
    ]
    for attempt in attempts:
        with pytest.raises(Exception) as caught:
            attempt()
        assert_clean(caught.value)


class Broken(stores.MemoryStore):
    """A store whose own errors tell everything."""

    def load(self, key: str) -> tuple[bytes, float] | None:
        raise ValueError("canary-url")


def test_no_error_of_a_store_holds_a_secret(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for strict in ("continue", "raise"):
        options: dict[str, Any] = {"store": Broken(), "transport": server.transport, "on_store_error": strict}
        with TokenProvider(credentials(), **options) as provider:
            try:
                provider.token()
            except UnavailableError as error:
                assert_clean(error)
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_nothing_in_a_store_is_a_secret(server: Server) -> None:
    store = stores.MemoryStore()
    with TokenProvider(credentials(), store=store, transport=server.transport) as provider:
        provider.token()
        provider.reset()
        provider.token()
        assert store._entries
        assert "canary" not in f"{vars(store)} {store!r} {provider._fleet!r} {vars(provider._fleet)}"


def test_nothing_shows_or_pickles_a_secret(server: Server) -> None:
    with TokenProvider(credentials(), transport=server.transport) as provider:
        things = [credentials(), credentials().password, provider, provider.token(), EnkashAuth(provider)]
        for thing in things:
            assert "canary" not in f"{thing!r} {thing!s} {thing}"
        for thing in things[:-1]:
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing)
            with pytest.raises(TypeError, match="cannot be pickled"):
                copy.deepcopy(thing)


def test_no_library_logs_a_secret_over_a_real_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Sandbox(latency=0) as sandbox:
        settings = sandbox.environment()
        given = {name.removeprefix("ENKASH_").lower(): value for name, value in settings.items()}
        with TokenProvider(Credentials(**given)) as provider, httpx.Client(auth=EnkashAuth(provider)) as client:
            assert client.get(f"{sandbox.base_url}/api/echo").status_code == 200
            secrets = [given["password"], given["client_secret"], provider.token().access_token]
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert not [secret for secret in secrets if secret in caplog.text]
