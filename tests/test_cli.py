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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from email.utils import formatdate
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import Factory, frozen

from api_server import Asked, serving
from conftest import CANARIES, limited, table
from enkash_auth import TokenProvider
from enkash_auth.cli import main
from enkash_auth.stores import FileStore
from enkash_auth.testing import Sandbox
from proxy import certificate

pytestmark = pytest.mark.once  # click runs on each interpreter alike

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMAND = Path(sys.executable).with_name("enkash-auth")
Ended = tuple[int, str, str]  # exit code, stdout, stderr
Settings = Mapping[str, str | None]
BUSY = {"kind": "rate_limited", "times": 2, "retry_after": 60}  # for Sandbox.fail_next
NO_TOKEN = {"kind": "raw", "status": 200, "body": b"{}"}
NOBODY = "http://127.0.0.1:1"
NO_STORE: Settings = {"ENKASH_TOKEN_STORE": None}


class Findings(dict[str, tuple[str, str]]):
    """The last finding about each thing, its level and text; `all` of them.

    The exit code says whether one failed, and of the settings those that a failure names are not ok, no other fails.
    """

    def __init__(self, ended: Ended) -> None:
        self.shown = ended[1]
        self.all = [tuple(found.values()) for found in json.loads(self.shown)["findings"]]
        super().__init__({about: (level, text) for level, about, text in self.all})
        assert ended[0] == bool(self.about("fail"))
        failures = " ".join(text for level, about, text in self.all if level == "fail" and about[:7] != "ENKASH_")
        named = set(re.findall(r"\bENKASH_[A-Z_]+?(?=_FILE\b|\b)", failures))
        assert not named & self.about("ok") and {name for name in self.about("fail") if name[:7] == "ENKASH_"} <= named

    def about(self, level: str) -> set[str]:
        return {about for found, about, _ in self.all if found == level}


@frozen
class Shell:
    """Runs the command in this process; its settings are the sandbox's, and a store, unless the test changes them."""

    env: pytest.MonkeyPatch
    sandbox: Sandbox
    capsys: pytest.CaptureFixture[str]
    stack: ExitStack
    asked: list[tuple[str, str, str | None]] = Factory(list)  # of `serve`: method, path and Authorization

    def __call__(self, *words: str, **streams: Any) -> Ended:
        """`streams`: what stdout and stderr are instead."""
        with self.env.context() as here, pytest.raises(SystemExit) as ended:
            for name, value in {"argv": ["enkash-auth", *words], **streams}.items():
                here.setattr(sys, name, value)
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *self.capsys.readouterr()

    def on_terminal(self, *words: str) -> Ended:
        ours, theirs = pty.openpty()
        with open(theirs, "w") as stdout:  # noqa: PTH123  # a descriptor
            code, _, err = self(*words, stdout=stdout)
        shown = b""
        with suppress(OSError):  # Linux says EIO once the other end is closed
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
        return code, shown.decode(), err

    def doctor(self, *words: str) -> Findings:
        return Findings(self("doctor", "--json", *words))

    def status(self) -> Any:
        return json.loads(self("status", "--json")[1])

    def set(self, settings: Settings) -> None:
        for name, value in settings.items():
            self.env.delenv(name) if value is None else self.env.setenv(name, value)

    def refuse(self) -> None:
        """Meet a refusal, so that store and file of attempts know of it."""
        self.set({"ENKASH_PASSWORD": "wrong"})
        assert self("token")[0] == 4

    def break_store(self, method: str = "_read") -> None:
        def fails(*_: object) -> None:
            raise OSError

        self.env.setattr(f"enkash_auth.stores.FileStore.{method}", fails)

    def serve(self, path: str = "", *, status: int = 404, date: float | str = 0.0, tls: Path | None = None) -> str:
        """Put a server in EnKash's place that answers with a status and a clock of its own."""

        def answer(request: Asked, _: bytes) -> tuple[int, dict[str, str], bytes]:
            self.asked.append((request.command, request.path, request.headers["Authorization"]))
            now = date if isinstance(date, str) else formatdate(time.time() + date, usegmt=True)
            return status, {"Date": now, "Location": "https://xn--a/"}, b""  # that is no name

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if context and tls:
            context.load_cert_chain(tls)
        url = self.stack.enter_context(serving(answer, context))
        self.set({"ENKASH_BASE_URL": url + path})
        return url


