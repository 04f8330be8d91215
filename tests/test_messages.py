"""What a message says: what happened, to which host, setting or file, and what to do next. Never a secret."""

import pickle
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import redis
import trustme

from api_server import serving
from conftest import Server, credentials
from enkash_auth import Credentials, EnkashAuth, TokenProvider, errors, stores
from enkash_auth._policy.cause import cause_of
from enkash_auth._settings.environment import load_token_store
from enkash_auth.cli._commands import cli
from valkey_server import free_port

NEXT = r"(?i)\b(must|set|run '|retry (later|in \d+ s)|correct|check|install|make|name|report|there are|use)\b"


def signed_in(server: Server, answer: httpx.Response | Exception, **options: Any) -> None:
    def answered(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    server.answer = answered
    with TokenProvider(credentials(), transport=server.transport, **options) as provider:
        provider.token()


def closed(server: Server) -> None:
    provider = TokenProvider(credentials(), transport=server.transport)
    provider.close()
    provider.token()


Fail = Callable[[Server], object]
BASE = "https://token.example"
# what fails; where; what happened
CASES: list[tuple[str, Fail, str, str]] = [
    ("missing", lambda _: Credentials.load(), "ENKASH_PASSWORD", "missing"),
    ("unknown", lambda _: Credentials.load(passwort="canary"), "passwort", "unknown"),
    ("malformed", lambda _: credentials(password="canary\n"), "ENKASH_PASSWORD", "control characters"),
    ("http", lambda _: credentials(base_url="http://canary.example"), "ENKASH_BASE_URL", "must be https"),
    ("no url", lambda _: credentials(base_url="canary"), "ENKASH_BASE_URL", "must be an https URL"),
    ("profile", lambda _: Credentials.load(profile="uat"), "/config.toml", "does not exist"),
    ("origins", lambda s: EnkashAuth(TokenProvider(credentials()), ["canary"]), "origin 1", "must be an https URL"),
    ("closed", closed, "token.example", "closed"),
    ("timeout", lambda s: TokenProvider(credentials(), timeout=0), "timeout", "positive"),
    ("on_store_error", lambda s: signed_in(s, httpx.Response(200), on_store_error="x"), "on_store_error", "continue"),
    ("no store", lambda s: signed_in(s, httpx.Response(200), store=object()), "store", "stores.Store"),
    ("source", lambda s: TokenProvider(lambda: 1 / 0), "<lambda>", "ZeroDivisionError"),
    ("store's URL", lambda s: stores.from_url("canary"), "a token store's URL", "must be"),
    ("store's setting", lambda s: load_token_store(), "ENKASH_TOKEN_STORE", "file:///absolute/directory"),
    ("store's place", lambda s: stores.FileStore("/dev/null"), "/dev/null", "must be a directory"),
    ("refused", lambda s: signed_in(s, httpx.Response(400, json={"error": "invalid_grant"})), "token.example",
     "wrong password or locked account. Correct the password"),
    ("client", lambda s: signed_in(s, httpx.Response(401, json={"error": "invalid_client"})), "token.example",
     "wrong client id or client secret. Correct it"),
    ("maybe", lambda s: signed_in(s, httpx.Response(403, json={})), "token.example", "may be a refusal. Check"),
    ("503", lambda s: signed_in(s, httpx.Response(503, headers={"Retry-After": "30"})), "token.example",
     "status 503. Retry in 30 s"),
    ("no token", lambda s: signed_in(s, httpx.Response(200, json={})), "token.example",
     r"access_token is missing or .*, which may be a refusal. Check password .* right: report a bug"),
    ("silence", lambda s: signed_in(s, httpx.ReadTimeout("canary"), timeout=1), "token.example",
     "no answer within"),
    ("broken", lambda s: signed_in(s, httpx.ReadError("canary")), "token.example:443", "failed: ReadError"),
]  # fmt: skip


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
    assert "canary" not in said and "\n" not in said
    return said


@pytest.mark.parametrize(("fail", "where", "what"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_message_says_what_where_and_what_to_do(
    settings: pytest.MonkeyPatch, server: Server, fail: Fail, where: str, what: str
) -> None:
    checked(lambda: fail(server), where, what)


@pytest.fixture
def host(request: pytest.FixtureRequest, settings: pytest.MonkeyPatch) -> Iterator[str]:
    """A host to which no connection can be made, as a URL."""
    if request.param == "refused":
        yield f"http://127.0.0.1:{free_port()}"
        return

    def look_up(name: str, *args: object, **options: object) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known") if request.param == "unknown" else TimeoutError

    if request.param != "untrusted":
        settings.setattr(socket, "getaddrinfo", look_up)
        yield BASE
        return
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with serving(lambda asked, body: (500, {}, b""), tls) as url:
        yield url


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("refused", "connection refused"),
        ("unknown", "unknown host"),
        ("slow", "timeout"),
        ("untrusted", r"certificate verify failed \(unable to get local issuer certificate\)"),
    ],
    indirect=["host"],
)
def test_a_connection_that_fails_names_host_port_and_cause(host: str, cause: str) -> None:
    with TokenProvider(credentials(base_url=host)) as provider:
        url = httpx.URL(host)
        place = f"{url.host}:{url.port or 443}"
        said = checked(provider.token, place, f"^no token: cannot connect to {re.escape(place)}: {cause}\\. ")
    assert "run 'enkash-auth doctor'" in said


def test_a_proxy_that_fails_is_named(settings: pytest.MonkeyPatch) -> None:
    proxy = f"127.0.0.1:{free_port()}"
    settings.setenv("HTTPS_PROXY", f"http://user:canary@{proxy}")
    with TokenProvider(credentials()) as provider:
        checked(provider.token, "token.example", f"cannot connect to {proxy}: connection refused")


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
