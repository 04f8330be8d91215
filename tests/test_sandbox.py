import asyncio
import base64
import logging
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from attrs import evolve

from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth._runtime import use_runtime
from enkash_auth.testing import Sandbox


def request(sandbox, method, path, **options):
    """Send a request to the sandbox's app, in this process."""

    async def send():
        transport = httpx.ASGITransport(sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def form(sandbox, **changes):
    own = {"username": sandbox.username, "password": sandbox.password, "clientId": sandbox.client_id}
    return {**own, "grant_type": "password", **changes}


def grant(sandbox, client=None, headers=None, **changes):
    send = client.request if client else partial(request, sandbox)
    auth = (sandbox.basic_client_id, sandbox.client_secret)
    return send("POST", "/oauth/token", data=form(sandbox, **changes), auth=auth, headers=headers)


def token_of(sandbox):
    return grant(sandbox).json()["access_token"]


def echo(sandbox, token):
    return request(sandbox, "GET", "/api/echo", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize(
    ("options", "fields", "life"),
    [
        ({"life": 86399.9}, "access_token token_type refresh_token expires_in scope", 86399),
        ({"life": None}, "access_token token_type refresh_token scope", None),
        ({"refresh_tokens": False}, "access_token token_type expires_in scope", 299),
        ({"casing": "camel"}, "accessToken tokenType refreshToken expiresIn", None),
    ],
    ids=["a life is cut to whole seconds", "a token that never ends", "no refresh grant", "as documented"],
)
def test_a_token_looks_like_springs_among_these_fields(clock, options, fields, life):
    answer = grant(Sandbox(**options, clock=lambda: clock.wall)).json()
    assert (" ".join(answer), answer.get("expires_in")) == (fields, life)
    assert re.fullmatch(r"[\w-]{27}", next(iter(answer.values())))


def test_not_sticky_makes_new_tokens_and_older_ones_live_to_their_own_end(clock):
    sandbox = Sandbox(life=10, sticky=False, clock=lambda: clock.wall)
    old = token_of(sandbox)
    clock.passes(5)
    new = token_of(sandbox)
    assert new != old
    assert [echo(sandbox, token).status_code for token in (old, new)] == [200, 200]
    clock.passes(5)
    assert [echo(sandbox, token).status_code for token in (old, new)] == [401, 200]


# What data/spring-wire.json does not hold: (changed fields, status, error)
REFUSALS = [
    ({"password": ""}, 400, "invalid_grant"),
    ({"grant_type": "authorization_code"}, 401, "invalid_client"),
    ({"grant_type": "refresh_token", "refresh_token": "no-such"}, 400, "invalid_grant"),
    ({"client_id": "other", "scope": "nope"}, 401, "invalid_client"),
    ({"scope": "nope", "grant_type": ""}, 400, "invalid_scope"),
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


def test_a_client_without_the_refresh_grant_is_refused_it():
    answer = grant(Sandbox(refresh_tokens=False), grant_type="refresh_token", refresh_token="any")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_subset_of_the_scopes_is_another_token():
    sandbox = Sandbox()
    answers = [grant(sandbox, scope=scope).json() for scope in (None, "read", "read write trust", "read")]
    assert [answer["scope"] for answer in answers] == ["read write trust", "read"] * 2
    assert sandbox.tokens_issued == len({answer["access_token"] for answer in answers}) == 2


def test_a_grant_with_a_row_gap_takes_a_living_token_away_until_it_is_answered(clock):
    sandbox = Sandbox(row_gap=0.01, clock=lambda: clock.wall)
    token = token_of(sandbox)
    assert echo(sandbox, token).status_code == 200
    assert token_of(sandbox) == token
    assert echo(sandbox, token).status_code == 401
    clock.passes(0.01)
    assert echo(sandbox, token).status_code == 200


CALLERS, GRANTS = 8, 20


def test_twenty_grants_of_a_neighbour_under_eight_threads_surface_no_401(clock):
    """Of a JDBC token store, which takes the living token's row away for a moment at each grant."""
    sandbox = Sandbox(row_gap=0.001, clock=lambda: clock.wall)
    # the row is back once all callers have met the 401
    met = threading.Barrier(CALLERS, action=lambda: clock.passes(0.05), timeout=30)

    def pause(seconds):
        if threading.current_thread().name.startswith("caller"):
            met.wait()

    with (
        use_runtime(evolve(clock.runtime, pause=pause)),
        TokenProvider(sandbox.credentials(), transport=sandbox.transport) as provider,
        httpx.Client(auth=EnkashAuth(provider), transport=sandbox.transport, base_url=sandbox.base_url) as client,
        ThreadPoolExecutor(CALLERS, thread_name_prefix="caller") as pool,
    ):
        token = provider.token().access_token
        for _ in range(GRANTS):
            assert token_of(sandbox) == token
            statuses = list(pool.map(lambda _: client.get("/api/echo").status_code, range(CALLERS)))
            assert statuses == [200] * CALLERS
    assert sandbox.api_unauthorized == CALLERS * GRANTS


def test_a_success_resets_the_count_of_failures():
    sandbox = Sandbox()
    for password in ["wrong", "wrong", sandbox.password] * 2:
        grant(sandbox, password=password)
    assert not sandbox.locked


def test_a_limited_rate_says_how_long_it_lasts_and_ends(clock):
    sandbox = Sandbox(clock=lambda: clock.wall)
    sandbox.limit_rate(2.5)
    answer = grant(sandbox)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    clock.passes(2.5)
    assert grant(sandbox).status_code == 200


def test_the_environment_names_a_basic_id_that_differs():
    assert Sandbox(basic_client_id="other").environment()["ENKASH_BASIC_CLIENT_ID"] == "other"


@pytest.mark.parametrize("named", [True, False])
def test_echo_refuses_a_revoked_token_and_names_it_in_header_and_body_as_old_spring_does(named):
    sandbox = Sandbox(token_in_401=named)
    token = token_of(sandbox)
    sandbox.revoke()
    answer = echo(sandbox, token)
    told = f"Access token expired: {token}" if named else "Access token expired"
    assert (answer.status_code, answer.json()["error_description"]) == (401, told)
    assert f'error="invalid_token", error_description="{told}"' in answer.headers["www-authenticate"]
    assert (sandbox.api_calls, sandbox.api_unauthorized) == (1, 1)
    assert token_of(sandbox) != token


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


def test_it_serves_until_it_is_closed_and_twice_does_no_harm():
    sandbox = Sandbox(latency=0.002).serve()
    url = sandbox.base_url
    assert sandbox.serve().base_url == sandbox.environment()["ENKASH_BASE_URL"] == url
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert grant(sandbox, client).status_code == 200
    sandbox.close()
    sandbox.close()
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
    secrets = (sandbox.password, sandbox.client_secret, token_of(sandbox))
    assert not any(secret in repr(sandbox) for secret in secrets)


def test_an_unknown_casing_is_refused() -> None:
    with pytest.raises(ValueError, match="casing"):
        Sandbox(casing="kebab")


@pytest.mark.parametrize("module", ["starlette.applications", "uvicorn"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="testing"):
        Sandbox().serve()


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
    "asked", ["GET /", "POST /oauth/token/", "POST /api/echo", "DELETE /api/echo", "PUT /api/echo/"]
)
def test_a_socket_answers_as_the_transport_does(asked):
    with Sandbox() as sandbox, httpx.Client(base_url=sandbox.base_url, trust_env=False) as client:
        served = client.request(*asked.split())
    with httpx.Client(base_url=sandbox.base_url, transport=sandbox.transport) as client:
        direct = client.request(*asked.split())
    assert (served.status_code, served.text) == (direct.status_code, direct.text)