@pytest.fixture
def shell(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Shell]:
    proxies = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
    others = ["ENKASH_TOKEN_STORE", "ENKASH_TOKEN_STORE_FILE", "NO_COLOR", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    for name in [*others, *proxies, *map(str.upper, proxies)]:
        environment.delenv(name, raising=False)
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    with Sandbox() as sandbox, ExitStack() as stack:
        shell = Shell(environment, sandbox, capsys, stack)
        shell.set({**sandbox.environment(), "ENKASH_TOKEN_STORE": f"file://{tmp_path}/store"})
        yield shell


@pytest.fixture
def counted(shell: Shell, tmp_path: Path) -> Path:
    """The file of attempts, which counts if there is no store."""
    shell.set({**NO_STORE, "ENKASH_ATTEMPTS": f"{tmp_path}/attempts.db"})
    return tmp_path / "attempts.db"


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


def test_verbose_logs_to_stderr(shell: Shell) -> None:
    ended = subprocess.run([COMMAND, "-v", "token"], capture_output=True, text=True, timeout=30)
    assert re.fullmatch(r"[\w-]+\n", ended.stdout) and "enkash_auth INFO token issued" in ended.stderr


FULL = "the output cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("words", "streams", "code", "says"),
    [
        (["token"], {"stdout": None}, 1, "stdout is closed"),
        (["token"], {"stdout": "/dev/full"}, 1, FULL),
        (["token", "--json"], {"stdout": "/dev/full"}, 1, FULL),
        (["status"], {"stdout": "/dev/full"}, 1, FULL),
        (["doctor"], {"stdout": "/dev/full"}, 1, FULL),
        (["--help"], {"stdout": "/dev/full"}, 1, FULL),
        (["token"], {"stdout": "/dev/full", "stderr": "/dev/full"}, 1, ""),
        (["status"], {"stdout": None}, 0, ""),
        (["reset"], {"stderr": "/dev/full"}, 3, ""),
        (["reset"], {"stderr": None}, 3, ""),
    ],
)
def test_what_cannot_be_written_is_an_exit_code_and_no_traceback(
    shell: Shell, words: list[str], streams: Settings, code: int, says: str
) -> None:
    shell.set(NO_STORE)
    with ExitStack() as stack:  # closing fails, as the interpreter's end does, if a stream still holds something
        files = {name: path and stack.enter_context(Path(path).open("w")) for name, path in streams.items()}
        ended, out, err = shell(*words, **files)
    assert (ended, out) == (code, "")
    assert re.fullmatch(says and f"Error: {says}.*\n", err)
    assert shell.sandbox.token_requests == (words[0] == "token" and bool(streams["stdout"]))


def test_a_process_that_can_write_nothing_ends_with_the_commands_exit_code(shell: Shell) -> None:
    shell.env.delenv("PYTHONUNBUFFERED", raising=False)  # so that something is held until the interpreter ends
    assert subprocess.run(["sh", "-c", f"{COMMAND} token >/dev/full 2>&1"], timeout=30).returncode == 1


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_path_that_is_no_text_can_be_shown(shell: Shell, tmp_path: Path, command: str) -> None:
    shell.set({**NO_STORE, "ENKASH_ATTEMPTS": os.fsdecode(b"/dev/null/\xff/attempts.db")})
    with (tmp_path / "shown").open("w", encoding="utf-8") as stdout:  # strict, as in every locale but C
        code, _, err = shell(command, stdout=stdout)
    assert (code, err) == (0, "")
    assert r"/dev/null/\udcff/attempts.db cannot be written" in (tmp_path / "shown").read_text(encoding="utf-8")


def test_a_terminal_gets_the_token_and_a_warning_on_stderr(shell: Shell) -> None:
    code, shown, err = shell.on_terminal("token")
    assert code == 0 and re.fullmatch(r"[\w-]+\r\n", shown) and re.fullmatch("Warning: .*\n", err)


