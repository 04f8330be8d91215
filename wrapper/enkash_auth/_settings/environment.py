"""The only reader of the environment."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enkash_auth.errors import ConfigurationError

from .origin import parse_origins
from .sources import Place, first, places, profile_table

if TYPE_CHECKING:
    from enkash_auth.stores import Store

REQUIRED = ("base_url", "username", "password", "client_id", "client_secret")
SETTINGS = (*REQUIRED, "basic_client_id")


def read_settings(profile: str | None, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return each setting from the first place that has it; for an unreadable setting, its `ConfigurationError`.

    Raises `ConfigurationError` for an unknown argument or an unreadable profile.
    """
    if unknown := arguments.keys() - set(SETTINGS):
        raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}; there are {', '.join(SETTINGS)}")
    table = profile_table(profile, os.environ)
    return {name: _value(places(name, arguments, os.environ, table)) for name in SETTINGS}


def _value(found: Iterator[Place]) -> Any:
    try:
        return first(found)
    except ConfigurationError as error:
        return error  # returned, so that one message can name all problems


def all_places(profile: str | None = None) -> dict[str, list[Place]]:
    """Return for each setting the places that have it. The first one is used.

    Raises `ConfigurationError` for an unreadable profile.
    """
    table = profile_table(profile, os.environ)
    found = {f"ENKASH_{name.upper()}": list(places(name, {}, os.environ, table)) for name in SETTINGS}
    found["ENKASH_ORIGINS"] = list(places("origins", {}, os.environ, table))
    return {**found, "ENKASH_TOKEN_STORE": list(places("token_store", {}, os.environ, {}))}


def load_origins(profile: str | None = None) -> list[str]:
    """Return the URLs of `ENKASH_ORIGINS`, none if unset: separated by blanks or commas, in a profile also a list.

    Raises `ConfigurationError`, also if one of them must not get a token.
    """
    found = first(places("origins", {}, os.environ, profile_table(profile, os.environ))) or ""
    urls = [str(url) for url in found] if isinstance(found, list) else re.split(r"[\s,]+", str(found))
    urls = [url for url in urls if url]
    try:
        parse_origins(urls)
        return urls
    except ConfigurationError as error:
        message = f"ENKASH_ORIGINS: {error}"
    raise ConfigurationError(message)


def load_token_store() -> "Store | None":
    """Return the store of `ENKASH_TOKEN_STORE` (or `ENKASH_TOKEN_STORE_FILE`), None if unset or `memory:`.

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
    del url  # it may hold a password, which a traceback with locals would show
    raise ConfigurationError(message)


def certificate_files() -> tuple[str | None, ...]:
    """Return `SSL_CERT_FILE` and `SSL_CERT_DIR`: httpx and OpenSSL load trusted certificates from them."""
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


def attempts_path() -> Path | None:
    """Return the file that counts passwords if no store is set, None if `ENKASH_ATTEMPTS` is `off`."""
    if named := os.environ.get("ENKASH_ATTEMPTS"):
        return None if named == "off" else Path(named)
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the XDG specification: then it counts as unset
        state = Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111  # without a home: ~
    return state / "enkash-auth" / "attempts.db"
