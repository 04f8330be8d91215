"""`enkash-auth`, as a person drives it (a terminal and a pipe) and command by command."""

import http.server
import json
import logging
import os
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import CANARIES
from enkash_auth import TokenProvider
from enkash_auth.cli import main
from enkash_auth.testing import Sandbox
from proxy import certificate

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COMMAND = Path(sys.executable).with_name("enkash-auth")
Ended = tuple[int, str, str]  # exit code, stdout, stderr
Call = Callable[..., Ended]


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
def sandbox(env: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        use(env, sandbox)
        yield sandbox


@pytest.fixture
def store(env: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    env.setenv("ENKASH_TOKEN_STORE", f"file://{tmp_path}/store")
    return tmp_path / "store"


@pytest.fixture
def call(env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process."""

    def call(*words: str) -> Ended:
        env.setattr(sys, "argv", ["enkash-auth", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def use(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    for name, value in sandbox.environment().items():
        env.setenv(name, value)


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


def refuse(env: pytest.MonkeyPatch, call: Call) -> None:
    """Meet a refusal, so that the store knows of it."""
    env.setenv("ENKASH_PASSWORD", "wrong")
    assert call("token")[0] == 4


def findings(ended: Ended) -> dict[str, tuple[str, str]]:
    """The last finding about each thing: its level and text."""
    return {found["about"]: (found["level"], found["text"]) for found in json.loads(ended[1])["findings"]}


# as a person drives it


@pytest.mark.once
def test_a_pipe_gets_the_token_alone(sandbox: Sandbox) -> None:
    code, out, err = piped("token")
    assert (code, err) == (0, "")
    assert out.endswith("\n")
    headers = {"Authorization": f"Bearer {out[:-1]}"}
    assert httpx.get(f"{sandbox.base_url}/api/echo", headers=headers).status_code == 200


FULL = "the output cannot be written: No space left on device"


@pytest.mark.once
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
def test_a_stream_that_takes_nothing_ends_the_command(env: pytest.MonkeyPatch, call: Call, stream: str) -> None:
    env.setattr(sys, stream, open("/dev/full", "w"))  # noqa: PTH123, SIM115  # closed below
    full = getattr(sys, stream)
    assert call("--version" if stream == "stdout" else "reset")[0] == (1 if stream == "stdout" else 3)
    full.close()  # what it held went nowhere


def test_a_token_for_a_closed_stdout_is_not_asked_for(env: pytest.MonkeyPatch, sandbox: Sandbox, call: Call) -> None:
    env.setattr(sys, "stdout", None)
    assert call("token")[0] == 1
    assert sandbox.token_requests == 0


@pytest.mark.once
def test_a_terminal_gets_the_token_and_a_warning_on_stderr(sandbox: Sandbox) -> None:
    code, shown, err = on_terminal("token")
    assert code == 0
    assert re.fullmatch(r"[\w-]+\r\n", shown)
    assert err.startswith("Warning: ")
    assert err.count("\n") == 1


@pytest.mark.once
def test_colour_is_for_a_terminal(sandbox: Sandbox) -> None:
    assert "\x1b[" in on_terminal("doctor")[1]
    assert "\x1b[" not in piped("doctor")[1]


@pytest.mark.once
def test_a_terminal_without_colour_is_respected(sandbox: Sandbox, env: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in on_terminal("--no-color", "doctor")[1]
    env.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_terminal("doctor")[1]


@pytest.mark.once
def test_the_sandbox_serves_a_shell_that_reads_its_exports(env: pytest.MonkeyPatch) -> None:
    command = [COMMAND, "sandbox", "--life", "60", "--fresh", "--casing", "camel", "--fault", "server_error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        exports = "".join(process.stdout.readline() for _ in range(6))
        script = f'{exports}exec "$0" -v token --header'
        asked = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, text=True, timeout=30)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""  # a shell may come to real credentials next: it counts their passwords
        assert process.wait(30) == 0
    assert asked.returncode == 0
    assert re.fullmatch(r"Authorization: Bearer \S+\n", asked.stdout)
    assert "requests 2" in asked.stderr  # the fault, then the token


@pytest.mark.once
@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_pages_examples_run(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask, reset, serve, use_it = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (hidden,) = re.findall(r"`(enkash-auth token --header \| curl .*?)`", PAGE.read_text())
    env.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    env.chdir(tmp_path)
    with subprocess.Popen(["bash", "-c", f"exec {serve.partition('>')[0]}"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        Path("sandbox.sh").write_bytes(b"".join(process.stdout.readline() for _ in range(6)))
        lines = [use_it, ask, hidden, "export ENKASH_TOKEN_STORE=file://$PWD/store", reset]
        asked = subprocess.run(["bash", "-ec", "\n".join(lines)], capture_output=True, text=True, timeout=60)
        process.send_signal(signal.SIGINT)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.count('{"ok": true}') == 2


@pytest.mark.once
def test_bash_completes_commands(env: pytest.MonkeyPatch) -> None:
    env.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    script = """
eval "$(_ENKASH_AUTH_COMPLETE=bash_source enkash-auth)"
COMP_WORDS=(enkash-auth st) COMP_CWORD=1
$(complete -p enkash-auth | sed 's/.*-F \\([^ ]*\\).*/\\1/') enkash-auth
echo "${COMPREPLY[@]}"
"""
    assert subprocess.check_output(["bash", "-c", script], text=True) == "status\n"


def test_without_click_it_names_the_extra_in_one_line(env: pytest.MonkeyPatch) -> None:
    env.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=re.escape("Error: the command needs the extra enkash-auth[cli]")):
        main()


@pytest.mark.once
def test_verbose_logs_to_stderr(sandbox: Sandbox) -> None:
    code, out, err = piped("-v", "token")
    assert code == 0
    assert out.count("\n") == 1
    assert "enkash_auth INFO token issued" in err


# no secret


def test_nothing_but_token_shows_a_secret(
    env: pytest.MonkeyPatch, store: Path, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_profile_can_be_named(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path) -> None:
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


def unset(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.delenv("ENKASH_PASSWORD")


def wrong(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setenv("ENKASH_PASSWORD", "wrong")


def busy(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    sandbox.fail_next("rate_limited", times=2, retry_after=60)


def mute(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    sandbox.fail_next("raw", status=200, body=b"{}")


def nowhere(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setenv("ENKASH_BASE_URL", "https://\u00df\u200d.example")


def untrusting(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setenv("SSL_CERT_FILE", __file__)  # no certificates


@pytest.mark.parametrize(
    ("trouble", "code", "word"),
    [
        (unset, 3, "ENKASH_PASSWORD"),
        (untrusting, 3, "SSL_CERT_FILE"),
        (nowhere, 3, "ENKASH_BASE_URL"),
        (wrong, 4, "invalid_grant"),
        (busy, 5, "429"),
        (mute, 6, "no usable token"),
    ],
)
def test_an_error_is_one_line_and_its_own_exit_code(
    sandbox: Sandbox,
    env: pytest.MonkeyPatch,
    call: Call,
    trouble: Callable[[pytest.MonkeyPatch, Sandbox], None],
    code: int,
    word: str,
) -> None:
    trouble(env, sandbox)
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
    assert (shown["store"]["kind"], shown["refusal"], shown["backoff"], shown["ready"]) == (
        "FileStore",
        "none",
        None,
        True,
    )
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


def test_status_without_a_token_is_ready_while_nothing_forbids_one(sandbox: Sandbox, store: Path, call: Call) -> None:
    code, out, _ = call("status")
    assert code == 0
    assert re.search(r"^token +none$", out, re.MULTILINE)
    assert re.search(r"^refusal +none$", out, re.MULTILINE)


def test_status_without_a_store_says_so(sandbox: Sandbox, call: Call) -> None:
    code, out, _ = call("status")
    assert code == 0
    assert "ENKASH_TOKEN_STORE" in out
    assert re.search(r"^refusal +unknown: ENKASH_ATTEMPTS is off$", out, re.MULTILINE)


def test_status_with_a_final_refusal_is_a_refusal(
    sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call
) -> None:
    refuse(env, call)
    code, out, err = call("status")
    assert code == 4
    assert re.search(r"^refusal +final: ", out, re.MULTILINE) and not err
    assert call("status", "--json")[2].startswith("Error: ")


def test_status_during_a_back_off_is_unavailable(sandbox: Sandbox, store: Path, call: Call) -> None:
    sandbox.fail_next("rate_limited", times=2, retry_after=60)
    call("token")
    code, out, _ = call("status")
    assert code == 5
    assert re.search(r"^back-off +(5\d|60) s left: .*429", out, re.MULTILINE)


def fails(*_: object) -> None:
    raise OSError


def test_a_store_that_fails_is_reported_and_forbids_nothing(
    sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call
) -> None:
    call("token")
    env.setattr("enkash_auth.stores.FileStore._read", fails)
    code, out, _ = call("status")
    assert code == 0
    assert re.search(r"^store +FileStore: the token store /.* failed: OSError", out, re.MULTILINE)


def test_reset_forgets_the_refusal(sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call) -> None:
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
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, named: str, code: int, why: str
) -> None:
    env.setenv("ENKASH_ATTEMPTS", named)
    ended, out, err = call("reset")
    assert (ended, out) == (code, "") and why in err and "restart them" in err
    assert why in call("status")[1] and json.loads(call("status", "--json")[1])["attempts"]["trouble"] == why
    assert findings(call("doctor", "--json"))["attempts"][1].startswith(why)


def test_reset_reports_a_store_that_does_not_answer(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    env.setenv("ENKASH_TOKEN_STORE", "redis://:canary@127.0.0.1:1/0")
    code, _, err = call("reset")
    assert code == 5
    assert re.fullmatch("Error: .*token store 127.0.0.1:1 failed: connection refused.*\n", err)
    assert "canary" not in err


@pytest.mark.once
def test_the_sandbox_speaks_a_dialect_and_has_an_outage(env: pytest.MonkeyPatch) -> None:
    command = [COMMAND, "sandbox", "--dialect", "keycloak", "--outage", "lost", "--fault", "503"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        lines = [process.stdout.readline() for _ in range(6)]
        settings = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        form = {"username": settings["ENKASH_USERNAME"], "password": "wrong", "grant_type": "password"}
        pair = (settings["ENKASH_CLIENT_ID"], settings["ENKASH_CLIENT_SECRET"])
        url = f"{settings['ENKASH_BASE_URL']}/oauth/token"
        assert httpx.post(url, data=form, auth=pair).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):  # decided, then lost
            httpx.post(url, data=form, auth=pair)
        assert process.stderr.readline().startswith("The sandbox runs at")
        assert process.stderr.readline() == "refused: 1 of 3 wrong passwords\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ("--dialect", "keyclok", "did you mean 'keycloak'? There are spring, "),
        ("--outage", "html_503", "unknown fault 'html_503'; did you mean 'html_502'? There are server_error, "),
        ("--fault", "x", "unknown fault 'x'; there are server_error, "),
    ],
)
def test_a_mistyped_dialect_outage_or_fault_says_what_there_is(
    env: pytest.MonkeyPatch, call: Call, option: str, name: str, says: str
) -> None:
    code, _, err = call("sandbox", option, name)
    assert code == 2
    assert says in err


def test_the_sandbox_names_its_extra(env: pytest.MonkeyPatch, call: Call) -> None:
    env.setitem(sys.modules, "uvicorn", None)
    code, _, err = call("sandbox", "--fault", "slow")
    assert code == 3
    assert "enkash-auth[testing]" in err


# the doctor


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD with a status and a clock of its own, and counts whatever else is asked."""

    ahead, others = 0.0, 0
    status, heads = 404, list[tuple[str, str | None]]()

    def do_HEAD(self) -> None:
        self.heads.append((self.path, self.headers["Authorization"]))
        self.send_response(self.status)
        self.send_header("Location", "https://xn--a/")  # no name
        self.end_headers()

    def do_POST(self) -> None:
        type(self).others += 1
        self.send_error(500)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(time.time() + self.ahead, usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def host(ahead: float = 0.0, tls: Path | None = None) -> Iterator[str]:
    """A server that tells the time."""
    Handler.ahead, Handler.others = ahead, 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_doctor_asks_with_no_password_unless_asked(sandbox: Sandbox, store: Path, call: Call) -> None:
    ended = call("doctor", "--json")
    assert ended[0] == 0
    assert "--sign-in" in findings(ended)["sign-in"][1]
    assert sandbox.token_requests == 0
    assert "a token that expires at" in findings(call("doctor", "--sign-in", "--json"))["sign-in"][1]
    assert sandbox.token_requests == 1
    assert "no request was sent" in findings(call("doctor", "--sign-in", "--json"))["sign-in"][1]
    assert sandbox.token_requests == 1


def test_the_doctor_never_signs_in_after_a_final_refusal(
    sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call
) -> None:
    refuse(env, call)
    ended = call("doctor", "--sign-in", "--json")
    assert ended[0] == 1
    level, text = findings(ended)["refusal"]
    assert level == "fail"
    assert "enkash-auth reset" in text
    assert sandbox.token_requests == 1


def test_the_doctor_never_signs_in_while_it_cannot_see_refusals(
    sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call
) -> None:
    call("token")
    env.setattr("enkash_auth.stores.FileStore._read", fails)
    ended = call("doctor", "--sign-in", "--json")
    assert ended[0] == 1
    assert findings(ended)["store"][0] == "fail"
    assert sandbox.token_requests == 1


def test_the_doctor_reports_a_refusal(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    wrong(env, sandbox)
    ended = call("doctor", "--sign-in", "--json")
    assert ended[0] == 1
    assert findings(ended)["sign-in"][0] == "fail"
    assert findings(ended)["store"][0] == "warn"


def test_the_doctor_reports_a_back_off(sandbox: Sandbox, store: Path, call: Call) -> None:
    sandbox.fail_next("rate_limited", times=2, retry_after=60)
    call("token")
    assert findings(call("doctor", "--json"))["back-off"][0] == "warn"


def test_the_doctor_names_where_settings_come_from(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "enkash_password").write_text("shadowed")
    (tmp_path / "config.toml").write_text('[live]\nusername = "shadowed"\npassword = "shadowed"\n')
    (tmp_path / "secret").write_text(sandbox.client_secret)
    (tmp_path / "secret").chmod(0o604)
    env.delenv("ENKASH_CLIENT_SECRET")
    env.setenv("ENKASH_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    ended = call("--profile", "live", "doctor", "--json")
    found = findings(ended)
    assert found["ENKASH_CLIENT_ID"] == ("ok", "from the variable ENKASH_CLIENT_ID")
    assert found["ENKASH_USERNAME"][1].startswith("from the variable ENKASH_USERNAME, which shadows the profile")
    assert "shadows the secrets directory and the profile" in found["ENKASH_PASSWORD"][1]
    assert "from the file of ENKASH_CLIENT_SECRET_FILE" in ended[1]
    assert "chmod o=" in found["ENKASH_CLIENT_SECRET"][1]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("ENKASH_PROFILE", "live", "profile 'live'"),
        ("ENKASH_PASSWORD", "", "ENKASH_PASSWORD"),
        ("ENKASH_TOKEN_STORE", "ftp://", "ENKASH_TOKEN_STORE"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE"),
    ],
)
def test_the_doctor_ends_with_settings_that_cannot_work(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, name: str, value: str, word: str
) -> None:
    env.setenv(name, value)
    code, out, _ = call("doctor")
    assert code == 1
    assert re.search(rf"^fail  configuration: .*{word}.*\n\Z", out, re.MULTILINE)


def test_the_doctor_leaves_a_missing_file_to_the_settings(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call
) -> None:
    env.delenv("ENKASH_PASSWORD")
    env.setenv("ENKASH_PASSWORD_FILE", "/nowhere")
    assert "ENKASH_PASSWORD_FILE" in findings(call("doctor", "--json"))["configuration"][1]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("ENKASH_CLIENT_ID", "company", "CEK"),
        ("ENKASH_USERNAME", "me@example.com ", "blank"),
        ("ENKASH_BASE_URL", "http://127.0.0.1:1/oauth/token", "/oauth/token/oauth/token"),
    ],
)
def test_the_doctor_warns_of_a_setting_that_looks_wrong(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, name: str, value: str, word: str
) -> None:
    env.setenv(name, value)
    found = [entry for entry in json.loads(call("doctor", "--json")[1])["findings"] if entry["about"] == name]
    assert [entry["level"] for entry in found if word in entry["text"]] == ["warn"]


@pytest.mark.parametrize(
    ("ahead", "level", "word"),
    [(0.0, "ok", "within"), (-90.0, "warn", "ahead of the server"), (90.0, "warn", "behind the server")],
)
def test_the_doctor_compares_clocks(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, ahead: float, level: str, word: str
) -> None:
    with host(ahead) as url:
        env.setenv("ENKASH_BASE_URL", url)
        found = findings(call("doctor", "--json"))["clock"]
    assert found[0] == level
    assert word in found[1]
    assert Handler.others == 0


def test_the_doctor_warns_of_a_server_without_a_clock(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    env.setattr(Handler, "date_time_string", lambda *_: "never")
    with host() as url:
        env.setenv("ENKASH_BASE_URL", url)
        assert findings(call("doctor", "--json"))["clock"][0] == "warn"


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
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, status: int, level: str, word: str
) -> None:
    env.setattr(Handler, "status", status)
    env.setattr(Handler, "heads", [])
    with host() as url:
        env.setenv("ENKASH_BASE_URL", f"{url}/uat/")
        found = findings(call("doctor", "--json"))["server"]
    assert (found[0], f"answers {status}" in found[1], word in found[1]) == (level, True, True)
    assert Handler.heads == [("/uat/oauth/token", None)]
    assert Handler.others == 0


def test_the_doctor_ends_while_a_server_drips_headers(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    ended = threading.Event()

    def drip(handler: Handler) -> None:
        with suppress(OSError):
            while not ended.wait(0.01):
                handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")

    env.setattr(Handler, "do_HEAD", drip)
    env.setattr("enkash_auth.cli._host._PATIENCE", 0.1)
    with host() as url:
        env.setenv("ENKASH_BASE_URL", url)
        assert "timeout" in findings(call("doctor", "--json"))["connection"][1]
        ended.set()


def test_the_doctor_knows_stock_spring_and_its_clock(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path
) -> None:
    env.setenv("ENKASH_ATTEMPTS", str(tmp_path / "attempts.db"))
    found = findings(call("doctor", "--json"))
    assert found["server"] == (
        "ok",
        'answers as stock Spring Security OAuth (401 Basic realm="oauth2/client"): host and path are right',
    )
    assert (found["clock"][0], "attempts" in found) == ("ok", False)
    assert sandbox.token_requests == 0


def client(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setenv("ENKASH_CLIENT_SECRET", "wrong")


def elsewhere(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setenv("ENKASH_BASE_URL", sandbox.base_url.replace("http:", "https:"))


def unreadable(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.delenv("ENKASH_USERNAME")
    env.setenv("ENKASH_USERNAME_FILE", "/nowhere")


def no_extra(env: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    env.setitem(sys.modules, "enkash_auth.stores._redis", None)
    env.setenv("ENKASH_TOKEN_STORE", "redis://127.0.0.1")


@pytest.mark.parametrize(
    ("trouble", "failed"),
    [
        (wrong, {"ENKASH_USERNAME", "ENKASH_PASSWORD", "sign-in"}),
        (client, {"ENKASH_CLIENT_ID", "ENKASH_CLIENT_SECRET", "sign-in"}),
        (elsewhere, {"ENKASH_BASE_URL", "connection", "sign-in"}),
        (unreadable, {"ENKASH_USERNAME", "configuration"}),
        (no_extra, {"ENKASH_TOKEN_STORE", "extras", "configuration"}),
    ],
)
def test_the_doctor_says_ok_of_nothing_that_a_later_line_fails(
    sandbox: Sandbox,
    env: pytest.MonkeyPatch,
    call: Call,
    trouble: Callable[[pytest.MonkeyPatch, Sandbox], None],
    failed: set[str],
) -> None:
    trouble(env, sandbox)
    found = json.loads(call("doctor", "--sign-in", "--json")[1])["findings"]
    assert {one["about"] for one in found if one["level"] == "fail"} == failed
    assert not failed & {one["about"] for one in found if one["level"] == "ok"}
    assert "refusal" not in {one["about"] for one in found}


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
    sandbox: Sandbox, store: Path, env: pytest.MonkeyPatch, call: Call, dialect: str, level: str, meaning: str
) -> None:
    sandbox.start_outage(dialect, retry_after=60)
    for _ in range(2):
        assert call("token")[0] in (4, 5, 6)
    sandbox.end_outage()
    found = findings(call("doctor", "--json"))
    about = "back-off" if dialect == "429" else "refusal"
    assert found[about][0] == level
    assert meaning in found[about][1]
    assert "enkash-auth doctor" not in found[about][1]


def test_the_doctor_explains_a_sign_in_that_brings_no_token(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call
) -> None:
    mute(env, sandbox)
    assert "what may be a refusal counts" in findings(call("doctor", "--sign-in", "--json"))["sign-in"][1]


@pytest.mark.parametrize(("days", "level"), [(1, "warn"), (90, "ok")])
def test_the_doctor_looks_at_the_certificate(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path, days: int, level: str
) -> None:
    pem = certificate(tmp_path, days)
    env.setenv("SSL_CERT_FILE", str(pem))
    with host(tls=pem) as url:
        env.setenv("ENKASH_BASE_URL", url)
        assert findings(call("doctor", "--json"))["TLS"][0] == level


def test_the_doctor_names_a_certificate_that_is_not_trusted(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path
) -> None:
    with host(tls=certificate(tmp_path)) as url:
        env.setenv("ENKASH_BASE_URL", url)
        level, text = findings(call("doctor", "--json"))["connection"]
    assert level == "fail"
    assert "certificate verify failed" in text and "SSL_CERT_FILE" in text


def test_the_doctor_names_a_port_without_tls(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    env.setenv("ENKASH_BASE_URL", sandbox.base_url.replace("http:", "https:"))
    text = findings(call("doctor", "--json"))["connection"][1]
    assert "TLS failed" in text and "https port" in text


def test_the_doctor_names_a_host_that_does_not_answer(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    env.setenv("ENKASH_BASE_URL", "http://127.0.0.1:1")
    text = findings(call("doctor", "--json"))["connection"][1]
    assert text.startswith("no answer from 127.0.0.1:1: connection refused; check firewall")


def test_the_doctor_names_a_host_without_an_address(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    env.setattr(socket, "getaddrinfo", unknown)
    assert findings(call("doctor", "--json"))["DNS"][0] == "fail"


@pytest.mark.parametrize(
    ("origins", "level", "said"),
    [
        ("", "ok", "in ENKASH_ORIGINS"),
        ("https://127.0.0.1/api", "ok", "tokens go to https://127.0.0.1:443 only"),
        ("http://a.example", "fail", "ENKASH_ORIGINS: origin 1 must be https"),
    ],
)
def test_the_doctor_shows_and_checks_origins(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, origins: str, level: str, said: str
) -> None:
    env.setenv("ENKASH_ORIGINS", origins)
    found = findings(call("doctor", "--json"))
    assert found["origins"][0] == level and said in found["origins"][1]
    assert found.get("ENKASH_ORIGINS", [level])[0] == level
    assert "a.example" not in str(found)


def test_the_doctor_names_an_origin_without_an_address(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    look_up = socket.getaddrinfo

    def unknown(name: str, *args: Any, **options: Any) -> Any:
        if name == "api.example":
            raise socket.gaierror
        return look_up(name, *args, **options)

    env.setattr(socket, "getaddrinfo", unknown)
    env.setenv("ENKASH_ORIGINS", f"{sandbox.base_url} https://api.example")
    ended = call("doctor", "--json")
    assert ended[0] == 1
    assert "api.example has no address: check ENKASH_ORIGINS" in findings(ended)["DNS"][1]


@pytest.mark.parametrize(
    ("scheme", "tls", "cause"),
    [
        ("rediss", True, "certificate verify failed (self-signed certificate)"),
        ("rediss", False, "TLS failed ("),
        ("rediss", None, "connection refused"),
        ("redis", None, "connection refused"),
    ],
)
def test_the_doctor_says_why_a_redis_does_not_answer(
    sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call, tmp_path: Path, scheme: str, tls: bool | None, cause: str
) -> None:
    with host(tls=certificate(tmp_path) if tls else None) as url:
        place = "127.0.0.1:1" if tls is None else url.partition("//")[2]
        env.setenv("ENKASH_TOKEN_STORE", f"{scheme}://user:canary@{place}/0")
        level, text = findings(call("doctor", "--json"))["store"]
    assert level == "fail"
    assert f"{place} failed: {cause}" in text
    assert "canary" not in text


def test_the_doctor_leaves_names_to_a_proxy(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    with host() as url:
        env.setenv("https_proxy", url)
        env.setenv("ENKASH_BASE_URL", "https://token.example")
        found = findings(call("doctor", "--json"))
    assert "proxy" in found["DNS"][1]
    assert found["connection"][0] == "fail"  # this one carries no TLS


def test_the_doctor_lists_the_extras(sandbox: Sandbox, env: pytest.MonkeyPatch, call: Call) -> None:
    env.setattr("enkash_auth.cli._doctor.requires", lambda name: [*(requires(name) or []), "absent; extra == 'none'"])
    level, text = findings(call("doctor", "--json"))["extras"]
    assert level == "ok"
    assert re.match(r"cli, .*testing can be used; .*none$", text)
