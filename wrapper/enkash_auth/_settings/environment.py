"""The only reader of the environment."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enkash_auth.errors import ConfigurationError

from .sources import Place, first, places, profile_table

if TYPE_CHECKING:
    from enkash_auth.stores import Store

REQUIRED = ("base_url", "username", "password", "client_id", "client_secret")
SETTINGS = (*REQUIRED, "basic_client_id")


def read_settings(profile: str | None, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return each setting from the first place that has it; in its stead, why it cannot be read.

    Raises `ConfigurationError` for an unknown argument, and for a profile that cannot be read.
    """
    if unknown := arguments.keys() - set(SETTINGS):
        raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}")
    table = profile_table(profile, os.environ)
    return {name: _value(places(name, arguments, os.environ, table)) for name in SETTINGS}


def _value(found: Iterator[Place]) -> Any:
    try:
        return first(found)
    except ConfigurationError as error:
        return error  # named with all else that is wrong


def all_places(profile: str | None = None) -> dict[str, list[Place]]:
    """Return the places that have each setting; the first wins, and shadows the others.

    Raises `ConfigurationError` for a profile that cannot be read.
    """
    table = profile_table(profile, os.environ)
    found = {f"ENKASH_{name.upper()}": list(places(name, {}, os.environ, table)) for name in SETTINGS}
    return {**found, "ENKASH_TOKEN_STORE": list(places("token_store", {}, os.environ, {}))}


def load_token_store() -> "Store | None":
    """Return the store that `ENKASH_TOKEN_STORE` (or its `_FILE` twin) names by URL, None for none and `memory:`.

    Raises `ConfigurationError`.
    """
    from enkash_auth.stores import from_url

    url = first(places("token_store", {}, os.environ, {}))
    if url in (None, "memory:"):
        return None
    try:
        return from_url(url)
    except ConfigurationError as error:
        message = f"ENKASH_TOKEN_STORE: {error}"
    del url  # it may hold a password, and must not stand in a frame of the traceback
    raise ConfigurationError(message)


def certificate_files() -> tuple[str | None, ...]:
    """Return what names the trusted certificates, for httpx and OpenSSL alike: `SSL_CERT_FILE`, `SSL_CERT_DIR`."""
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


def attempts_path() -> Path | None:
    """Return where the attempts of processes without a store are remembered; None if `ENKASH_ATTEMPTS` is `off`."""
    if named := os.environ.get("ENKASH_ATTEMPTS"):
        return None if named == "off" else Path(named)
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    except RuntimeError:  # no home directory
        return None
    return Path(state) / "enkash-auth" / "attempts.db"
