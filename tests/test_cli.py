"""`enkash-auth`, as a person drives it (a terminal and a pipe) and command by command."""

import json
import logging
import os
import pty
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from email.utils import formatdate
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_server import Asked, serving
from conftest import CANARIES
from enkash_auth import TokenProvider
from enkash_auth.cli import main
from enkash_auth.stores import FileStore
from enkash_auth.testing import Sandbox
from proxy import certificate

pytestmark = pytest.mark.once  # click runs on each interpreter alike

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COMMAND = Path(sys.executable).with_name("enkash-auth")
Ended = tuple[int, str, str]  # exit code, stdout, stderr
Call = Callable[..., Ended]
Doctor = Callable[..., "Findings"]
Host = Callable[..., str]
Env = pytest.MonkeyPatch
BUSY = {"kind": "rate_limited", "times": 2, "retry_after": 60}  # for Sandbox.fail_next
NO_TOKEN = {"kind": "raw", "status": 200, "body": b"{}"}


@pytest.fixture
def env(environment: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("ENKASH_TOKEN_STORE", "ENKASH_TOKEN_STORE_FILE", "NO_COLOR", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        environment.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        environment.delenv(name, raising=False)
        environment.delenv(name.upper(), raising=False)
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    return environment


@pytest.fixture
def sandbox(env: Env) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        use(env, sandbox)
        yield sandbox


@pytest.fixture
def store(env: Env, tmp_path: Path) -> Path:
    env.setenv("ENKASH_TOKEN_STORE", f"file://{tmp_path}/store")
    return tmp_path / "store"


@pytest.fixture
def call(env: Env, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process."""

    def call(*words: str) -> Ended:
        env.setattr(sys, "argv", ["enkash-auth", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def doctor(sandbox: Sandbox, call: Call) -> Doctor:
    """The doctor's findings, with these words, about the sandbox unless the test sets something else."""
    return lambda *words: Findings(call("doctor", "--json", *words))


@pytest.fixture
def asked() -> list[tuple[str, str, str | None]]:
    """What `host` was asked: method, path and Authorization."""
    return []


@pytest.fixture
def host(env: Env, asked: list[tuple[str, str, str | None]]) -> Iterator[Callable[..., str]]:
    """Start a server that answers with a status and a clock of its own, and is in EnKash's place."""

    def host(path: str = "", *, status: int = 404, date: float | str = 0.0, tls: Path | None = None) -> str:
        def answer(request: Asked, _: bytes) -> tuple[int, dict[str, str], bytes]:
            asked.append((request.command, request.path, request.headers["Authorization"]))
            now = date if isinstance(date, str) else formatdate(time.time() + date, usegmt=True)
            return status, {"Date": now, "Location": "https://xn--a/"}, b""  # that is no name

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if context and tls:
            context.load_cert_chain(tls)
        url = stack.enter_context(serving(answer, context))
        env.setenv("ENKASH_BASE_URL", url + path)
        return url

    with ExitStack() as stack:
        yield host


class Findings(dict[str, tuple[str, str]]):
    """The last finding about each thing, its level and text; `all` of them. The exit code says whether one failed."""

    def __init__(self, ended: Ended) -> None:
        self.shown = ended[1]
        self.all = [tuple(found.values()) for found in json.loads(self.shown)["findings"]]
        super().__init__({about: (level, text) for level, about, text in self.all})
        assert ended[0] == bool(self.about("fail"))

    def about(self, level: str) -> set[str]:
        return {about for found, about, _ in self.all if found == level}


def change(env: Env, settings: dict[str, str | None]) -> None:
    for name, value in settings.items():
        env.delenv(name) if value is None else env.setenv(name, value)


def use(env: Env, sandbox: Sandbox) -> None:
    change(env, {**sandbox.environment()})


def piped(*words: str) -> Ended:
    ended = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stdout, ended.stderr


def on_terminal(*words: str) -> Ended:
    """What appears on a terminal; stderr goes to a pipe, so that the two can be told apart."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([COMMAND, *words], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux says EIO once the other end is closed
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
        assert process.stderr
        return process.wait(30), shown.decode(), process.stderr.read()


def refuse(env: Env, call: Call) -> None:
    """Meet a refusal, so that the store knows of it."""
    env.setenv("ENKASH_PASSWORD", "wrong")
    assert call("token")[0] == 4


@contextmanager
def running_sandbox(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command's sandbox, until Ctrl-C, and the six lines that a shell is to read."""
    command = [COMMAND, "sandbox", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, "".join(process.stdout.readline() for _ in range(6))
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""  # a shell may come to real credentials next: it counts their passwords
        assert process.wait(30) == 0


# as a person drives it


def test_a_pipe_gets_the_token_alone(sandbox: Sandbox) -> None:
    code, out, err = piped("token")
    assert (code, err) == (0, "")
    assert out.endswith("\n")
    headers = {"Authorization": f"Bearer {out[:-1]}"}
    assert httpx.get(f"{sandbox.base_url}/api/echo", headers=headers).status_code == 200


FULL = "the output cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("token >&-", 1, "stdout is closed"),
        ("token >/dev/full", 1, FULL),
        ("token --json >/dev/full", 1, FULL),
        ("status >/dev/full", 1, FULL),
        ("doctor >/dev/full", 1, FULL),
        ("--help >/dev/full", 1, FULL),
        ("token >/dev/full 2>&1", 1, ""),
        ("status >&-", 0, ""),
        ("reset 2>/dev/full", 3, ""),
        ("reset 2>&-", 3, ""),
    ],
)
def test_what_cannot_be_written_is_an_exit_code_and_no_traceback(
    sandbox: Sandbox, words: str, code: int, says: str
) -> None:
    ended = subprocess.run(["sh", "-c", f"{COMMAND} {words}"], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert re.fullmatch(says and f"Error: {says}.*\n", ended.stderr)
    assert sandbox.token_requests == ("/dev/full" in words and words.startswith("token"))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_takes_nothing_ends_the_command(env: Env, call: Call, stream: str) -> None:
    env.setattr(sys, stream, open("/dev/full", "w"))  # noqa: PTH123, SIM115  # closed below
    full = getattr(sys, stream)
    assert call("--version" if stream == "stdout" else "reset")[0] == (1 if stream == "stdout" else 3)
    full.close()  # what it held went nowhere


@pytest.mark.parametrize("words", [["status"], ["doctor"]])
def test_a_path_that_is_no_text_can_be_shown(sandbox: Sandbox, env: Env, words: list[str]) -> None:
    env.setenv("ENKASH_ATTEMPTS", os.fsdecode(b"/dev/null/\xff/attempts.db"))
    env.setenv("PYTHONIOENCODING", "utf-8:strict")  # as in every locale but C
    code, out, err = piped(*words)
    assert (code, err) == (0, "") and r"/dev/null/\udcff/attempts.db cannot be written" in out


def test_a_token_for_a_closed_stdout_is_not_asked_for(env: Env, sandbox: Sandbox, call: Call) -> None:
    env.setattr(sys, "stdout", None)
    assert call("token")[0] == 1
    assert sandbox.token_requests == 0


def test_a_terminal_gets_the_token_and_a_warning_on_stderr(sandbox: Sandbox) -> None:
    code, shown, err = on_terminal("token")
    assert code == 0
    assert re.fullmatch(r"[\w-]+\r\n", shown)
    assert err.startswith("Warning: ")
    assert err.count("\n") == 1


def test_colour_is_for_a_terminal(sandbox: Sandbox) -> None:
    assert "\x1b[" in on_terminal("doctor")[1]
    assert "\x1b[" not in piped("doctor")[1]


def test_a_terminal_without_colour_is_respected(sandbox: Sandbox, env: Env) -> None:
    assert "\x1b[" not in on_terminal("--no-color", "doctor")[1]
    env.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_terminal("doctor")[1]


def test_the_sandbox_serves_a_shell_that_reads_its_exports(env: Env) -> None:
    words = ("--life", "60", "--fresh", "--casing", "camel", "--fault", "server_error")
    with running_sandbox(*words) as (_, exports):
        script = f'{exports}exec "$0" -v token --header'
        asked = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, text=True, timeout=30)
    assert asked.returncode == 0
    assert re.fullmatch(r"Authorization: Bearer \S+\n", asked.stdout)
    assert "requests 2" in asked.stderr  # the fault, then the token


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_pages_examples_run(env: Env, tmp_path: Path) -> None:
    ask, reset, serve, use_it = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (hidden,) = re.findall(r"`(enkash-auth token --header \| curl .*?)`", PAGE.read_text())
    env.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    env.chdir(tmp_path)
    with running_sandbox(*serve.partition(">")[0].split()[2:]) as (_, exports):
        Path("sandbox.sh").write_text(exports)
        lines = [use_it, ask, hidden, "export ENKASH_TOKEN_STORE=file://$PWD/store", reset]
        asked = subprocess.run(["bash", "-ec", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.count('{"ok": true}') == 2


def test_bash_completes_commands(env: Env) -> None:
    env.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    script = """
eval "$(_ENKASH_AUTH_COMPLETE=bash_source enkash-auth)"
COMP_WORDS=(enkash-auth st) COMP_CWORD=1
$(complete -p enkash-auth | sed 's/.*-F \\([^ ]*\\).*/\\1/') enkash-auth
echo "${COMPREPLY[@]}"
"""
    assert subprocess.check_output(["bash", "-c", script], text=True) == "status\n"


def test_ctrl_c_while_it_loads_is_one_line(env: Env) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "enkash_auth.cli._commands":
                raise KeyboardInterrupt

    env.delitem(sys.modules, "enkash_auth.cli._commands", raising=False)
    env.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit, match="Aborted!"):
        main()


def test_without_click_it_names_the_extra_in_one_line(env: Env) -> None:
    env.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=re.escape("Error: the command needs the extra enkash-auth[cli]")):
        main()


def test_verbose_logs_to_stderr(sandbox: Sandbox) -> None:
    code, out, err = piped("-v", "token")
    assert code == 0
    assert out.count("\n") == 1
    assert "enkash_auth INFO token issued" in err


# no secret


def test_nothing_but_token_shows_a_secret(env: Env, store: Path, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = [("-vv", "status"), ("-v", "doctor", "--sign-in"), ("status", "--json"), ("doctor", "--json")]
    with Sandbox(**CANARIES) as sandbox:
        use(env, sandbox)
        ended = [call("token")]
        shown = ended[0][1].strip()
        ended += [call(*line) for line in words]
        assert [code for code, _, _ in ended] == [0] * 5
        ended.append(call("reset"))
        env.setenv("ENKASH_PASSWORD", "canary-wrong")
        ended += [call("token"), *(call(*line) for line in words), call("reset")]
    everything = "".join(err for _, _, err in ended) + "".join(out for _, out, _ in ended[1:]) + caplog.text
    assert "httpcore" in caplog.text
    assert not [secret for secret in (shown, "canary") if secret in everything]


# each command


def test_version_names_package_and_spec(call: Call) -> None:
    assert re.fullmatch(r"enkash-auth \S+ \(spec \S+\)\n", call("--version")[1])


def test_help_and_the_page_document_the_exit_codes(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    codes = re.findall(r"^ +(\d)  (.+)$", out, re.MULTILINE)
    assert [number for number, _ in codes] == list("0123456")
    assert re.findall(r"^\| (\d) \| (.+) \|$", PAGE.read_text(), re.MULTILINE) == codes


def test_token_as_json_has_its_expiry(sandbox: Sandbox, call: Call) -> None:
    code, out, _ = call("token", "--json")
    assert code == 0
    assert json.loads(out).keys() == {"access_token", "expires_at"}


def test_two_forms_of_a_token_are_wrong_usage(call: Call) -> None:
    assert call("token", "--json", "--header")[0] == 2


def test_a_profile_can_be_named(sandbox: Sandbox, env: Env, call: Call, tmp_path: Path) -> None:
    settings = sandbox.environment()
    del settings["ENKASH_ATTEMPTS"]  # stays in the environment
    lines = [f'{name.removeprefix("ENKASH_").lower()} = "{value}"' for name, value in settings.items()]
    (tmp_path / "config.toml").write_text("\n".join(["[live]", *lines]))
    for name in settings:
        env.delenv(name)
    assert call("--profile", "live", "token")[0] == 0
    code, _, err = call("--profile", "other", "token")
    assert code == 3
    assert "has no table [other]" in err


@pytest.mark.parametrize(
    ("settings", "faults", "code", "word"),
    [
        ({"ENKASH_PASSWORD": None}, {}, 3, "ENKASH_PASSWORD"),
        ({"SSL_CERT_FILE": __file__}, {}, 3, "SSL_CERT_FILE"),  # it holds no certificate
        ({"ENKASH_BASE_URL": "https://\u00df\u200d.example"}, {}, 3, "ENKASH_BASE_URL"),
        ({"ENKASH_PASSWORD": "wrong"}, {}, 4, "invalid_grant"),
        ({}, BUSY, 5, "429"),
        ({}, NO_TOKEN, 6, "no usable token"),
    ],
)
def test_an_error_is_one_line_and_its_own_exit_code(
    sandbox: Sandbox, env: Env, call: Call, settings: dict[str, str | None], faults: Any, code: int, word: str
) -> None:
    change(env, settings)
    if faults:
        sandbox.fail_next(**faults)
    ended, out, err = call("token")
    assert (ended, out) == (code, "")
    assert re.fullmatch(rf"Error: .*{word}.*\n", err)


def test_two_runs_share_one_token_through_the_store(sandbox: Sandbox, store: Path, call: Call) -> None:
    assert call("token") == call("token")
    assert sandbox.token_requests == 1


def test_status_shows_the_stores_token_and_asks_nobody(sandbox: Sandbox, store: Path, call: Call) -> None:
    call("token")
    code, out, _ = call("status")
    assert code == 0
    assert re.search(r"^token +\d+ s old, expires in \d+ s, at \S+\+00:00$", out, re.MULTILINE)
    assert re.search(r"^renewal +about \S+\+00:00$", out, re.MULTILINE)
    shown = json.loads(call("status", "--json")[1])
    assert shown["token"]["renewal_at"] < shown["token"]["expires_at"]
    rest = shown["store"]["kind"], shown["refusal"], shown["backoff"], shown["ready"]
    assert rest == ("FileStore", "none", None, True)
    assert sandbox.token_requests == 1


def test_status_names_an_account_but_not_in_full(sandbox: Sandbox, call: Call) -> None:
    account = json.loads(call("status", "--json")[1])["account"]
    assert account["base_url"] == sandbox.base_url
    assert account["username"] == "sa...@example.com"
    assert account["client_id"] == "..." + sandbox.client_id[-3:]


def test_a_sticky_servers_token_is_renewed_at_expiry(sandbox: Sandbox, store: Path, call: Call) -> None:
    with TokenProvider.from_env() as provider:
        provider.invalidate(provider.token())
        provider.token()  # asked for again early in its life, the server gives the same one
    assert "at expiry: the server is sticky" in call("status")[1]


NO_STORE = ["store .*ENKASH_TOKEN_STORE", "refusal +unknown: ENKASH_ATTEMPTS is off$"]


@pytest.mark.parametrize(
    ("settings", "faults", "code", "lines"),
    [
        pytest.param({}, None, 0, ["token +none$", "refusal +none$"], id="ready while nothing forbids a sign-in"),
        pytest.param({"ENKASH_PASSWORD": "wrong"}, {}, 4, ["refusal +final: "], id="a final refusal"),
        pytest.param({}, BUSY, 5, [r"back-off +(5\d|60) s left: .*429"], id="a back-off is unavailable"),
        pytest.param({"ENKASH_TOKEN_STORE": None}, None, 0, NO_STORE, id="without a store"),
    ],
)
def test_status_without_a_token(
    sandbox: Sandbox, store: Path, env: Env, call: Call, settings: Any, faults: Any, code: int, lines: list[str]
) -> None:
    change(env, settings)
    if faults:
        sandbox.fail_next(**faults)
    if faults is not None:
        call("token")
    ended, out, err = call("status")
    assert (ended, err) == (code, "")
    assert all(re.search(f"^{line}", out, re.MULTILINE) for line in lines)
    assert call("status", "--json")[2].startswith("Error: " if code else "")


def break_store(env: Env, method: str = "_read") -> None:
    def fails(*_: object) -> None:
        raise OSError

    env.setattr(f"enkash_auth.stores.FileStore.{method}", fails)


def test_a_store_that_fails_is_reported_and_forbids_nothing(
    sandbox: Sandbox, store: Path, env: Env, call: Call
) -> None:
    call("token")
    break_store(env)
    code, out, _ = call("status")
    assert code == 0
    assert re.search(r"^store +FileStore: the token store /.* failed: OSError", out, re.MULTILINE)


def test_reset_forgets_the_refusal(sandbox: Sandbox, store: Path, env: Env, call: Call) -> None:
    refuse(env, call)
    assert call("token")[0] == 4
    assert sandbox.token_requests == 1
    assert call("reset")[0] == 0
    assert call("status")[0] == 0
    call("token")
    assert sandbox.token_requests == 2


@pytest.mark.parametrize(
    ("named", "code", "why"),
    [("off", 3, "ENKASH_ATTEMPTS is off"), ("/dev/null/x/y", 1, "/dev/null/x/y cannot be written (Not a directory)")],
)
def test_that_passwords_are_not_counted_is_said(
    env: Env, call: Call, doctor: Doctor, named: str, code: int, why: str
) -> None:
    env.setenv("ENKASH_ATTEMPTS", named)
    ended, out, err = call("reset")
    assert (ended, out) == (code, "") and why in err and "restart them" in err
    assert why in call("status")[1] and json.loads(call("status", "--json")[1])["attempts"]["trouble"] == why
    assert doctor()["attempts"][1].startswith(why)


def test_a_file_of_attempts_on_a_full_disk_is_said_and_not_taken_for_reset(
    env: Env, call: Call, doctor: Doctor, tmp_path: Path
) -> None:
    env.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    refuse(env, call)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        code, out, err = call("reset")
        found, status = doctor(), call("status")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, out) == (1, "") and "nothing was reset" in err
    assert "cannot be written" in found["attempts"][1] and found["refusal"][0] == "fail"
    assert status[0] == 4 and "final" in status[1]


@pytest.mark.parametrize(
    ("lock", "refusal"), [("BEGIN IMMEDIATE", "unknown"), ("SELECT * FROM ledgers", "final")], ids=["written", "read"]
)
def test_a_file_of_attempts_that_is_locked_is_said_and_not_taken_for_no_refusal(
    env: Env, call: Call, doctor: Doctor, tmp_path: Path, lock: str, refusal: str
) -> None:
    env.setenv("ENKASH_ATTEMPTS", str(path := tmp_path / "attempts.db"))
    refuse(env, call)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        reading = file.execute(lock)  # until it is closed, if there are rows
        code, out, err = call("reset")
        assert (code, out) == (5, "") and f"another process keeps {path} locked" in err
        assert json.loads(call("status", "--json")[1])["refusal"] == refusal
        found = doctor("--sign-in")
        assert found["attempts"][0] == "fail" and "no password leaves" in found["attempts"][1]
        assert not found.keys() & {"refusal", "sign-in"}
        reading.close()
    assert call("status")[0] == 4


def test_reset_reports_a_store_that_does_not_answer(sandbox: Sandbox, env: Env, call: Call) -> None:
    env.setenv("ENKASH_TOKEN_STORE", "redis://:canary@127.0.0.1:1/0")
    code, _, err = call("reset")
    assert code == 5
    assert re.fullmatch("Error: .*token store 127.0.0.1:1 failed: connection refused.*\n", err)
    assert "canary" not in err


def test_the_sandbox_speaks_a_dialect_and_has_an_outage(env: Env) -> None:
    with running_sandbox("--dialect", "keycloak", "--outage", "lost", "--fault", "503") as (process, exports):
        settings = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
        form = {"username": settings["ENKASH_USERNAME"], "password": "wrong", "grant_type": "password"}
        pair = (settings["ENKASH_CLIENT_ID"], settings["ENKASH_CLIENT_SECRET"])
        url = f"{settings['ENKASH_BASE_URL']}/oauth/token"
        assert httpx.post(url, data=form, auth=pair).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):  # decided, then lost
            httpx.post(url, data=form, auth=pair)
        assert process.stderr
        assert process.stderr.readline().startswith("The sandbox runs at")
        assert process.stderr.readline() == "refused: 1 of 3 wrong passwords\n"


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ("--dialect", "keyclok", "did you mean 'keycloak'? There are spring, "),
        ("--outage", "html_503", "unknown fault 'html_503'; did you mean 'html_502'? There are server_error, "),
        ("--fault", "x", "unknown fault 'x'; there are server_error, "),
    ],
)
def test_a_mistyped_dialect_outage_or_fault_says_what_there_is(
    env: Env, call: Call, option: str, name: str, says: str
) -> None:
    code, _, err = call("sandbox", option, name)
    assert code == 2
    assert says in err