@pytest.mark.parametrize(
    ("words", "settings", "coloured"),
    [(["doctor"], {}, True), (["--no-color", "doctor"], {}, False), (["doctor"], {"NO_COLOR": "1"}, False)],
)
def test_colour_is_for_a_terminal_that_wants_it(
    shell: Shell, words: list[str], settings: Settings, coloured: bool
) -> None:
    shell.set(settings)
    assert ["\x1b[" in shown for _, shown, _ in (shell.on_terminal(*words), shell(*words))] == [coloured, False]


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_pages_examples_run(shell: Shell, tmp_path: Path) -> None:
    ask, reset, serve, use_it = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    (hidden,) = re.findall(r"`(enkash-auth token --header \| curl .*?)`", PAGE)
    (tmp_path / ".curlrc").write_text("silent")
    shell.set({**NO_STORE, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "CURL_HOME": str(tmp_path)})
    with running_sandbox(*serve.partition(">")[0].split()[2:]) as (_, exports):
        (tmp_path / "sandbox.sh").write_text(exports)
        script = "\n".join([use_it, ask, hidden, "export ENKASH_TOKEN_STORE=file://$PWD/store", reset])
        asked = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (asked.returncode, asked.stdout.count('{"ok": true}'), asked.stderr) == (0, 2, "")


def test_the_sandbox_does_what_its_options_say(shell: Shell) -> None:
    words = "--life 60 --fresh --casing camel --dialect keycloak --fault 503 --fault lost"
    with running_sandbox(*words.split()) as (process, exports):
        settings = dict(line.removeprefix("export ENKASH_").split("=", 1) for line in exports.splitlines())

        def ask(password: str) -> httpx.Response:
            form = {"username": settings["USERNAME"], "password": password, "grant_type": "password"}
            pair = (settings["CLIENT_ID"], settings["CLIENT_SECRET"])
            return httpx.post(f"{settings['BASE_URL']}/oauth/token", data=form, auth=pair)

        assert ask("wrong").status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):  # decided, then lost
            ask("wrong")
        assert process.stderr and process.stderr.readline().startswith("The sandbox runs at")
        assert process.stderr.readline() == "refused: 1 of 3 wrong passwords\n"
        assert ask("wrong").status_code == 401  # as Keycloak says it
        first, second = (ask(settings["PASSWORD"]).json() for _ in range(2))
    assert first["expiresIn"] == 59 and first["accessToken"] != second["accessToken"]


@pytest.mark.parametrize("name", re.findall(r"_ENKASH_AUTH_COMPLETE=(\w+)_source", PAGE))
def test_a_shell_of_the_page_completes_commands(shell: Shell, name: str) -> None:
    shell.set({"_ENKASH_AUTH_COMPLETE": f"{name}_source"})
    assert f"_ENKASH_AUTH_COMPLETE={name}_complete" in shell()[1]
    word = {"COMP_WORDS": "enkash-auth st", "COMP_CWORD": "st" if name == "fish" else "1"}
    shell.set({"_ENKASH_AUTH_COMPLETE": f"{name}_complete", **word})
    assert re.match(r"plain[\s,]status\b", shell()[1])


@pytest.mark.parametrize(
    ("module", "error", "says"),
    [
        ("enkash_auth.cli._commands", KeyboardInterrupt, "Aborted!"),
        ("click", ImportError, "Error: the command needs the extra enkash-auth[cli]"),
    ],
    ids=["Ctrl-C", "no extra"],
)
def test_a_command_that_does_not_load_says_so_in_one_line(
    shell: Shell, module: str, error: type[BaseException], says: str
) -> None:
    class Failing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == module:
                raise error

    shell.env.delitem(sys.modules, module, raising=False)
    shell.env.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    with pytest.raises(SystemExit, match=f"^{re.escape(says)}$"):
        main()


# no secret


