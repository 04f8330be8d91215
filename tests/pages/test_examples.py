"""Each example runs as its first line says, against the sandbox, and asks for one token."""

import importlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from enkash_auth.testing import Sandbox
from valkey_server import Valkey, free_port

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "docs" / "examples.md", ROOT / "docs" / "recipes.md"]
ECHO = "{'ok': True}\n"


@pytest.fixture
def sandbox(enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("API_URL", enkash_sandbox.base_url)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    return enkash_sandbox


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=EXAMPLES, capture_output=True, text=True, timeout=60)


@contextmanager
def running(*command: str, until: str) -> Iterator[re.Match[str]]:
    """Run a server till the end of the block, which begins when its output says `until`."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    server = subprocess.Popen([sys.executable, *command], cwd=EXAMPLES, text=True, **pipes)
    killer = threading.Timer(60, server.kill)
    killer.start()
    try:
        assert server.stdout is not None
        said = ""
        while not (found := re.search(until, said)):
            line = server.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        yield found
    finally:
        killer.cancel()
        server.terminate()
        server.communicate(timeout=30)


def get(url: str) -> httpx.Response:
    """Get from a server that may not listen yet."""
    end = time.monotonic() + 30
    while True:
        try:
            return httpx.get(url, trust_env=False)
        except httpx.ConnectError:
            assert time.monotonic() < end, f"nothing listens at {url}"
            threading.Event().wait(0.05)


@pytest.mark.parametrize("name", ["script.py", "requests_session.py", "aiohttp_session.py"])
def test_a_script_prints_what_the_api_says(sandbox: Sandbox, name: str) -> None:
    ran = run(name)
    assert (ran.stdout, ran.stderr) == (ECHO, "")
    sandbox.assert_token_requests(1)


def test_the_script_reports_a_refusal_in_one_line(sandbox: Sandbox) -> None:
    sandbox.lock()
    ran = run("script.py")
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "until"),
    [
        ("-m uvicorn fastapi_app:app --port {}", r"running on (http\S+)"),
        ("django_app.py runserver {} --noreload", r"development server at (http\S+)/"),
    ],
    ids=["fastapi", "django"],
)
def test_a_service_passes_on_what_the_api_says_and_when_to_retry(sandbox: Sandbox, command: str, until: str) -> None:
    with running(*command.format(free_port()).split(), until=until) as found:
        orders = f"{found[1]}/orders"
        assert [get(orders).json() for _ in range(2)] == [{"ok": True}] * 2
        sandbox.assert_token_requests(1)
        sandbox.expire()
        sandbox.limit_rate(30)
        assert (answer := get(orders)).status_code == 503
        assert 25 <= int(answer.headers["Retry-After"]) <= 30


CALLER = "import celery_app; print([celery_app.fetch.delay().get(timeout=30) for _ in range(4)])"


def test_celery(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With forked processes, a real broker and a store in which they share the token."""
    monkeypatch.setenv("ENKASH_TOKEN_STORE", f"{tmp_path.as_uri()}/tokens")
    with Valkey(free_port()) as broker:
        monkeypatch.setenv("CELERY_BROKER_URL", broker.url)
        monkeypatch.setenv("CELERY_RESULT_BACKEND", broker.url)
        worker = ["-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "--pool", "prefork"]
        with running(*worker, "--loglevel", "INFO", "--without-mingle", "--without-gossip", until="ready"):
            ran = run("-c", CALLER)
    assert ran.stdout == f"[{', '.join([ECHO.strip()] * 4)}]\n", ran.stderr
    sandbox.assert_token_requests(1)


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(name)


SHOWN = sorted({*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.yaml")} - {EXAMPLES / "demo.py"})


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.name)
def test_a_page_shows_an_example_as_it_is(path: Path) -> None:
    kind = {".py": "python", ".yaml": "yaml"}[path.suffix]
    shown = f"```{kind}\n{path.read_text()}```\n" in "".join(page.read_text() for page in PAGES)
    assert shown, f"neither docs/examples.md nor docs/recipes.md shows {path.name} as it is now"


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
