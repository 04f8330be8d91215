"""What a message says: what happened, to which host, setting or file, and what to do next. Never a secret."""

import pickle
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import httpx
import pytest
import redis

from conftest import CANARIES, Server, assert_clean, credentials
from enkash_auth import Credentials, EnkashAuth, TokenProvider, errors, stores
from enkash_auth._policy.cause import cause_of
from enkash_auth._settings.environment import load_token_store
from enkash_auth.cli._commands import cli

NEXT = r"(?i)\b(must|set|run '|retry (later|in \d+ s)|correct|check|install|make|name|report|there are|use)\b"


Fail = Callable[[Server], object]
HOST = "token.example"


def signs_in(answer: httpx.Response | Exception, **options: Any) -> Fail:
    def fail(server: Server) -> None:
        server.answer = Mock(side_effect=[answer] * 2)
        with TokenProvider(credentials(), transport=server.transport, **options) as provider:
            provider.token()

    return fail


def answer(status: int, **fields: str) -> httpx.Response:
    return httpx.Response(status, json=fields)


def closed(server: Server) -> None:
    provider = TokenProvider(credentials(), transport=server.transport)
    provider.close()
    provider.token()


def resets(server: Server) -> None:
    store = stores.FileStore("/proc/enkash")  # where nobody can make a directory
    with TokenProvider(credentials(), transport=server.transport, store=store, on_store_error="raise") as provider:
        provider.reset()


# what fails; where; what happened
CASES: list[tuple[str, Fail, str, str]] = [
    ("missing", lambda _: Credentials.load(), "ENKASH_PASSWORD", "missing"),
    ("unknown", lambda _: Credentials.load(passwort="canary"), "passwort", "unknown"),
    ("malformed", lambda _: credentials(password="canary\n"), "ENKASH_PASSWORD", "control characters"),
    ("http", lambda _: credentials(base_url="http://canary.example"), "ENKASH_BASE_URL", "must be https"),
    ("all but the url", lambda _: Credentials.load(**CANARIES), "ENKASH_BASE_URL", "missing"),
    ("argument", lambda _: Credentials.load(**{**CANARIES, "username": "canary\r"}), "ENKASH_USERNAME", "control char"),
    ("no text", lambda _: credentials(password="canary\udce9"), "ENKASH_PASSWORD", "must be text in UTF-8"),
    ("no secret", lambda _: credentials(client_secret="canary\udce9"), "ENKASH_CLIENT_SECRET", "must be text in UTF-8"),
    ("no url", lambda _: credentials(base_url="canary"), "ENKASH_BASE_URL", "must be an https URL"),
    ("profile", lambda _: Credentials.load(profile="uat"), "/config.toml", "does not exist"),
    ("origins", lambda _: EnkashAuth(TokenProvider(credentials()), ["a.example"]), "origin 1", "must be an https URL"),
    ("reset", resets, "/proc/enkash", "the reset may not be saved"),
    ("closed", closed, HOST, "closed"),
    ("timeout", lambda _: TokenProvider(credentials(), timeout=0), "timeout", "positive"),
    ("on_store_error", signs_in(answer(200), on_store_error="x"), "on_store_error", "continue"),
    ("no store", signs_in(answer(200), store=object()), "store", "stores.Store"),
    ("source", lambda _: TokenProvider(lambda: 1 / 0), "<lambda>", "ZeroDivisionError"),
    ("store's URL", lambda _: stores.from_url("canary"), "a token store's URL", "must be"),
    ("store's port", lambda _: stores.from_url("redis://:canary@h:x"), "the token store's URL", "must be one"),
    ("store's setting", lambda _: load_token_store(), "ENKASH_TOKEN_STORE", "file:///absolute/directory"),
    ("store's place", lambda _: stores.FileStore("/dev/null"), "/dev/null", "must be a directory"),
    ("refused", signs_in(answer(400, error="invalid_grant")), HOST, "wrong password or locked .* Correct the password"),
    ("client", signs_in(answer(401, error="invalid_client")), HOST, "wrong client id or client secret. Correct it"),
    ("maybe", signs_in(answer(403)), HOST, "may be a refusal. Check"),
    ("not found", signs_in(httpx.Response(404)), HOST, r"the sign-in \(404\)\. Compare .* ENKASH_BASE_URL .* Check"),
    ("redirect", signs_in(httpx.Response(302)), HOST, r"the sign-in \(302\)\. Compare .* ENKASH_BASE_URL .* Check"),
    ("503", signs_in(httpx.Response(503, headers={"Retry-After": "30"})), HOST, "status 503. Retry in 30 s"),
    ("no token", signs_in(answer(200)), HOST, "is missing or .* may be a refusal. Check password .* report a bug"),
    ("silence", signs_in(httpx.ReadTimeout("canary"), timeout=1), HOST, "no answer within"),
    ("broken", signs_in(httpx.ReadError("canary")), f"{HOST}:443", "failed: ReadError"),
]