def test_nothing_but_token_shows_a_secret(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = [("-vv", "status"), ("-v", "doctor", "--sign-in"), ("status", "--json"), ("doctor", "--json")]
    with Sandbox(**CANARIES) as sandbox:
        shell.set(sandbox.environment())
        ended = [shell("token")]
        shown = ended[0][1].strip()
        ended += [shell(*line) for line in words]
        assert [code for code, _, _ in ended] == [0] * 5
        ended.append(shell("reset"))
        shell.set({"ENKASH_PASSWORD": "canary-wrong"})
        ended += [shell("token"), *(shell(*line) for line in words), shell("reset")]
    everything = "".join(err for _, _, err in ended) + "".join(out for _, out, _ in ended[1:]) + caplog.text
    assert "httpcore" in caplog.text
    assert not [secret for secret in (shown, "canary") if secret in everything]


# each command


def test_version_names_package_and_spec(shell: Shell) -> None:
    assert re.fullmatch(r"enkash-auth \S+ \(spec \S+\)\n", shell("--version")[1])


def test_help_and_the_page_document_the_exit_codes(shell: Shell) -> None:
    codes = re.findall(r"^ +(\d)  (.+)$", shell("--help")[1], re.MULTILINE)
    assert [number for number, _ in codes] == list("0123456")
    assert re.findall(r"^\| (\d) \| (.+) \|$", PAGE, re.MULTILINE) == codes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["token", "--json", "--header"], "--header and --json exclude each other"),
        (["sandbox", "--dialect", "keyclok"], "did you mean 'keycloak'? There are spring, "),
        (["sandbox", "--outage", "html_503"], "'html_503'; did you mean 'html_502'? There are server_error, "),
        (["sandbox", "--fault", "x"], "unknown fault 'x'; there are server_error, "),
    ],
)
def test_wrong_usage_says_what_is_right(shell: Shell, words: list[str], says: str) -> None:
    code, _, err = shell(*words)
    assert code == 2 and says in err


def test_token_as_json_has_its_expiry(shell: Shell) -> None:
    assert json.loads(shell("token", "--json")[1]).keys() == {"access_token", "expires_at"}


@pytest.mark.parametrize(
    ("words", "settings", "fault", "code", "says"),
    [
        ("token", {"ENKASH_PASSWORD": None}, {}, 3, "ENKASH_PASSWORD"),
        ("token", {"SSL_CERT_FILE": __file__}, {}, 3, "SSL_CERT_FILE"),  # it holds no certificate
        ("token", {"ENKASH_BASE_URL": "https://\u00df\u200d.example"}, {}, 3, "ENKASH_BASE_URL"),
        ("token", {"ENKASH_PASSWORD": "canary"}, {}, 4, "invalid_grant"),
        ("token", {}, BUSY, 5, "429"),
        ("token", {}, NO_TOKEN, 6, "no usable token"),
        ("reset", {"ENKASH_TOKEN_STORE": "redis://:canary@127.0.0.1:1"}, {}, 5, "127.0.0.1:1 failed: .* refused"),
        ("sandbox", {}, {}, 3, r"enkash-auth\[testing\]"),
        ("--profile other token", {}, {}, 3, "profile 'other': .*/config.toml does not exist"),
        ("--profile other status", {}, {}, 3, "profile 'other': .*/config.toml does not exist"),
        ("--profile other reset", {}, {}, 3, "profile 'other': .*/config.toml does not exist"),
    ],
)
def test_an_error_is_one_line_and_its_own_exit_code(
    shell: Shell, words: str, settings: Settings, fault: Any, code: int, says: str
) -> None:
    shell.env.setitem(sys.modules, "uvicorn", None)  # as without the extra
    shell.set(settings)
    if fault:
        shell.sandbox.fail_next(**fault)
    ended, out, err = shell(*words.split())
    assert (ended, out) == (code, "")
    assert re.fullmatch(rf"Error: .*{says}.*\n", err) and "canary" not in err


def test_status_shows_the_token_that_runs_share_through_the_store_and_asks_nobody(shell: Shell) -> None:
    assert shell("token") == shell("token")
    code, out, _ = shell("status")
    assert code == 0
    assert re.search(
        r"^token +\d+ s old, expires in \d+ s, at \S+\+00:00\nrenewal +about \S+\+00:00$", out, re.MULTILINE
    )
    shown = shell.status()
    assert shown["token"]["renewal_at"] < shown["token"]["expires_at"]
    rest = shown["store"]["kind"], shown["refusal"], shown["backoff"], shown["ready"]
    assert rest == ("FileStore", "none", None, True)
    assert shell.sandbox.token_requests == 1


def test_status_names_an_account_but_not_in_full(shell: Shell) -> None:
    client = f"...{shell.sandbox.client_id[-3:]}"
    account = {"base_url": shell.sandbox.base_url, "username": "sa...@example.com", "client_id": client}
    assert shell.status()["account"] == account


def test_a_sticky_servers_token_is_renewed_at_expiry(shell: Shell) -> None:
    with TokenProvider.from_env() as provider:
        provider.invalidate(provider.token())
        provider.token()  # asked for again early in its life, the server gives the same one
    assert "at expiry: the server is sticky" in shell("status")[1]


