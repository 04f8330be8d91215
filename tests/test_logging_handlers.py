"""A service's logging handler may need a token, to ship what it is given."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import wait_for_sign_ins
from enkash_auth import TokenProvider, stores
from enkash_auth.testing import Sandbox

LOGGERS = ("httpx", "httpcore", "enkash_auth", "filelock", "app")


class Shipping(logging.Handler):
    """Signs what it ships; logging holds its lock meanwhile. `began` is set once it waits for its first token."""

    def __init__(self) -> None:
        super().__init__()
        self.provider: TokenProvider | None = None
        self.began = threading.Event()
        self.shipped: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.provider is None:  # httpx 0.27 logs while a provider is made
            return
        self.began.set()
        self.shipped.append((record.name, self.provider.token().access_token))


@pytest.fixture
def shipping(caplog: pytest.LogCaptureFixture) -> Iterator[Shipping]:
    handler = Shipping()
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(handler)


@pytest.mark.parametrize("kept", ["store", "attempts", "attempts that cannot be kept"])
def test_a_handler_that_waits_for_a_token_waits_for_no_line_of_the_sign_in(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: str
) -> None:
    """The handler's lock is held by the caller that waits; the sign-in's own lines come after its answer."""
    monkeypatch.setenv("ENKASH_ATTEMPTS", str(tmp_path / "a.db" if kept == "attempts" else tmp_path))
    store = stores.from_url(f"file://{tmp_path}/store") if kept == "store" else None
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with Sandbox() as sandbox, TokenProvider(sandbox.credentials(), store=store, timeout=5) as provider:
        shipping.provider = provider
        with ThreadPoolExecutor() as pool:
            call = pool.submit(logging.getLogger("app").info, "a line")
            shipping.began.wait(5)
            call.result()
        wait_for_sign_ins()
    names, tokens = zip(*shipping.shipped, strict=True)
    assert (names[0], len({*tokens}), sandbox.token_requests) == ("app", 1, 1)
    assert {"httpx", "httpcore.http11", "enkash_auth"} <= {*names}  # nothing is lost
    assert ("filelock" in names) == (kept == "store")