def test_the_sandbox_names_its_extra(env: Env, call: Call) -> None:
    env.setitem(sys.modules, "uvicorn", None)
    code, _, err = call("sandbox", "--fault", "slow")
    assert code == 3
    assert "enkash-auth[testing]" in err


# the doctor


def test_the_doctor_asks_with_no_password_unless_asked(sandbox: Sandbox, store: Path, doctor: Doctor) -> None:
    for words, says, requests in [
        ([], "--sign-in", 0),
        (["--sign-in"], "a token that expires at", 1),
        (["--sign-in"], "no request was sent", 1),
    ]:
        found = doctor(*words)
        assert says in found["sign-in"][1] and not found.about("fail")
        assert sandbox.token_requests == requests


def test_the_doctor_never_signs_in_after_a_final_refusal(
    sandbox: Sandbox, store: Path, env: Env, call: Call, doctor: Doctor
) -> None:
    refuse(env, call)
    level, text = doctor("--sign-in")["refusal"]
    assert level == "fail" and "enkash-auth reset" in text
    assert sandbox.token_requests == 1


def test_the_doctor_never_signs_in_while_it_cannot_see_refusals(
    sandbox: Sandbox, store: Path, env: Env, call: Call, doctor: Doctor
) -> None:
    call("token")
    break_store(env)
    assert doctor("--sign-in")["store"][0] == "fail"
    assert sandbox.token_requests == 1


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_the_doctor_says_that_the_store_cannot_be_written(
    sandbox: Sandbox, store: Path, call: Call, doctor: Doctor, env: Env, used: bool
) -> None:
    if used:
        call("token")
    break_store(env, "_write")
    if not used:
        assert "whether it can be written, doctor --sign-in tries" in doctor()["store"][1]
    found = doctor(*([] if used else ["--sign-in"]))
    level, text = found["store"]
    assert level == "fail" and text.startswith(f"the token store {store} failed") and "check its space" in text
    assert "the store comes first" in found["sign-in"][1]
    assert sandbox.token_requests == used