@pytest.mark.parametrize(
    ("settings", "faults", "code", "lines"),
    [
        pytest.param({}, None, 0, ["token +none$", "refusal +none$"], id="ready while nothing forbids a sign-in"),
        pytest.param({"ENKASH_PASSWORD": "wrong"}, {}, 4, ["refusal +final: "], id="a final refusal"),
        pytest.param({}, BUSY, 5, [r"back-off +(5\d|60) s left: .*429"], id="a back-off is unavailable"),
        pytest.param(NO_STORE, None, 0, ["store .*ENKASH_TOKEN_STORE", "refusal +unknown: .* off$"], id="no store"),
    ],
)
def test_status_without_a_token(shell: Shell, settings: Settings, faults: Any, code: int, lines: list[str]) -> None:
    shell.set(settings)
    if faults:
        shell.sandbox.fail_next(**faults)
    if faults is not None:
        shell("token")
    ended, out, err = shell("status")
    assert (ended, err) == (code, "")
    assert all(re.search(f"^{line}", out, re.MULTILINE) for line in lines)
    ended, out, err = shell("status", "--json")
    assert (ended, json.loads(out)["ready"], err.startswith("Error: ")) == (code, code == 0, code != 0)


def test_a_store_that_fails_is_reported_and_forbids_nothing(shell: Shell) -> None:
    shell("token")
    shell.break_store()
    code, out, _ = shell("status")
    assert code == 0
    assert re.search(r"^store +FileStore: the token store /.* failed: OSError", out, re.MULTILINE)


def test_reset_forgets_the_refusal(shell: Shell) -> None:
    shell.refuse()
    codes = [shell(command)[0] for command in ("token", "reset", "status")]
    assert (codes, shell.sandbox.token_requests) == ([4, 0, 0], 1)
    shell("token")
    assert shell.sandbox.token_requests == 2


@pytest.mark.parametrize(
    ("named", "code", "why"),
    [("off", 3, "ENKASH_ATTEMPTS is off"), ("/dev/null/x/y", 1, "/dev/null/x/y cannot be written (Not a directory)")],
)
def test_that_passwords_are_not_counted_is_said(shell: Shell, named: str, code: int, why: str) -> None:
    shell.set({**NO_STORE, "ENKASH_ATTEMPTS": named})
    ended, out, err = shell("reset")
    assert (ended, out) == (code, "") and why in err and "restart them" in err
    assert why in shell("status")[1] and shell.status()["attempts"]["trouble"] == why
    assert shell.doctor()["attempts"][1].startswith(why)


@pytest.mark.usefixtures("counted")
def test_a_file_of_attempts_on_a_full_disk_is_said_and_not_taken_for_reset(shell: Shell) -> None:
    shell.refuse()
    with limited(resource.RLIMIT_FSIZE, 100):
        code, out, err = shell("reset")
        found, status = shell.doctor(), shell("status")
    assert (code, out) == (1, "") and "nothing was reset" in err
    assert "cannot be written" in found["attempts"][1] and found["refusal"][0] == "fail"
    assert status[0] == 4 and "final" in status[1]


@table(
    "lock, refusal",
    ("while another writes", "BEGIN EXCLUSIVE", "unknown"),
    ("for another's writing", "BEGIN IMMEDIATE", "final"),
    ("for another's reading", "SELECT * FROM ledgers", "final"),
)
def test_a_file_of_attempts_that_is_locked_is_said_and_not_taken_for_no_refusal(
    shell: Shell, counted: Path, lock: str, refusal: str
) -> None:
    shell.refuse()
    shell.env.setattr("enkash_auth._signin.attempts_file._PATIENCE", 0.01)
    with closing(sqlite3.connect(counted, isolation_level=None)) as file:
        reading = file.execute(lock)  # until it is closed, if there are rows
        code, out, err = shell("reset")
        assert (code, out) == (5, "") and f"another process keeps {counted} locked" in err
        assert shell.status()["refusal"] == refusal
        found = shell.doctor("--sign-in")
        assert found["attempts"][0] == "fail" and "no password leaves" in found["attempts"][1]
        assert not found.keys() & {"refusal", "sign-in"}
        reading.close()
    assert shell("status")[0] == 4


# the doctor