@pytest.fixture
def settings(environment: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    environment.setenv("ENKASH_TOKEN_STORE", "file:///canary?x")
    return environment


def checked(fail: Callable[[], object], where: str, what: str) -> str:
    with pytest.raises((errors.EnkashAuthError, stores.StoreError)) as caught:
        fail()
    said = str(caught.value)
    assert where in said and re.search(what, said), said
    assert re.search(NEXT, said), f"no next step: {said}"
    assert "\n" not in said
    assert_clean(caught.value)
    return said


@pytest.mark.parametrize(("fail", "where", "what"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_message_says_what_where_and_what_to_do(
    settings: pytest.MonkeyPatch, server: Server, fail: Fail, where: str, what: str
) -> None:
    checked(lambda: fail(server), where, what)


def test_a_line_break_at_a_paths_end_shows_and_breaks_no_line(settings: pytest.MonkeyPatch) -> None:
    """As a block of YAML brings it."""
    settings.setenv("ENKASH_PASSWORD_FILE", "/run/enkash/password\n")
    checked(Credentials.load, r"/run/enkash/password\n does not exist", "ENKASH_PASSWORD_FILE")


@pytest.mark.parametrize(
    ("host", "looked_up", "cause"),
    [
        ("http://127.0.0.1:1", None, "connection refused"),
        (f"https://{HOST}", socket.gaierror(-2, "Name or service not known"), "unknown host"),
        (f"https://{HOST}", TimeoutError(), "timeout"),
        ("https://[2001:db8::1]", TimeoutError(), "timeout"),
        ("", None, r"certificate verify failed \(unable to get local issuer certificate\)"),
    ],
    ids=["refused", "unknown", "slow", "IPv6", "untrusted"],
)
def test_a_connection_that_fails_names_host_port_and_cause(
    settings: pytest.MonkeyPatch, tls: Any, host: str, looked_up: Exception | None, cause: str
) -> None:
    if looked_up:
        settings.setattr(socket, "getaddrinfo", Mock(side_effect=looked_up))
    url = httpx.URL(host or tls.url)
    place = url.netloc.decode() + ("" if url.port else ":443")
    with TokenProvider(credentials(base_url=str(url))) as provider:
        said = checked(provider.token, place, f"^no token: cannot connect to {re.escape(place)}: {cause}\\. ")
    assert "run 'enkash-auth doctor'" in said


def test_a_proxy_that_fails_is_named(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("HTTPS_PROXY", "http://user:canary@127.0.0.1:1")
    with TokenProvider(credentials()) as provider:
        checked(provider.token, HOST, "cannot connect to 127.0.0.1:1: connection refused")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ssl.SSLError(1, "canary"), r"TLS failed \(no reason\)"),
        (OSError("canary"), "OSError"),
        (OSError(28, "canary"), "no space left on device"),
        (ValueError("canary"), "ValueError"),
        (httpx.RemoteProtocolError("canary"), "closed without an answer, or no HTTP"),
        (redis.AuthenticationError("canary"), "wrong user or password"),
    ],
)
def test_a_cause_shows_no_text_of_a_library(error: Exception, cause: str) -> None:
    assert re.fullmatch(cause, cause_of(error))


ROOT = Path(__file__).parents[1]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "wrapper" / "enkash_auth").rglob("*.py"))


def test_every_command_and_page_that_a_message_names_exists() -> None:
    commands = set(re.findall(r"'enkash-auth ([a-z]+)", SOURCE))
    assert commands and all(isinstance(cli.commands[name], click.Command) for name in commands)
    assert [page for page in re.findall(r"docs/[\w-]+\.md", SOURCE) if not (ROOT / page).exists()] == []


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigurationError("missing"),
        errors.RefusedError("refused", status=400, error="invalid_grant", row="clear", passwords=1),
        errors.UnavailableError("down", retry_after=2.0, row="open", passwords=1),
    ],
)
def test_an_error_reaches_another_process_whole(error: Exception) -> None:
    """As Celery and process pools send it."""
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
