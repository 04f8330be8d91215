"""Systems without POSIX's users, modes and forks. None can be had here, so the names go from this one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enkash_auth.errors import ConfigurationError
from enkash_auth.stores import FileStore
from enkash_auth.testing import Sandbox
from valkey_server import Valkey, free_port

BARE = """
import asyncio, concurrent.futures.thread, os, random, shutil, socket, subprocess, sys, tempfile, threading
for name in ("fork", "forkpty", "register_at_fork", "geteuid", "getuid", "getegid", "getgid", "fchmod", "mkfifo",
             "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
    delattr(os, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
"""
PARTS = {
    "core": """
import httpx
from enkash_auth import EnkashAuth, TokenProvider
with TokenProvider.from_env() as provider:
    assert provider.token() == asyncio.run(provider.atoken())
    with httpx.Client(auth=EnkashAuth(provider)) as client:
        print(client.get(os.environ["ENKASH_BASE_URL"] + "/api/echo").status_code)
""",
    "redis": """
from enkash_auth import TokenProvider
os.environ["ENKASH_TOKEN_STORE"] = sys.argv[1]
tokens = set()
for _ in range(2):
    with TokenProvider.from_env() as provider:
        tokens.add(provider.token().access_token)
print(200 if len(tokens) == 1 else tokens)
""",
    "cli": """
from enkash_auth.cli import main
sys.argv = ["enkash-auth", "status", "--json"]
try:
    main()
except SystemExit as end:
    print(200 if end.code == 0 else end.code)
""",
}
FILE = """
del sys.modules["fcntl"]  # without it, and without Windows' own, filelock warns
from enkash_auth.errors import ConfigurationError
from enkash_auth.stores import from_url
try:
    from_url("file:///data")
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Valkey(free_port()) as server:
        yield server.url


def run(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", BARE + script, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[-1]


@pytest.mark.once
@pytest.mark.parametrize("part", PARTS)
def test_it_works_without_posix(part: str, url: str, tmp_path: Path) -> None:
    with Sandbox(latency=0.05) as sandbox:
        assert run(PARTS[part], url, ENKASH_CONFIG=str(tmp_path / "none"), **sandbox.environment()) == "200"


@pytest.mark.once
def test_a_file_store_without_posix_says_what_to_use() -> None:
    assert "needs a POSIX system" in (told := run(FILE))
    assert "redis://" in told


@pytest.mark.parametrize("name", ["geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"])
def test_a_file_store_needs_each_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(os, name)
    with pytest.raises(ConfigurationError, match="POSIX"):
        FileStore("/not/used")
