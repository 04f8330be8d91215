"""Greenlets: what works, and what says why it cannot. `nox -s gevent-test` has gevent, in an environment of its own."""

import os
import socket
import subprocess
import textwrap
import threading
from pathlib import Path

import httpx
import pytest

from conftest import Patch, Server, table
from enkash_auth.errors import ConfigurationError
from enkash_auth.testing import Sandbox

GEVENT = os.environ.get("GEVENT") and Path(os.environ["GEVENT"]).resolve()  # an environment with gevent and gunicorn
needs_gevent = pytest.mark.skipif(not GEVENT, reason="nox -s gevent-test has gevent")


def test_threads_that_are_patched_too_late_are_named(server: Server, monkeypatch: Patch) -> None:
    """As gevent does it: before a provider is made, or once it was made in a process that is forked and patched."""
    with server.provider() as made:
        monkeypatch.setattr(threading, "Lock", object)
        for call in (server.provider, made.token):
            with pytest.raises(ConfigurationError, match="patch first"):
                call()


@needs_gevent
def test_50_greenlets_cost_one_request_and_block_no_other() -> None:
    script = """
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from enkash_auth import TokenProvider
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevent.sleep(0.01)
        provider = TokenProvider.from_env()
        gevent.spawn(tick)
        calls = [gevent.spawn(provider.token) for _ in range(50)]
        gevent.joinall(calls, raise_error=True)
        assert len({call.value.access_token for call in calls}) == 1
        assert len(ticks) > 10, len(ticks)
        provider.close()
    """
    with Sandbox(latency=0.3) as sandbox:
        python = [f"{GEVENT}/bin/python", "-c", textwrap.dedent(script)]
        subprocess.run(python, env={**os.environ, **sandbox.environment()}, check=True, timeout=30)
    assert sandbox.token_requests == 1


APP = """
from enkash_auth import TokenProvider, errors
provider = TokenProvider.from_env()
def app(environ, start_response):
    try:
        provider.token()
        said = "a token"
    except errors.EnkashAuthError as error:
        said = str(error)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""
GUNICORN = "gunicorn -k gevent service:app"
UWSGI = "uwsgi --gevent 4 --die-on-term --need-app --wsgi-file service.py --callable app"


@needs_gevent
@table(
    "server, said",
    ("gunicorn", f"{GUNICORN} -b", "a token"),
    ("gunicorn, preload", f"{GUNICORN} --preload -b", "patch first"),
    ("uwsgi, early", f"{UWSGI} --gevent-early-monkey-patch --http-socket", "a token"),
    ("uwsgi, forked", f"{UWSGI} --gevent-early-monkey-patch --master --processes 2 --http-socket", "a token"),
    ("uwsgi, late", f"{UWSGI} --gevent-monkey-patch --lazy-apps --http-socket", "patch first"),
)
def test_a_gevent_worker_has_a_token_or_hears_why_not(tmp_path: Path, server: str, said: str) -> None:
    (tmp_path / "service.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [f"{GEVENT}/bin/{server.split()[0]}", *server.split()[1:], address]
    with Sandbox() as sandbox:
        worker = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **sandbox.environment()})
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=20) as client:  # until it listens
                assert said in client.get(f"http://{address}").text
        finally:
            worker.terminate()
            worker.wait(20)