def test_two_doctors_at_once_find_that_the_store_can_be_written(store: Path, call: Call, doctor: Doctor) -> None:
    call("token")
    assert FileStore(store).lock("doctor", 60)
    assert doctor()["store"][0] == "ok"


def test_the_doctor_says_that_no_thread_can_start(doctor: Doctor, env: Env) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with env.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        found = doctor("--sign-in")
    assert found["threads"][0] == "fail" and "raise the limit" in found["threads"][1]
    assert found["sign-in"][0] == "fail"


def test_the_doctor_warns_of_processes_that_share_no_token(doctor: Doctor) -> None:
    assert doctor()["store"][0] == "warn"


def test_the_doctor_names_where_settings_come_from(sandbox: Sandbox, env: Env, doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "enkash_password").write_text("shadowed")
    (tmp_path / "config.toml").write_text('[live]\nusername = "shadowed"\npassword = "shadowed"\n')
    (tmp_path / "secret").write_text(sandbox.client_secret)
    (tmp_path / "secret").chmod(0o604)
    secret = {"ENKASH_CLIENT_SECRET": None, "ENKASH_CLIENT_SECRET_FILE": str(tmp_path / "secret")}
    change(env, {**secret, "ENKASH_PROFILE": "live"})
    found = doctor()
    assert found["ENKASH_CLIENT_ID"] == ("ok", "from the variable ENKASH_CLIENT_ID")
    assert found["ENKASH_USERNAME"][1].startswith("from the variable ENKASH_USERNAME, which shadows the profile")
    assert "shadows the secrets directory and the profile" in found["ENKASH_PASSWORD"][1]
    assert "from the file of ENKASH_CLIENT_SECRET_FILE" in found.shown
    assert "chmod o=" in found["ENKASH_CLIENT_SECRET"][1]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"ENKASH_PROFILE": "live"}, "profile 'live'"),
        ({"ENKASH_PASSWORD": ""}, "ENKASH_PASSWORD"),
        ({"ENKASH_PASSWORD": None, "ENKASH_PASSWORD_FILE": "/nowhere"}, "ENKASH_PASSWORD_FILE"),
        ({"ENKASH_TOKEN_STORE": "ftp://"}, "ENKASH_TOKEN_STORE"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE"),
    ],
)
def test_the_doctor_ends_with_settings_that_cannot_work(
    sandbox: Sandbox, env: Env, call: Call, settings: dict[str, str | None], word: str
) -> None:
    change(env, settings)
    code, out, _ = call("doctor")
    assert code == 1
    assert re.search(rf"^fail  configuration: .*{word}.*\n\Z", out, re.MULTILINE)


