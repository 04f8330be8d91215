import asyncio
import base64
import logging
import re
import sys
import time
from functools import partial

import httpx
import pytest

from enkash_auth.testing import Sandbox


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def request(sandbox, method, path, **options):
    """Send a request to the sandbox's app, in this process."""

    async def send():
        transport = httpx.ASGITransport(sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def form(sandbox, **changes):
    own = {"username": sandbox.username, "password": sandbox.password, "clientId": sandbox.client_id}
    fields = {**own, "grant_type": "password", **changes}
    return {name: value for name, value in fields.items() if value is not None}


def grant(sandbox, client=None, headers=None, **changes):
    send = client.request if client else partial(request, sandbox)
    auth = (sandbox.basic_client_id, sandbox.client_secret)
    return send("POST", "/oauth/token", data=form(sandbox, **changes), auth=auth, headers=headers)


def echo(sandbox, token, method="GET"):
    return request(sandbox, method, "/api/echo", headers={"Authorization": f"Bearer {token}"})


def test_a_life_is_cut_to_whole_seconds_and_a_token_looks_like_springs():
    answer = grant(Sandbox(life=86399.9, clock=Clock())).json()
    assert answer["expires_in"] == 86399
    assert re.fullmatch(r"[\w-]{27}", answer["access_token"])


def test_camel_answer_has_the_documented_fields():
    assert list(grant(Sandbox(casing="camel")).json()) == ["accessToken", "tokenType", "refreshToken", "expiresIn"]


def test_a_token_that_never_ends_has_no_expires_in():
    assert "expires_in" not in grant(Sandbox(life=None)).json()


def test_not_sticky_makes_new_tokens_and_older_ones_live_to_their_own_end():
    clock = Clock()
    sandbox = Sandbox(life=10, sticky=False, clock=clock)
    old = grant(sandbox).json()["access_token"]
    clock.now += 5
    new = grant(sandbox).json()["access_token"]
    assert new != old
    assert [echo(sandbox, token).status_code for token in (old, new)] == [200, 200]
    clock.now += 5
    assert [echo(sandbox, token).status_code for token in (old, new)] == [401, 200]


# What data/spring-wire.json does not hold: (changed fields, status, error)
REFUSALS = [
    ({"password": ""}, 400, "invalid_grant"),
    ({"grant_type": "authorization_code"}, 401, "invalid_client"),
    ({"grant_type": "refresh_token", "refresh_token": "no-such"}, 400, "invalid_grant"),
    ({"client_id": "other", "scope": "nope"}, 401, "invalid_client"),
    ({"scope": "nope", "grant_type": None}, 400, "invalid_scope"),
]


@pytest.mark.parametrize(("changes", "status", "error"), REFUSALS)
def test_refusals(changes, status, error):
    sandbox = Sandbox()
    answer = grant(sandbox, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert sandbox.attempts_refused == 1


def basic(pair):
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize("header", ["Basic /w==", "Bearer x", basic("C"), basic("C:s%31"), "Bearer QzpzMQ=="])
def test_wrong_basic_is_401_and_html(header):
    sandbox = Sandbox(client_id="C", client_secret="s1")
    answer = request(sandbox, "POST", "/oauth/token", data=form(sandbox), headers={"Authorization": header})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html;charset=utf-8")
    assert answer.headers["www-authenticate"] == 'Basic realm="oauth2/client"'


PASSWORD = "p\u00e4ss"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("server", "content_type", "status"),
    [
        ("utf-8", FORM, 200),
        ("latin-1", FORM, 400),
        ("latin-1", f"{FORM};charset=UTF-8", 200),
        ("utf-8", f"{FORM}; charset=no-such", 200),
    ],
)
def test_a_form_in_utf_8_is_misread_by_a_server_without_an_encoding_filter_unless_it_says_so(
    server, content_type, status
):
    sandbox = Sandbox(password=PASSWORD, form_charset=server)
    assert grant(sandbox, headers={"Content-Type": content_type}).status_code == status
    assert sandbox.failed_passwords == (status == 400)


def test_a_refresh_token_brings_a_token_and_ends_the_one_that_it_came_with():
    sandbox = Sandbox()
    first = grant(sandbox).json()
    second = grant(sandbox, grant_type="refresh_token", refresh_token=first["refresh_token"])
    tokens = [first["access_token"], second.json()["access_token"]]
    assert [echo(sandbox, token).status_code for token in tokens] == [401, 200]


def test_a_client_without_the_refresh_grant_gets_no_refresh_token():
    sandbox = Sandbox(refresh_tokens=False)
    assert "refresh_token" not in grant(sandbox).json()
    answer = grant(sandbox, grant_type="refresh_token", refresh_token="any")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_subset_of_the_scopes_is_another_token():
    sandbox = Sandbox()
    answers = [grant(sandbox, scope=scope).json() for scope in (None, "read", "read write trust", "read")]
    assert [answer["scope"] for answer in answers] == ["read write trust", "read"] * 2
    assert sandbox.tokens_issued == len({answer["access_token"] for answer in answers}) == 2


def test_a_grant_with_a_row_gap_takes_a_living_token_away_until_it_is_answered():
    clock = Clock()
    sandbox = Sandbox(row_gap=0.01, clock=clock)
    token = grant(sandbox).json()["access_token"]
    assert echo(sandbox, token).status_code == 200
    assert grant(sandbox).json()["access_token"] == token
    assert echo(sandbox, token).status_code == 401
    clock.now += 0.01
    assert echo(sandbox, token).status_code == 200


def test_a_success_resets_the_count_of_failures():
    sandbox = Sandbox()
    for password in ["wrong", "wrong", None] * 2:
        grant(sandbox, password=password or sandbox.password)
    assert not sandbox.locked


def test_another_name_does_not_lock_the_account():
    sandbox = Sandbox(lock_after=1)
    grant(sandbox, username="nobody")
    assert grant(sandbox).status_code == 200


def test_basic_id_can_differ_from_the_client_id():
    sandbox = Sandbox(basic_client_id="enkash-client")
    assert grant(sandbox).status_code == 200
    assert sandbox.environment()["ENKASH_BASIC_CLIENT_ID"] == "enkash-client"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_echo_takes_a_live_token(method):
    sandbox = Sandbox()
    assert echo(sandbox, grant(sandbox).json()["access_token"], method).json() == {"ok": True}


@pytest.mark.parametrize("named", [True, False])
def test_echo_refuses_a_dead_token_and_names_it_in_header_and_body_as_old_spring_does(named):
    sandbox = Sandbox(token_in_401=named)
    token = grant(sandbox).json()["access_token"]
    sandbox.revoke()
    answer = echo(sandbox, token)
    assert answer.status_code == 401
    told = f"Access token expired: {token}" if named else "Access token expired"
    assert f'error="invalid_token", error_description="{told}"' in answer.headers["www-authenticate"]
    assert answer.json()["error_description"] == told
    assert (sandbox.api_calls, sandbox.api_unauthorized) == (1, 1)


def test_revoked_token_is_not_handed_out_again():
    sandbox = Sandbox()
    token = grant(sandbox).json()["access_token"]
    sandbox.revoke()
    assert grant(sandbox).json()["access_token"] != token


@pytest.mark.parametrize(
    ("kind", "options", "status", "header"),
    [
        ("server_error", {}, 500, ("content-type", "application/json;charset=UTF-8")),
        ("rate_limited", {"retry_after": 7}, 429, ("retry-after", "7")),
        ("html_502", {}, 502, ("content-type", "text/html;charset=utf-8")),
        ("raw", {"status": 520, "body": b"\0", "headers": {"X-A": "b"}}, 520, ("x-a", "b")),
        ("raw", {"status": 429, "body": '{"wait": 1}'}, 429, ("content-length", "11")),
        ("slow", {"seconds": 0.001}, 200, ("cache-control", "no-store")),
    ],
)
def test_a_fault_is_met_as_often_as_asked(kind, options, status, header):
    sandbox = Sandbox()
    sandbox.fail_next(kind, 2, **options)
    answers = [grant(sandbox) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].headers[header[0]] == header[1]
    assert sandbox.token_requests == len(sandbox.grant_times) == 3


def test_dropped_in_process_is_a_connection_error():
    sandbox = Sandbox()
    sandbox.fail_next("dropped")
    with pytest.raises(ConnectionResetError):
        grant(sandbox)


def test_over_a_socket_it_serves_drops_and_stops():
    with Sandbox(latency=0.002).serve() as sandbox, httpx.Client(base_url=sandbox.base_url, trust_env=False) as client:
        assert sandbox.environment()["ENKASH_BASE_URL"] == sandbox.base_url
        assert grant(sandbox, client).status_code == 200
        sandbox.fail_next("dropped")
        with pytest.raises(httpx.RemoteProtocolError):
            grant(sandbox, client)
        assert grant(sandbox, client).status_code == 200
        url = sandbox.base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_a_slow_answer_does_not_keep_it_from_stopping():
    with Sandbox() as sandbox:
        sandbox.fail_next("slow", seconds=60)
        client = httpx.Client(base_url=sandbox.base_url, trust_env=False, timeout=0.02)
        with client, pytest.raises(httpx.ReadTimeout):
            grant(sandbox, client)
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_repr_holds_no_secret():
    sandbox = Sandbox()
    token = grant(sandbox).json()["access_token"]
    assert not any(secret in repr(sandbox) for secret in (sandbox.password, sandbox.client_secret, token))


def test_an_unknown_casing_is_refused() -> None:
    with pytest.raises(ValueError, match="casing"):
        Sandbox(casing="kebab")


@pytest.mark.parametrize("module", ["starlette.applications", "uvicorn"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="testing"):
        Sandbox().serve()


def test_serving_and_closing_twice_does_no_harm() -> None:
    sandbox = Sandbox().serve()
    url = sandbox.base_url
    assert sandbox.serve().base_url == url
    sandbox.close()
    sandbox.close()


def test_a_service_on_uvicorn_keeps_its_logs_and_the_sandbox_adds_none(caplog):
    access = logging.getLogger("uvicorn.access")
    access.addHandler(handler := logging.NullHandler())
    with caplog.at_level(logging.DEBUG, "uvicorn"), Sandbox() as sandbox:
        httpx.get(sandbox.base_url, trust_env=False)
        assert access.handlers == [handler]
        assert access.isEnabledFor(logging.INFO)
        access.info("mine")
    access.removeHandler(handler)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == ["mine"]


def test_a_service_keeps_the_names_of_its_levels() -> None:
    before = logging.getLevelName(5)
    logging.addLevelName(5, "SPAM")
    with Sandbox():
        assert logging.getLevelName(5) == "SPAM"
    logging.addLevelName(5, before)


def test_an_option_of_a_wrong_type_is_logged(caplog):
    with Sandbox(life="60") as sandbox, httpx.Client(base_url=sandbox.base_url, trust_env=False) as client:
        assert grant(sandbox, client).status_code == 500
    assert "unsupported operand" in caplog.text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/oauth/token/"), ("DELETE", "/api/echo"), ("PUT", "/api/echo/")]
)
def test_a_socket_answers_as_the_transport_does(method, path):
    sandbox = Sandbox()
    with sandbox, httpx.Client(base_url=sandbox.base_url, trust_env=False) as client:
        served = client.request(method, path)
    with httpx.Client(base_url=sandbox.base_url, transport=sandbox.transport) as client:
        direct = client.request(method, path)
    assert (served.status_code, served.text) == (direct.status_code, direct.text)