@pytest.mark.parametrize(
    ("before", "broken", "words", "about", "level", "says", "requests"),
    [
        ("", "", [], "sign-in", "ok", "--sign-in", 0),
        ("", "", ["--sign-in"], "sign-in", "ok", "a token that expires at", 1),
        ("token", "", ["--sign-in"], "sign-in", "ok", "no request was sent", 1),
        ("refusal", "", ["--sign-in"], "refusal", "fail", "enkash-auth reset", 1),
        ("token", "_read", ["--sign-in"], "store", "fail", "until it answers, each process signs in by itself", 1),
        ("", "_write", [], "store", "ok", "whether it can be written, doctor --sign-in tries", 0),
        ("", "_write", ["--sign-in"], "store", "fail", "/store failed: OSError. It can be read, but keeps no new", 0),
        ("", "_write", ["--sign-in"], "sign-in", "ok", "the store comes first", 0),
        ("token", "_write", [], "store", "fail", "check its space", 1),
    ],
)
def test_the_doctor_signs_in_if_asked_and_not_refused_and_the_store_can_be_read_and_written(
    shell: Shell, before: str, broken: str, words: list[str], about: str, level: str, says: str, requests: int
) -> None:
    if before:
        shell("token") if before == "token" else shell.refuse()
    if broken:
        shell.break_store(broken)
    found = shell.doctor(*words)
    assert found[about][0] == level and says in found[about][1]
    assert broken or level == "fail" or not found.about("fail")
    assert shell.sandbox.token_requests == requests


def test_two_doctors_at_once_find_that_the_store_can_be_written(shell: Shell, tmp_path: Path) -> None:
    shell("token")
    assert FileStore(tmp_path / "store").lock("doctor", 60)
    assert shell.doctor()["store"][0] == "ok"


def test_the_doctor_says_that_no_thread_can_start(shell: Shell) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    shell.set(NO_STORE)
    with shell.env.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        found = shell.doctor("--sign-in")
    assert found["threads"][0] == "fail" and "raise the limit" in found["threads"][1]
    assert found["sign-in"][0] == "fail"


def test_the_doctor_names_where_settings_come_from(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "enkash_password").write_text("shadowed")
    (tmp_path / "config.toml").write_text('[live]\nusername = "shadowed"\npassword = "shadowed"\n')
    (tmp_path / "secret").write_text(shell.sandbox.client_secret)
    (tmp_path / "secret").chmod(0o604)
    secret = {"ENKASH_CLIENT_SECRET": None, "ENKASH_CLIENT_SECRET_FILE": str(tmp_path / "secret")}
    shell.set({**secret, "ENKASH_PROFILE": "live"})
    found = shell.doctor()
    assert found["ENKASH_CLIENT_ID"] == ("ok", "from the variable ENKASH_CLIENT_ID")
    assert found["ENKASH_USERNAME"][1].startswith("from the variable ENKASH_USERNAME, which shadows the profile")
    assert "shadows the secrets directory and the profile" in found["ENKASH_PASSWORD"][1]
    assert "from the file of ENKASH_CLIENT_SECRET_FILE" in found.shown
    assert "chmod o=" in found["ENKASH_CLIENT_SECRET"][1]