NOBODY = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("settings", "about", "level", "word"),
    [
        ({"ENKASH_CLIENT_ID": "company"}, "ENKASH_CLIENT_ID", "warn", "CEK"),
        ({"ENKASH_USERNAME": "me@example.com "}, "ENKASH_USERNAME", "warn", "blank"),
        ({"ENKASH_BASE_URL": f"{NOBODY}/oauth/token"}, "ENKASH_BASE_URL", "warn", "/oauth/token/oauth/token"),
        ({"ENKASH_BASE_URL": NOBODY}, "connection", "fail", "no answer from 127.0.0.1:1: connection refused; check"),
        ({"ENKASH_ORIGINS": ""}, "origins", "ok", "in ENKASH_ORIGINS"),
        ({"ENKASH_ORIGINS": "https://127.0.0.1/api"}, "origins", "ok", "tokens go to https://127.0.0.1:443 only"),
        ({"ENKASH_ORIGINS": "http://a.example"}, "origins", "fail", "ENKASH_ORIGINS: origin 1 must be https"),
        ({"ENKASH_ORIGINS": "https://api.example"}, "DNS", "fail", "api.example has no address: check ENKASH_ORIGINS"),
        ({"ENKASH_BASE_URL": "https://api.example"}, "DNS", "fail", "api.example has no address: check ENKASH_BASE_"),
    ],
)
def test_the_doctor_says_which_setting_is_or_looks_wrong(
    env: Env, doctor: Doctor, settings: dict[str, str | None], about: str, level: str, word: str
) -> None:
    look_up = socket.getaddrinfo

    def unknown(name: str, *args: Any, **options: Any) -> Any:
        if name == "api.example":
            raise socket.gaierror
        return look_up(name, *args, **options)

    env.setattr(socket, "getaddrinfo", unknown)
    change(env, settings)
    found = doctor()
    assert [one[0] for one in found.all if one[1] == about and word in one[2]] == [level]
    assert "//a.example" not in found.shown


