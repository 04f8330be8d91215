"""`nox -s contract`: what it says of a server, where it keeps that, and that it shows no value."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import contract
import observations
from conftest import CANARIES, REFUSAL, Clock, Server, credentials, failure
from enkash_auth import TokenProvider
from enkash_auth._settings.environment import load_token_store
from enkash_auth.errors import EnkashAuthError
from enkash_auth.testing import Sandbox

ROOT = Path(__file__).parents[2]
URL, HOST = "https://uat.example", "uat.example"
Run = Callable[[httpx.BaseTransport], list[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout of the spec and the page."""
    for name in ("spec/enkash-auth.yaml", "docs/server.md"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(root: Path, clock: Clock, environment: pytest.MonkeyPatch) -> Run:
    """The tool against a transport; its lines, the last of which is an error."""
    environment.setenv("ENKASH_ATTEMPTS", str(root / "attempts.db"))
    environment.delenv("ENKASH_TOKEN_STORE", raising=False)

    def run(transport: httpx.BaseTransport) -> list[str]:
        lines = []
        with httpx.Client(transport=transport) as client:
            try:
                for line in contract.report(root, credentials(base_url=URL), client):
                    lines.append(line)
            except EnkashAuthError as error:
                lines.append(f"{type(error).__name__}: {error}")
        return lines

    return run


def sandbox(clock: Clock, life: float | None = 300, **options: object) -> httpx.BaseTransport:
    return Sandbox(life, clock=lambda: clock.wall, **{**CANARIES, **options}).transport


def answered(body: object, status: int = 200, **headers: str) -> httpx.MockTransport:
    """A server that answers with this JSON, or these bytes as HTML."""
    html = isinstance(body, bytes)
    head = {"Content-Type": "text/html" if html else "application/json"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if html else json.dumps(body).encode()
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=head, content=content))


SNAKE_FIELDS = "access_token string, token_type string, refresh_token string, expires_in integer, scope string"
CAMEL_FIELDS = "accessToken string, tokenType string, refreshToken string, expiresIn integer"
ENVELOPE_FIELDS = "response_code integer, response_message string, payload object, payload.error_message string"
CAMEL = {"casing": "camel", "sticky": False}
HTML = {"dialect": "html-400", "password": "other"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "  casing: snake"),
        ({}, f"  fields: {SNAKE_FIELDS}"),
        ({}, "second sign-in: the same token: sticky, life 299 then 297, in seconds"),
        (CAMEL, "  casing: camel"),
        (CAMEL, f"  fields: {CAMEL_FIELDS}"),
        (CAMEL, "second sign-in: a new token, life 299 then 299"),
        ({"life": None}, "second sign-in: the same token: sticky, life none said then none said"),
        ({"life": 2, "sticky": False}, "second sign-in: not comparable: the first token was about to expire, or no"),
        ({"dialect": "envelope-200", "password": "other"}, f"  fields: {ENVELOPE_FIELDS}"),
        (HTML, "  media: text/html"),
        (HTML, "  fields: none"),
        (HTML, "second sign-in: none: not asked for, or not answered"),
        ({"dialect": "basic-401", "password": "other"}, "  challenges: basic"),
    ],
)
def test_a_report_names_what_a_server_answers(clock: Clock, run: Run, options: dict[str, object], says: str) -> None:
    assert [line for line in run(sandbox(clock, **options)) if line.startswith(says)]


TOKEN = {"access_token": "canary-token-of-some-length", "token_type": "bearer", "expires_in": 300}
SNAKE, LIFE = "components/schemas/SnakeTokenResponse", "components/schemas/SnakeTokenResponse/properties/expires_in"
PATTERN = "components/schemas/TokenResponse/properties/accessToken/pattern"
ERROR, RESPONSES = "components/schemas/OAuthError/properties/error", "paths/~oauth~token/post/responses"


@pytest.mark.parametrize(
    ("status", "body", "place", "says"),
    [
        (200, {**TOKEN, "expires_in": "300"}, f"{LIFE}/type", "expires_in (string) is not of"),
        (200, {**TOKEN, "expires_in": -1}, f"{LIFE}/minimum", "expires_in (integer) is not of"),
        (200, {**TOKEN, "jti": None}, f"{SNAKE}/properties", "jti (null) is not in the spec"),
        (200, {"accessToken": "a b"}, PATTERN, "accessToken (string) is not of"),
        (200, {"response_code": 1}, f"{SNAKE}/required", "access_token is missing"),
        (200, {"response_code": 1}, f"{RESPONSES}/200/description", ": so a sign-in was refused"),
        (400, {"error": 5}, f"{ERROR}/type", "error (integer) is not of type 'string'"),
        (422, {"message": "no"}, RESPONSES, "status 422 is not in the spec"),
        (400, [], f"{RESPONSES}/400/content/application~json", "is no JSON object"),
        (400, b"<p>", f"{RESPONSES}/400/content", "a body of type text/html with status 400 is not in the spec"),
    ],
)
def test_what_differs_is_named_with_the_line_to_edit(
    run: Run, root: Path, status: int, body: object, place: str, says: str
) -> None:
    lines = run(answered(body, status))
    assert f"{contract.DIFFERS} spec/enkash-auth.yaml; edit these lines:" in lines
    (named,) = [line.split() for line in lines if line.startswith("  line ") and says in line]
    assert int(named[1].rstrip(":")) == line_of(root, place)


