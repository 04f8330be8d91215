"""Systems without POSIX's users, modes and forks. None can be had here, so the names go from this one."""

import os
import subprocess
import sys
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

import httpx
from enkash_auth import EnkashAuth, TokenProvider
from enkash_auth.cli import main
from enkash_auth.errors import ConfigurationError
from enkash_auth.stores import from_url

with TokenProvider.from_env() as provider:
    assert provider.token() == asyncio.run(provider.atoken())
    with httpx.Client(auth=EnkashAuth(provider)) as client:
        print(client.get(os.environ["ENKASH_BASE_URL"] + "/api/echo").status_code)
tokens = set()
for _ in range(2):
    with TokenProvider.from_env(store=from_url(sys.argv.pop())) as provider:
        tokens.add(provider.token().access_token)
print(len(tokens))
sys.argv[1:] = ["status", "--json"]
try:
    main()
except SystemExit as end:
    print(end.code)
del sys.modules["fcntl"]  # without it, and without Windows' own, filelock warns
try:
    from_url("file:///data")
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.once
def test_without_posix_all_works_but_a_file_store_which_says_what_to_use(tmp_path: Path) -> None:
    with Sandbox(latency=0.05, sticky=False) as sandbox, Valkey(free_port()) as valkey:
        environment = {**os.environ, "ENKASH_CONFIG": str(tmp_path / "none"), **sandbox.environment()}
        command = [sys.executable, "-c", BARE, valkey.url, valkey.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    api, tokens, _, command_line, file_store = done.stdout.splitlines()
    assert (api, tokens, command_line) == ("200", "1", "0")
    assert "needs a POSIX system" in file_store and "redis://" in file_store


@pytest.mark.parametrize("name", ["geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"])
def test_a_file_store_needs_each_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(os, name)
    with pytest.raises(ConfigurationError, match="POSIX"):
        FileStore("/not/used")