@pytest.mark.parametrize(
    ("settings", "about", "level", "word"),
    [
        ({"ENKASH_CLIENT_ID": "company"}, "ENKASH_CLIENT_ID", "warn", "CEK"),
        ({"ENKASH_USERNAME": "me@example.com "}, "ENKASH_USERNAME", "warn", "blank"),
        ({"ENKASH_BASE_URL": f"{NOBODY}/oauth/token"}, "ENKASH_BASE_URL", "warn", "/oauth/token/oauth/token"),
        ({"ENKASH_BASE_URL": NOBODY}, "connection", "fail", "no answer from 127.0.0.1:1: connection refused; check"),
        ({"ENKASH_ORIGINS": ""}, "origins", "ok", "in ENKASH_ORIGINS"),
        ({"ENKASH_ORIGINS": "https://127.0.0.1/api"}, "origins", "ok", "tokens go to https://127.0.0.1:443 only"),
        ({"ENKASH_ORIGINS": "https://[::1]/api"}, "origins", "ok", "tokens go to https://[::1]:443 only"),
        ({"ENKASH_ORIGINS": "http://a.example"}, "origins", "fail", "ENKASH_ORIGINS: origin 1 must be https"),
        ({"ENKASH_ORIGINS": "https://api.example"}, "DNS", "fail", "api.example has no address: check ENKASH_ORIGINS"),
        ({"ENKASH_BASE_URL": "https://api.example"}, "DNS", "fail", "api.example has no address: check ENKASH_BASE_"),
        (NO_STORE, "store", "warn", "processes share no token"),
        ({"ENKASH_PROFILE": "live"}, "configuration", "fail", "profile 'live'"),
        ({"ENKASH_PASSWORD": ""}, "configuration", "fail", "ENKASH_PASSWORD"),
        ({"ENKASH_PASSWORD": None, "ENKASH_PASSWORD_FILE": "/x"}, "configuration", "fail", "ENKASH_PASSWORD_FILE"),
        ({"ENKASH_TOKEN_STORE": "ftp://"}, "configuration", "fail", "ENKASH_TOKEN_STORE"),
        ({"SSL_CERT_FILE": __file__}, "configuration", "fail", "SSL_CERT_FILE"),
        ({"ENKASH_TOKEN_STORE": "redis://127.0.0.1"}, "extras", "fail", "see 'configuration' below"),
    ],
)
def test_the_doctor_says_which_setting_is_or_looks_wrong(
    shell: Shell, settings: Settings, about: str, level: str, word: str
) -> None:
    look_up = socket.getaddrinfo

    def unknown(name: str, *args: Any, **options: Any) -> Any:
        if name == "api.example":
            raise socket.gaierror
        return look_up(name, *args, **options)

    shell.env.setattr(socket, "getaddrinfo", unknown)
    shell.env.setitem(sys.modules, "enkash_auth.stores._redis", None)  # as without the extra
    shell.set(settings)
    found = shell.doctor()
    assert [one[0] for one in found.all if one[1] == about and word in one[2]] == [level]
    assert about != "configuration" or found.all[-1][1] == about  # the rest was not checked
    assert "//a.example" not in found.shown


@pytest.mark.parametrize(
    ("answer", "about", "level", "words"),
    [
        ({"date": 0.0}, "clock", "ok", "within"),
        ({"date": -90.0}, "clock", "warn", "ahead of the server"),
        ({"date": 90.0}, "clock", "warn", "behind the server"),
        ({"date": "never"}, "clock", "warn", "sends no time"),
        ({"status": 401}, "server", "ok", "answers 401 .* not stock Spring"),
        ({"status": 405}, "server", "ok", "answers 405 .* takes no HEAD"),
        ({"status": 200}, "server", "warn", "answers 200 .* may be no token endpoint"),
        ({"status": 302}, "server", "warn", "answers 302 .* redirect"),
        ({"status": 403}, "server", "warn", "answers 403 .* allow-list"),
        ({"status": 404}, "server", "warn", "answers 404 .* ENKASH_BASE_URL"),
        ({"status": 429}, "server", "warn", "answers 429 .* busy"),
        ({"status": 502}, "server", "fail", "answers 502 .* out of order"),
        ({"status": 520}, "server", "fail", "answers 520 .* out of order"),
    ],
)
def test_the_doctor_says_what_an_answer_to_a_head_without_credentials_means(
    shell: Shell, answer: Any, about: str, level: str, words: str
) -> None:
    shell.serve("/uat/", **answer)
    found = shell.doctor()[about]
    assert found[0] == level and re.search(words, found[1])
    assert shell.asked == [("HEAD", "/uat/oauth/token", None)]


def test_the_doctor_ends_while_a_server_drips_headers(shell: Shell) -> None:
    ended = threading.Event()

    def drip(request: Asked, _: bytes) -> tuple[int, dict[str, str], bytes]:
        with suppress(OSError):
            while not ended.wait(0.01):
                request.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        return 500, {}, b""

    shell.env.setattr("enkash_auth.cli._host._PATIENCE", 0.1)
    with serving(drip) as url:
        shell.set({"ENKASH_BASE_URL": url})
        assert "timeout" in shell.doctor()["connection"][1]
        ended.set()


@pytest.mark.usefixtures("counted")
def test_the_doctor_knows_stock_spring_its_clock_and_a_file_of_attempts(shell: Shell) -> None:
    found = shell.doctor()
    spring = 'stock Spring Security OAuth (401 Basic realm="oauth2/client")'
    assert found["server"] == ("ok", f"answers as {spring}: host and path are right")
    assert (found["clock"][0], "attempts" in found, found["refusal"][0]) == ("ok", False, "ok")
    assert shell.sandbox.token_requests == 0