@pytest.mark.parametrize(
    ("date", "level", "word"),
    [
        (0.0, "ok", "within"),
        (-90.0, "warn", "ahead of the server"),
        (90.0, "warn", "behind the server"),
        ("never", "warn", "sends no time"),
    ],
)
def test_the_doctor_compares_clocks(doctor: Doctor, host: Host, date: float | str, level: str, word: str) -> None:
    host(date=date)
    found = doctor()["clock"]
    assert found[0] == level and word in found[1]


@pytest.mark.parametrize(
    ("status", "level", "word"),
    [
        (401, "ok", "not stock Spring"),
        (405, "ok", "takes no HEAD"),
        (200, "warn", "may be no token endpoint"),
        (302, "warn", "redirect"),
        (403, "warn", "allow-list"),
        (404, "warn", "ENKASH_BASE_URL"),
        (429, "warn", "busy"),
        (502, "fail", "out of order"),
        (520, "fail", "out of order"),
    ],
)
def test_the_doctor_says_what_the_token_endpoint_answers_to_a_head_without_credentials(
    doctor: Doctor, host: Host, asked: list[Any], status: int, level: str, word: str
) -> None:
    host("/uat/", status=status)
    found = doctor()["server"]
    assert (found[0], f"answers {status}" in found[1], word in found[1]) == (level, True, True)
    assert asked == [("HEAD", "/uat/oauth/token", None)]


