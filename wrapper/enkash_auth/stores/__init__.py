"""Stores: processes share a token through them, and a restarted process finds it again.

`from_url` creates a store from a URL. `FileStore` is for one machine, `RedisStore` for many, `MemoryStore` for tests.
You can pass any object with the methods of `Store`; test it with `enkash_auth.testing.StoreContract`.
"""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from enkash_auth.errors import ConfigurationError

from ._memory import MemoryStore
from ._protocol import Lock, Store, StoreError

if TYPE_CHECKING:
    from ._file import FileStore
    from ._redis import RedisStore

__all__ = ["FileStore", "Lock", "MemoryStore", "RedisStore", "Store", "StoreError", "from_url"]

_EXTRAS = {"FileStore": "file", "RedisStore": "redis"}


def __getattr__(name: str) -> Any:
    extra = _EXTRAS.get(name)
    if extra is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}._{extra}"), name)
    except ImportError as missing:
        raise ConfigurationError(f"{name} needs the extra enkash-auth[{extra}]: install it") from missing


def from_url(url: str) -> Store:
    """Return the store that a URL names: `memory:`, `file:///directory`, `redis://`, `rediss://` or `unix://`.

    Redis URLs are redis-py's (`rediss://user:password@host:port/db?ssl_ca_certs=...`, `unix:///path?db=0`), or
    `redis+sentinel://user:password@host:port,host:port/service/db` (`rediss+sentinel://` with TLS). `valkey` means
    `redis`. Raises `ConfigurationError`, whose message shows only the URL's scheme.
    """
    try:
        store: Store = _made(url)
        return store
    except ConfigurationError as error:
        message = str(error)
    del url  # it may hold a password, which a traceback with locals would show
    raise ConfigurationError(message)


def _made(url: str) -> Any:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if url in ("memory:", "memory://"):
        return MemoryStore()
    if parts.scheme == "file":
        path = unquote(parts.path)
        drive = re.match(r"/[A-Za-z][:|](/|$)", path)  # of Windows, which has no file store
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or drive or parts.query or parts.fragment:
            raise ConfigurationError("a file store's URL must be file:///absolute/directory, without a drive")
        return __getattr__("FileStore")(path)
    if re.match(r"(unix|(redis|valkey)s?(\+sentinel)?):", url, re.IGNORECASE):
        return __getattr__("RedisStore").from_url(url)
    raise ConfigurationError(
        "a token store's URL must be memory:, file:///directory, redis://, rediss://, valkey://, valkeys://, unix://"
        " or redis+sentinel:// or rediss+sentinel://host,host/service"
    )