@pytest.mark.parametrize(
    ("fault", "about", "level", "meaning"),
    [
        ({"kind": "spring"}, "refusal", "fail", "lock the account. The settings are ENKASH_USERNAME"),
        ({"kind": "basic-401"}, "refusal", "fail", "The settings are ENKASH_CLIENT_ID"),
        ({"kind": "envelope-200"}, "refusal", "warn", "what may be a refusal counts"),
        ({"kind": "502"}, "refusal", "warn", "they are sent minutes apart"),
        (BUSY, "back-off", "warn", "Services wait and ask again by themselves"),
    ],
)
def test_the_doctor_explains_a_refusal_and_a_back_off(
    shell: Shell, fault: Any, about: str, level: str, meaning: str
) -> None:
    shell.sandbox.fail_next(**{"times": 4, **fault})
    for _ in range(2):
        assert shell("token")[0] in (4, 5, 6)
    found = shell.doctor()[about]
    assert (found[0], meaning in found[1], "enkash-auth doctor" in found[1]) == (level, True, False)


@pytest.mark.parametrize("wrong", ["ENKASH_PASSWORD", "ENKASH_CLIENT_SECRET", ""])
def test_the_doctor_explains_a_sign_in_that_brings_no_token(shell: Shell, wrong: str) -> None:
    if wrong:
        shell.set({wrong: "wrong"})
    else:
        shell.sandbox.fail_next(**NO_TOKEN)
    found = shell.doctor("--sign-in")
    level, text = found["sign-in"]
    assert level == "fail" and (wrong or "what may be a refusal counts") in text
    assert "refusal" not in found  # that none is known would be wrong by now


@pytest.mark.parametrize(
    ("days", "trusted", "finding"),
    [
        pytest.param(1, True, ("TLS", "warn", "tell the operator of the host"), id="expires soon"),
        pytest.param(90, True, ("TLS", "ok", "expires in"), id="good"),
        pytest.param(-1, True, ("connection", "fail", "expired.*check the clock of this machine"), id="expired"),
        pytest.param(90, False, ("connection", "fail", "verify failed.*set SSL_CERT_FILE"), id="not trusted"),
        pytest.param(None, False, ("connection", "fail", "TLS failed.*an https port"), id="no TLS"),
    ],
)
def test_the_doctor_looks_at_the_certificate(
    shell: Shell, tmp_path: Path, days: Any, trusted: bool, finding: Any
) -> None:
    pem = certificate(tmp_path, days) if days else None
    trust = {"SSL_CERT_FILE": str(pem)} if trusted else {}
    shell.set({**trust, "ENKASH_BASE_URL": shell.serve(tls=pem).replace("http:", "https:")})
    about, level, word = finding
    found = shell.doctor()[about]
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
    shell: Shell, tmp_path: Path, scheme: str, tls: bool | None, cause: str
) -> None:
    url = NOBODY if tls is None else shell.serve(tls=certificate(tmp_path) if tls else None)
    place = url.partition("//")[2]
    shell.set({**shell.sandbox.environment(), "ENKASH_TOKEN_STORE": f"{scheme}://user:canary@{place}/0"})
    found = shell.doctor()
    assert found["store"][0] == "fail" and f"{place} failed: {cause}" in found["store"][1]
    assert "canary" not in found.shown


def test_the_doctor_leaves_names_to_a_proxy(shell: Shell) -> None:
    shell.set({"https_proxy": shell.serve(), "ENKASH_BASE_URL": "https://token.example"})
    found = shell.doctor()
    assert "proxy" in found["DNS"][1]
    level, text = found["connection"]  # this one carries no TLS
    assert level == "fail" and "token.example:443, through the proxy that is set: the proxy refused" in text


def test_the_doctor_lists_the_extras(shell: Shell) -> None:
    absent = [*(requires("enkash-auth") or []), "absent; extra == 'none'"]
    shell.env.setattr("enkash_auth.cli._doctor.requires", lambda _: absent)
    level, text = shell.doctor()["extras"]
    assert level == "ok" and re.match(r"cli, .*testing can be used; .*none$", text)