def test_the_doctor_ends_while_a_server_drips_headers(env: Env, doctor: Doctor) -> None:
    ended = threading.Event()

    def drip(request: Asked, _: bytes) -> tuple[int, dict[str, str], bytes]:
        with suppress(OSError):
            while not ended.wait(0.01):
                request.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        return 500, {}, b""

    env.setattr("enkash_auth.cli._host._PATIENCE", 0.1)
    with serving(drip) as url:
        env.setenv("ENKASH_BASE_URL", url)
        assert "timeout" in doctor()["connection"][1]
        ended.set()


def test_the_doctor_knows_stock_spring_its_clock_and_a_file_of_attempts(
    sandbox: Sandbox, env: Env, doctor: Doctor, tmp_path: Path
) -> None:
    env.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    found = doctor()
    assert found["server"] == (
        "ok",
        'answers as stock Spring Security OAuth (401 Basic realm="oauth2/client"): host and path are right',
    )
    assert (found["clock"][0], "attempts" in found, found["refusal"][0]) == ("ok", False, "ok")
    assert sandbox.token_requests == 0


@pytest.mark.parametrize(
    ("settings", "failed"),
    [
        ({"ENKASH_PASSWORD": "wrong"}, {"ENKASH_USERNAME", "ENKASH_PASSWORD", "sign-in"}),
        ({"ENKASH_CLIENT_SECRET": "wrong"}, {"ENKASH_CLIENT_ID", "ENKASH_CLIENT_SECRET", "sign-in"}),
        ({"ENKASH_BASE_URL": "https://{host}"}, {"ENKASH_BASE_URL", "connection", "sign-in"}),
        ({"ENKASH_ORIGINS": "http://a.example"}, {"ENKASH_ORIGINS", "origins"}),
        ({"ENKASH_USERNAME": None, "ENKASH_USERNAME_FILE": "/nowhere"}, {"ENKASH_USERNAME", "configuration"}),
        ({"ENKASH_TOKEN_STORE": "redis://127.0.0.1"}, {"ENKASH_TOKEN_STORE", "extras", "configuration"}),
    ],
)
def test_the_doctor_says_ok_of_nothing_that_a_later_line_fails(
    sandbox: Sandbox, env: Env, doctor: Doctor, settings: dict[str, str | None], failed: set[str]
) -> None:
    env.setitem(sys.modules, "enkash_auth.stores._redis", None)  # as without the extra
    host = sandbox.base_url.partition("//")[2]
    change(env, {name: value and value.format(host=host) for name, value in settings.items()})
    found = doctor("--sign-in")
    assert found.about("fail") == failed
    assert not failed & found.about("ok")
    assert ("refusal" in found.about("ok")) is False