def line_of(root: Path, place: str) -> int:
    """The line of a key, by the indentation of those above."""
    texts = (root / "spec" / "enkash-auth.yaml").read_text().splitlines()
    number = -1
    for depth, key in enumerate(place.split("/")):
        found = "  " * depth + key.replace("~", "/").removeprefix("" if depth else " ")
        number = next(n for n in range(number + 1, len(texts)) if texts[n].replace("'", "").startswith(f"{found}:"))
    return number + 1


@pytest.mark.parametrize("transport", [answered(TOKEN), answered(b"", 429, Content_Type="")])
def test_an_answer_as_the_spec_has_it_differs_in_nothing(run: Run, transport: httpx.BaseTransport) -> None:
    assert contract.DIFFERS not in "".join(run(transport))


def test_no_value_is_shown_or_saved_even_as_a_name(run: Run, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    leaky = {**TOKEN, "canary-user": {"canary-token-of-some-length": "canary-deep"}, "a b": 1, "x" * 41: 1}
    leaky["n4canary-drawn-at-random"] = 1
    lines = run(answered(leaky, X_Canary_Pass="canary-value", WWW_Authenticate='Bearer realm="canary-realm"'))
    assert "(hidden)" in "".join(lines)
    saved = "".join(path.read_text() for path in [*root.rglob("*.toml"), root / "docs" / "server.md"])
    assert "life = 300" in saved
    assert not [where for where in ("".join(lines), saved, caplog.text) if "canary" in where]


def test_a_setting_that_is_in_a_fields_name_hides_that_name_and_breaks_nothing(
    run: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setitem(CANARIES, "client_id", "expires")
    lines = run(answered({**TOKEN, "expires_in": "300"}))
    assert "  fields: access_token string, token_type string, (hidden) string" in lines


TROUBLE = {
    "a refusal": (REFUSAL, 1, "RefusedError"),
    "what may be one": (httpx.Response(422, json={"message": "no"}), 1, "RefusedError"),
    "an outage": (httpx.Response(502, text="<p>"), 2, "UnavailableError"),
    "a 200 without a token": (httpx.Response(200, json={"code": 1}), 1, "ProtocolError"),
}


@pytest.mark.parametrize(("answer", "in_three_runs", "error"), TROUBLE.values(), ids=TROUBLE)
def test_a_run_sends_one_password_before_the_first_success_and_all_are_counted(
    run: Run, server: Server, answer: httpx.Response, in_three_runs: int, error: str
) -> None:
    server.answer = lambda _: answer
    assert run(server.transport)[-1].startswith(error)
    assert len(server.requests) == 1
    for _ in range(2):
        run(server.transport)
    assert len(server.requests) == in_three_runs


def test_no_password_leaves_that_nobody_counts(run: Run, server: Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENKASH_ATTEMPTS", "off")
    (said,) = run(server.transport)
    assert said.startswith("ConfigurationError: ") and "ENKASH_ATTEMPTS" in said
    assert server.requests == []


def test_no_password_leaves_that_the_store_forbids(
    run: Run, server: Server, environment: pytest.MonkeyPatch, root: Path
) -> None:
    environment.setenv("ENKASH_TOKEN_STORE", f"file://{root}/store")
    server.answer = lambda _: REFUSAL
    store = load_token_store()
    with TokenProvider(credentials(base_url=URL), store=store, transport=server.transport) as provider:
        failure(provider)
    assert run(server.transport)[-1].startswith("RefusedError: ")
    assert len(server.requests) == 1


def test_an_answer_without_end_is_cut(run: Run) -> None:
    (said,) = run(httpx.MockTransport(lambda _: httpx.Response(200, content=itertools.repeat(b" " * 1000))))
    assert "larger than 64 KiB" in said


def test_an_outage_is_no_observation(run: Run, root: Path) -> None:
    (said,) = run(answered(b"<p>", 502))
    assert said.startswith("UnavailableError: no token from uat.example: status 502")
    assert not list(root.rglob("*.toml"))


def test_an_outage_of_the_second_sign_in_leaves_the_first_observation(run: Run, server: Server, root: Path) -> None:
    server.answer = lambda _: httpx.Response(502) if len(server.requests) > 1 else httpx.Response(200, json=TOKEN)
    assert run(server.transport)[-1].startswith("UnavailableError: ")
    (path,) = root.rglob("*.toml")
    assert path.read_text().count("[[answers]]") == 1
    assert "life = 300" in path.read_text()


def test_an_observation_is_saved_read_by_the_next_report_and_on_the_page(run: Run, root: Path, clock: Clock) -> None:
    first = run(sandbox(clock))
    assert first[-1] == f"saved as spec/observations/{HOST}-2001-09-09.toml and on docs/server.md: commit both"
    clock.passes(2 * 86_400)
    second = run(sandbox(clock, 86400, casing="camel", sticky=False))
    changed = second[second.index("changed since 2001-09-09:") :]
    answers = [f"  answer 1 {line}" for line in ("casing: snake -> camel", "life: 299 -> 86399")]
    assert {*answers, "  answer 1 fields scope: string -> nothing", "  same_token: True -> False"} <= set(changed)
    page = (root / "docs" / "server.md").read_text()
    assert "Nothing yet" not in page
    assert f"| `{HOST}` | 2001-09-09 | 200 application/json | `access_token` string, `token_type` string," in page
    assert f"| `{HOST}` | 2001-09-11 | 200 application/json | `accessToken` string," in page
    assert observations.on_page(page, observations.read(root)) == page


def test_a_refusal_of_the_same_day_is_kept_beside_the_success(run: Run, root: Path, clock: Clock) -> None:
    run(sandbox(clock))
    refused = run(answered({"error": "invalid_grant"}, 400))
    assert not [line for line in refused if line.startswith("changed since")]
    assert [one["answers"][0]["status"] for one in observations.read(root)] == [400, 200]
    assert (root / "docs" / "server.md").read_text().count(f"| `{HOST}` | 2001-09-09 | ") == 2


def test_the_spec_is_asked_until_it_says_what_was_observed(run: Run, root: Path, clock: Clock) -> None:
    title = f"spec/enkash-auth.yaml leaves this open; add 'observed on {HOST}' to these lines:"
    lines = run(sandbox(clock))
    asked = [line for line in lines[lines.index(title) + 1 :] if line.startswith("  line ")]
    assert [line.partition(": ")[2] for line in asked] == [
        "a server of EnKash's own has answered",
        "the names are in snake case",
        "a second sign-in brings the same token again",
        "the unit of a life is seconds",
    ]
    spec = root / "spec" / "enkash-auth.yaml"
    text = spec.read_text().replace("documented (api-", f"observed on {HOST}; documented (api-")
    spec.write_text(text.replace("Of EnKash's own server", f"observed on {HOST}: "))
    assert title not in run(sandbox(clock))


def test_the_page_shows_the_saved_observations() -> None:
    page = (ROOT / observations.PAGE).read_text(encoding="utf-8")
    assert observations.on_page(page, observations.read(ROOT)) == page


def signed_in(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "contract.py", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_signs_in_with_the_settings_of_the_environment(
    enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    monkeypatch.setenv("ENKASH_BASE_URL", "https://production.example")  # not this one
    done = signed_in(enkash_sandbox.base_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("not saved: this host is the machine itself\n")
    monkeypatch.setenv("ENKASH_PASSWORD", "wrong")
    done = signed_in(enkash_sandbox.base_url)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 127.0.0.1 refused the password (400 invalid_grant)")
    enkash_sandbox.assert_token_requests(3)


TOOLKIT = os.environ.get("OAUTH_TOOLKIT", "")  # an environment with django-oauth-toolkit: `nox -s contract-test`


@pytest.mark.skipif(not TOOLKIT, reason="nox -s contract-test has django-oauth-toolkit")
@pytest.mark.parametrize(
    ("password", "code", "says"),
    [
        ("canary-pass", 0, "second sign-in: a new token, life 300 then 300\n"),
        ("wrong", 1, "  error: invalid_grant\n"),
    ],
)
def test_django_oauth_toolkit_is_reported_as_it_answers(
    environment: pytest.MonkeyPatch, tmp_path: Path, password: str, code: int, says: str
) -> None:
    settings = {**CANARIES, "password": password, "attempts": str(tmp_path / "attempts.db")}
    for name, value in settings.items():
        environment.setenv(f"ENKASH_{name.upper()}", value)
    server = [Path(TOOLKIT) / "bin" / "python", Path(__file__).with_name("oauth_toolkit.py"), json.dumps(CANARIES)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as toolkit:
        assert toolkit.stdout
        done = signed_in(toolkit.stdout.readline().strip())
        toolkit.terminate()
    assert done.returncode == code, done.stderr
    assert says in done.stdout
    assert "canary" not in done.stdout + done.stderr
