"""`nox -s contract`: what it says of a server, where it keeps that, and that it shows no value."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import contract
import observations
from conftest import CANARIES, Clock, Server, credentials
from enkash_auth import TokenProvider
from enkash_auth._settings.environment import load_token_store
from enkash_auth.errors import EnkashAuthError, RefusedError
from enkash_auth.testing import Sandbox

pytestmark = pytest.mark.once  # what a server says is the same on each interpreter
ROOT = Path(__file__).parents[1]
URL, HOST = "https://uat.example", "uat.example"
Run = Callable[[httpx.BaseTransport], list[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout of the spec and the page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "spec").mkdir()
    for name in ("spec/enkash-auth.yaml", "docs/server.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(root: Path, clock: Clock, environment: pytest.MonkeyPatch) -> Iterator[Run]:
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

    yield run


def sandbox(clock: Clock, life: float | None = 300, **options: object) -> Sandbox:
    return Sandbox(life, clock=lambda: clock.wall, **{**CANARIES, **options})


DIALECTS = {
    "snake, sticky": (
        {},
        [
            "  casing: snake",
            "  fields: access_token string, token_type string, refresh_token string, expires_in integer, scope string",
            "second sign-in: the same token: sticky, life 299 then 297, in seconds",
        ],
    ),
    "camel, fresh": (
        {"casing": "camel", "sticky": False},
        [
            "  casing: camel",
            "  fields: accessToken string, tokenType string, refreshToken string, expiresIn integer",
            "second sign-in: a new token, life 299 then 299",
        ],
    ),
    "no life": ({"life": None}, ["second sign-in: the same token: sticky, life none said then none said"]),
    "a short life": (
        {"life": 2, "sticky": False},
        ["second sign-in: not comparable: the first token was about to expire, or no token came"],
    ),
    "an envelope": (
        {"dialect": "envelope-200", "password": "other"},
        ["  fields: response_code integer, response_message string, payload object, payload.error_message string"],
    ),
    "an HTML refusal": (
        {"dialect": "html-400", "password": "other"},
        ["  media: text/html", "  fields: none", "second sign-in: none: not asked for, or not answered"],
    ),
    "a challenge": ({"dialect": "basic-401", "password": "other"}, ["  challenges: basic", "  media: text/html"]),
}


@pytest.mark.parametrize(("options", "says"), DIALECTS.values(), ids=DIALECTS)
def test_a_report_names_what_a_server_answers(
    clock: Clock, run: Run, options: dict[str, object], says: list[str]
) -> None:
    lines = run(sandbox(clock, **options).transport)
    assert [line for line in says if line not in lines] == []


def answered(body: object, status: int = 200, **headers: str) -> httpx.MockTransport:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=head, content=content))


TOKEN = {"access_token": "canary-token-of-some-length", "token_type": "bearer", "expires_in": 300}
SNAKE, CAMEL, ERROR = ("components/schemas/" + name for name in ("SnakeTokenResponse", "TokenResponse", "OAuthError"))
DIFFERENCES = [
    (answered({**TOKEN, "expires_in": "300"}), f"{SNAKE}/properties/expires_in/type", "expires_in (string) is not of"),
    (answered({**TOKEN, "expires_in": -1}), f"{SNAKE}/properties/expires_in/minimum", "expires_in (integer) is not of"),
    (answered({**TOKEN, "jti": None}), f"{SNAKE}/properties", "jti (null) is not in the spec"),
    (answered({"accessToken": "a b"}), f"{CAMEL}/properties/accessToken/pattern", "accessToken (string) is not of"),
    (answered({"response_code": 1}), f"{SNAKE}/required", "access_token is missing"),
    (answered({"error": 5}, 400), f"{ERROR}/properties/error/type", "error (integer) is not of type 'string'"),
    (answered({"message": "no"}, 422), "paths/~oauth~token/post/responses", "status 422 is not in the spec"),
    (answered([], 400), "paths/~oauth~token/post/responses/400/content/application~json", "is no JSON object"),
    (
        answered(b"<p>", 400, Content_Type="text/html"),
        "paths/~oauth~token/post/responses/400/content",
        "a body of type text/html with status 400 is not in the spec",
    ),
]


@pytest.mark.parametrize(("transport", "place", "says"), DIFFERENCES)
def test_what_differs_is_named_with_the_line_to_edit(
    run: Run, root: Path, transport: httpx.BaseTransport, place: str, says: str
) -> None:
    lines = run(transport)
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


TROUBLE = {
    "a refusal": (lambda _: httpx.Response(400, json={"error": "invalid_grant"}), 1, "RefusedError"),
    "what may be one": (lambda _: httpx.Response(422, json={"message": "no"}), 1, "RefusedError"),
    "an outage": (lambda _: httpx.Response(502, text="<p>"), 2, "UnavailableError"),
    "a 200 without a token": (lambda _: httpx.Response(200, json={"code": 1}), 1, "ProtocolError"),
}


@pytest.mark.parametrize(("answer", "in_three_runs", "error"), TROUBLE.values(), ids=TROUBLE)
def test_a_run_sends_one_password_before_the_first_success_and_all_are_counted(
    run: Run, server: Server, answer: Callable[[httpx.Request], httpx.Response], in_three_runs: int, error: str
) -> None:
    server.answer = answer
    assert run(server.transport)[-1].startswith(error)
    assert len(server.requests) == 1
    run(server.transport)
    run(server.transport)
    assert len(server.requests) == in_three_runs


def test_after_a_reset_one_more_password_may_leave(run: Run, server: Server, root: Path) -> None:
    server.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    run(server.transport)
    with TokenProvider(credentials(base_url=URL), transport=server.transport) as provider:
        provider.reset()
    run(server.transport)
    assert len(server.requests) == 2


def test_an_answer_without_end_is_cut(run: Run) -> None:
    (said,) = run(httpx.MockTransport(lambda _: httpx.Response(200, content=itertools.repeat(b" " * 1000))))
    assert "larger than 64 KiB" in said


def test_an_outage_is_no_observation(run: Run, root: Path) -> None:
    (said,) = run(answered(b"<p>", 502, Content_Type="text/html"))
    assert said.startswith("UnavailableError: no token from uat.example: status 502")
    assert not list(root.rglob("*.toml"))


def test_an_outage_of_the_second_sign_in_leaves_the_first_observation(run: Run, server: Server, root: Path) -> None:
    server.answer = lambda _: httpx.Response(502) if len(server.requests) > 1 else httpx.Response(200, json=TOKEN)
    assert run(server.transport)[-1].startswith("UnavailableError: ")
    (path,) = root.rglob("*.toml")
    assert [answer["life"] for answer in tomllib.loads(path.read_text())["answers"]] == [300]


def test_a_refusal_with_200_is_said_to_be_one(run: Run) -> None:
    lines = run(answered({"response_code": 1}))
    assert any(line.endswith(": so a sign-in was refused") for line in lines)


def test_a_setting_that_is_in_a_fields_name_hides_that_name_and_breaks_nothing(
    run: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setitem(CANARIES, "client_id", "expires")
    lines = run(answered({**TOKEN, "expires_in": "300"}))
    assert "  fields: access_token string, token_type string, (hidden) string" in lines


def test_no_password_leaves_that_nobody_counts(run: Run, server: Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENKASH_ATTEMPTS", "off")
    (said,) = run(server.transport)
    assert said.startswith("ConfigurationError: ") and "ENKASH_ATTEMPTS" in said
    assert server.requests == []


def test_no_password_leaves_that_the_store_forbids(
    run: Run, server: Server, environment: pytest.MonkeyPatch, root: Path
) -> None:
    environment.setenv("ENKASH_TOKEN_STORE", f"file://{root}/store")
    server.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    with (
        TokenProvider(credentials(base_url=URL), store=load_token_store(), transport=server.transport) as provider,
        pytest.raises(RefusedError),
    ):
        provider.token()
    assert run(server.transport)[-1].startswith("RefusedError: ")
    assert len(server.requests) == 1


def test_an_observation_is_saved_read_by_the_next_report_and_on_the_page(run: Run, root: Path, clock: Clock) -> None:
    first = run(sandbox(clock).transport)
    assert first[-1] == f"saved as spec/observations/{HOST}-2001-09-09.toml and on docs/server.md: commit both"
    clock.passes(2 * 86_400)
    second = run(sandbox(clock, 86400, casing="camel", sticky=False).transport)
    changed = second[second.index("changed since 2001-09-09:") :]
    for line in ("casing: snake -> camel", "life: 299 -> 86399", "fields scope: string -> nothing"):
        assert f"  answer 1 {line}" in changed
    assert "  same_token: True -> False" in changed
    page = (root / "docs" / "server.md").read_text()
    assert "Nothing yet" not in page
    assert f"| `{HOST}` | 2001-09-09 | 200 application/json | `access_token` string, `token_type` string," in page
    assert f"| `{HOST}` | 2001-09-11 | 200 application/json | `accessToken` string," in page
    assert observations.on_page(page, observations.read(root)) == page


def test_a_refusal_of_the_same_day_is_kept_beside_the_success(run: Run, root: Path, clock: Clock) -> None:
    run(sandbox(clock).transport)
    refused = run(answered({"error": "invalid_grant"}, 400))
    assert not [line for line in refused if line.startswith("changed since")]
    assert [one["answers"][0]["status"] for one in observations.read(root)] == [400, 200]
    page = (root / "docs" / "server.md").read_text()
    assert page.count(f"| `{HOST}` | 2001-09-09 | ") == 2


def test_the_spec_is_asked_until_it_says_what_was_observed(run: Run, root: Path, clock: Clock) -> None:
    title = f"spec/enkash-auth.yaml leaves this open; add 'observed on {HOST}' to these lines:"
    lines = run(sandbox(clock).transport)
    asked = [line for line in lines[lines.index(title) + 1 :] if line.startswith("  line ")]
    assert [line.partition(": ")[2] for line in asked] == [
        "a server of EnKash's own has answered",
        "the names are in snake case",
        "a second sign-in brings the same token again",
        "the unit of a life is seconds",
    ]
    spec = root / "spec" / "enkash-auth.yaml"
    spec.write_text(spec.read_text().replace("documented (api-", f"observed on {HOST}; documented (api-"))
    spec.write_text(spec.read_text().replace("Of EnKash's own server", f"observed on {HOST}: "))
    assert title not in run(sandbox(clock).transport)


def test_the_page_shows_the_saved_observations() -> None:
    page = (ROOT / observations.PAGE).read_text(encoding="utf-8")
    assert observations.on_page(page, observations.read(ROOT)) == page


TOOL = [sys.executable, str(ROOT / "tools" / "contract.py")]


def test_the_command_signs_in_with_the_settings_of_the_environment(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Sandbox(casing="camel") as sandbox:
        for name, value in {**sandbox.environment(), "ENKASH_ATTEMPTS": str(tmp_path / "attempts.db")}.items():
            environment.setenv(name, value)
        environment.setenv("ENKASH_BASE_URL", "https://production.example")  # not this one
        done = subprocess.run([*TOOL, sandbox.base_url], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("not saved: this host is the machine itself\n")
        environment.setenv("ENKASH_PASSWORD", "wrong")
        done = subprocess.run([*TOOL, sandbox.base_url], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 127.0.0.1 refused the password (400 invalid_grant)")
    assert sandbox.token_requests == 3


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
    server = [str(Path(TOOLKIT) / "bin" / "python"), str(ROOT / "tests" / "oauth_toolkit.py"), json.dumps(CANARIES)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as toolkit:
        assert toolkit.stdout
        url = toolkit.stdout.readline().strip()
        done = subprocess.run([*TOOL, url], capture_output=True, text=True, check=False, timeout=60)
        toolkit.terminate()
    assert done.returncode == code, done.stderr
    assert says in done.stdout
    assert "canary" not in done.stdout + done.stderr