@pytest.mark.parametrize(
    ("dialect", "level", "meaning"),
    [
        ("spring", "fail", "lock the account. The settings are ENKASH_USERNAME and ENKASH_PASSWORD"),
        ("basic-401", "fail", "The settings are ENKASH_CLIENT_ID"),
        ("envelope-200", "warn", "what may be a refusal counts"),
        ("502", "warn", "they are sent minutes apart"),
        ("429", "warn", "Services wait and ask again by themselves"),
    ],
)
def test_the_doctor_explains_a_refusal_and_a_back_off(
    sandbox: Sandbox, store: Path, call: Call, doctor: Doctor, dialect: str, level: str, meaning: str
) -> None:
    sandbox.start_outage(dialect)
    for _ in range(2):
        assert call("token")[0] in (4, 5, 6)
    sandbox.end_outage()
    found = doctor()["back-off" if dialect == "429" else "refusal"]
    assert (found[0], meaning in found[1], "enkash-auth doctor" in found[1]) == (level, True, False)


def test_the_doctor_explains_a_sign_in_that_brings_no_token(sandbox: Sandbox, doctor: Doctor) -> None:
    sandbox.fail_next(**NO_TOKEN)
    assert "what may be a refusal counts" in doctor("--sign-in")["sign-in"][1]


