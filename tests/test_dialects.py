"""The sandbox refuses passwords in many dialects, counts them in all, and has outages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from enkash_auth.testing import DIALECTS, Sandbox
from sandbox_process import Elsewhere

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
    options: dict[str, Any] = {} if socket else {"transport": sandbox.transport}
    with httpx.Client(base_url=sandbox.base_url, timeout=patience, trust_env=False, **options) as client:
        pair = (sandbox.basic_client_id, sandbox.client_secret)
        try:
            answer = client.post("/oauth/token", data={**own, "grant_type": "password", **changed}, auth=pair)
        except httpx.HTTPError as error:
            return type(error), None
        return answer.status_code, answer.text


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
def test_the_third_wrong_password_locks_and_the_right_one_is_refused_alike(name: str) -> None:
    sandbox = Sandbox(dialect=name)
    for wrong in range(3):
        assert (sandbox.failed_passwords, sandbox.locked) == (wrong, False)
        refusal, _ = ask(sandbox, password="wrong")
    assert (sandbox.failed_passwords, sandbox.locked) == (3, True)
    assert ask(sandbox)[0] == refusal
    assert sandbox.tokens_issued == 0


def test_a_refusal_says_why_in_the_words_of_its_dialect() -> None:
    sandbox = Sandbox(dialect="envelope-200", lock_after=1)
    bodies = [ask(sandbox, password=password)[1] for password in ("wrong", sandbox.password)]
    assert re.search("Bad credentials.*User account is locked", repr(bodies))


@pytest.mark.parametrize("name", ["spring", "silence", "envelope-200"])
def test_the_right_password_has_a_token_in_every_dialect(name: str) -> None:
    assert ask(Sandbox(dialect=name))[0] == TOKEN


def test_a_dialect_can_change() -> None:
    sandbox = Sandbox()
    sandbox.dialect = "auth0"
    assert sandbox.dialect == "auth0"
    assert ask(sandbox, password="wrong")[0] == 403


@pytest.mark.parametrize("call", [Sandbox, lambda dialect: setattr(Sandbox(), "dialect", dialect)])
def test_a_misspelt_dialect_is_answered_with_those_that_there_are(call: Any) -> None:
    with pytest.raises(
        ValueError, match="unknown dialect 'keyclock'; did you mean 'keycloak'.*There are spring, .*429"
    ):
        call(dialect="keyclock")


def test_a_misspelt_option_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(TypeError, match="unknown option 'stiky'; did you mean 'sticky'.*There are life, .*dialect"):
        Sandbox(stiky=False)  # type: ignore[call-arg]


def test_the_guide_names_every_dialect_under_its_kind() -> None:
    rows = re.findall(
        r"^\| `(clear|client|maybe|unknown|not tried)`: [^|]*\| (.*) \|$", GUIDE.read_text(), re.MULTILINE
    )
    named = {name: kind for kind, names in rows for name in re.findall("`([^` ]+)`", names)}
    told = {name: kind for name, kind in named.items() if not name.startswith(("invalid_", "Bearer"))}
    assert told == {name: dialect.kind for name, dialect in DIALECTS.items()}


OUTAGES: dict[str, int | type[Exception]] = {
    "user_database_down": 401,
    "client_database_down": 401,
    "server_error": 500,
    "html_502": 502,
    "rate_limited": 429,
    "silence": httpx.ReadTimeout,
    "dropped": httpx.RemoteProtocolError,
    "520": 520,
}


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


def test_a_lost_answer_was_decided() -> None:
    sandbox = Sandbox()
    sandbox.fail_next("lost", times=2)
    assert [ask(sandbox, password=password)[0] for password in ("wrong", sandbox.password)] == [
        httpx.RemoteProtocolError
    ] * 2
    assert (sandbox.attempts_refused, sandbox.tokens_issued) == (1, 1)


def test_a_late_answer_was_decided() -> None:
    sandbox = Sandbox()
    sandbox.slow(60)
    assert ask(sandbox, password="wrong")[0] is httpx.ReadTimeout
    assert sandbox.failed_passwords == 1


def test_a_sandbox_in_another_process_has_dialects_and_outages() -> None:
    with Elsewhere(dialect="422", life=7) as elsewhere:
        asked = httpx.post(f"{elsewhere.base_url}/oauth/token", trust_env=False)
        assert elsewhere.ask("dialect") == "422"
        for start, status in [(True, 502), (False, asked.status_code)]:
            elsewhere.ask(*(["start_outage", "502"] if start else ["end_outage"]))
            assert httpx.post(f"{elsewhere.base_url}/oauth/token", trust_env=False).status_code == status
        assert elsewhere.token_requests == 3


def test_a_head_is_no_token_request_but_meets_an_outage() -> None:
    sandbox = Sandbox()
    sandbox.fail_next("500")
    with httpx.Client(base_url=sandbox.base_url, transport=sandbox.transport) as client:
        assert client.head("/oauth/token").headers["WWW-Authenticate"] == 'Basic realm="oauth2/client"'
        sandbox.start_outage("502")
        assert client.head("/oauth/token").status_code == 502
    sandbox.assert_token_requests(0)
    assert sandbox.attempts_refused == 0
