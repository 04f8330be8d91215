"""The sandbox answers as stock Spring Security OAuth did, whose answers were recorded in data/spring-wire.json."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from enkash_auth.testing import Sandbox

pytestmark = pytest.mark.once  # what the sandbox answers is the same on each interpreter
WIRE: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "spring-wire.json").read_text())
HEADERS = ("content-type", "cache-control", "pragma", "www-authenticate", "connection", "allow")
ACCOUNT = {"username": "saquib.n+ins@enkash.com", "password": "Password@123", "client_id": "CEKFOWV7UQ"}
ACCOUNT |= {"basic_client_id": "enkash-client", "client_secret": "enkash-secret"}
# What the harness did before the request.
BEFORE: dict[str, Callable[[Sandbox], object]] = {
    "user database down": lambda sandbox: sandbox.start_outage("user_database_down"),
    "client database down": lambda sandbox: sandbox.start_outage("client_database_down"),
    "disabled user": lambda sandbox: setattr(sandbox, "disabled", True),
    "right password after three wrong ones (lock of the harness)": lambda sandbox: sandbox.lock(),
}
# Spring publishes a failure for any name; the sandbox counts those of its one account, which they could lock.
NOBODYS = ("unknown user", "no username")


@pytest.fixture(params=["socket", "transport"])
def client(request: pytest.FixtureRequest) -> Iterator[tuple[Sandbox, httpx.Client]]:
    sandbox = Sandbox(life=10, token_in_401=False, **ACCOUNT)
    own: dict[str, Any] = {"transport": sandbox.transport} if request.param == "transport" else {"trust_env": False}
    if request.param == "socket":
        sandbox.serve()
    with closing(sandbox), httpx.Client(base_url=sandbox.base_url, **own) as client:
        yield sandbox, client


def send(client: httpx.Client, case: dict[str, Any], token: str) -> httpx.Response:
    asked = case["request"]
    # h11 sends no space at a value's end, which is no part of the value (RFC 9110, 5.5)
    headers = {name: value.replace("*", token).strip() for name, value in asked["headers"].items()}
    return client.request(asked["method"], asked["target"], headers=headers, content=(asked["body"] or "").encode())


def fields(body: str) -> list[tuple[str, object]]:
    masked = {"access_token": "*", "refresh_token": "*"}
    return [(name, masked.get(name, value)) for name, value in json.loads(body).items()]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["case"]) for case in WIRE["answers"]])
def test_an_answer_is_the_recorded_one(client: tuple[Sandbox, httpx.Client], case: dict[str, Any]) -> None:
    sandbox, http = client
    token = ""
    if case["case"] == "api, expired token":
        token = send(http, WIRE["answers"][0], "").json()["access_token"]
        sandbox.expire()
    BEFORE.get(case["case"], bool)(sandbox)
    failed = sandbox.failed_passwords
    answer = send(http, case, token)
    assert answer.status_code == case["status"]
    assert {name: answer.headers[name] for name in HEADERS if name in answer.headers} == case["headers"]
    if "html_message" in case:
        assert re.search("<b>Message</b> (.*?)</p>", answer.text).group(1) == case["html_message"]
    elif case["body"]:
        assert fields(answer.text) == fields(case["body"])
    else:
        assert answer.text == ""
    counted = case["counts_as_failed_sign_in"] and case["case"] not in NOBODYS
    assert sandbox.failed_passwords - failed == counted


def test_repeated_grants_answer_as_recorded() -> None:
    # One fresh life of 10 s was read within its first millisecond and says 10. The sandbox always says 9.
    now = [1e9]
    sandbox = Sandbox(life=10, clock=lambda: now[0])
    names: dict[str, str] = {}
    with httpx.Client(base_url=sandbox.base_url, transport=sandbox.transport) as http:
        for seconds, which, expires_in in WIRE["repeated_grants"]["rows"]:
            now[0] = 1e9 + seconds
            form = {"username": sandbox.username, "password": sandbox.password, "grant_type": "password"}
            answer = http.post("/oauth/token", data=form, auth=(sandbox.basic_client_id, sandbox.client_secret)).json()
            assert names.setdefault(answer["access_token"], which) == which
            assert answer["expires_in"] == (9 if expires_in == 10 else expires_in)
    assert list(names.values()) == ["first", "second"]