@pytest.mark.parametrize(
    ("days", "trusted", "finding"),
    [
        pytest.param(1, True, ("TLS", "warn", "tell the operator of the host"), id="expires soon"),
        pytest.param(90, True, ("TLS", "ok", "expires in"), id="good"),
        pytest.param(-1, True, ("connection", "fail", "expired.*check the clock of this machine"), id="expired"),
        pytest.param(
            90, False, ("connection", "fail", "certificate verify failed.*set SSL_CERT_FILE"), id="not trusted"
        ),
        pytest.param(None, False, ("connection", "fail", "TLS failed.*an https port"), id="no TLS"),
    ],
)
def test_the_doctor_looks_at_the_certificate(
    env: Env, doctor: Doctor, host: Host, tmp_path: Path, days: Any, trusted: bool, finding: Any
) -> None:
    pem = certificate(tmp_path, days) if days else None
    if trusted:
        env.setenv("SSL_CERT_FILE", str(pem))
    env.setenv("ENKASH_BASE_URL", host(tls=pem).replace("http:", "https:"))
    about, level, word = finding
    found = doctor()[about]
    assert found[0] == level and re.search(word, found[1])


@pytest.mark.parametrize(
    ("scheme", "tls", "cause"),
    [
        ("rediss", True, "certificate verify failed (self-signed certificate in certificate chain)"),
        ("rediss", False, "TLS failed ("),
        ("rediss", None, "connection refused"),
        ("redis", None, "connection refused"),
    ],
)
def test_the_doctor_says_why_a_redis_does_not_answer(
    env: Env, doctor: Doctor, host: Host, sandbox: Sandbox, tmp_path: Path, scheme: str, tls: bool | None, cause: str
) -> None:
    url = host(tls=certificate(tmp_path) if tls else None)
    place = "127.0.0.1:1" if tls is None else url.partition("//")[2]
    use(env, sandbox)
    env.setenv("ENKASH_TOKEN_STORE", f"{scheme}://user:canary@{place}/0")
    found = doctor()
    assert found["store"][0] == "fail" and f"{place} failed: {cause}" in found["store"][1]
    assert "canary" not in found.shown


def test_the_doctor_leaves_names_to_a_proxy(env: Env, doctor: Doctor, host: Host) -> None:
    change(env, {"https_proxy": host(), "ENKASH_BASE_URL": "https://token.example"})
    found = doctor()
    assert "proxy" in found["DNS"][1]
    level, text = found["connection"]  # this one carries no TLS
    assert level == "fail" and "token.example:443, through the proxy that is set: the proxy refused" in text


def test_the_doctor_lists_the_extras(env: Env, doctor: Doctor) -> None:
    env.setattr("enkash_auth.cli._doctor.requires", lambda name: [*(requires(name) or []), "absent; extra == 'none'"])
    level, text = doctor()["extras"]
    assert level == "ok"
    assert re.match(r"cli, .*testing can be used; .*none$", text)
