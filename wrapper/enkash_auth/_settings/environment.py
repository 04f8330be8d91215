"""The only reader of the environment: the places that a setting can come from."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from enkash_auth.errors import ConfigurationError

from .origin import parse_origins

if TYPE_CHECKING:
    from enkash_auth.stores import Store

REQUIRED = ("base_url", "username", "password", "client_id", "client_secret")
SETTINGS = (*REQUIRED, "basic_client_id")
_SECRETS = "/run/secrets"
_LARGEST = 64 * 1024  # characters of a file


@frozen
class Place:
    """A place that has a setting; `path` if it is a file."""

    name: str
    read: Callable[[], Any] = field(repr=False)
    path: Path | None = None


def read_settings(profile: str | None, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return each setting from the first place that has it; for an unreadable setting, its `ConfigurationError`.

    Raises `ConfigurationError` for an unknown argument or an unreadable profile.
    """
    if unknown := arguments.keys() - set(SETTINGS):
        raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}; there are {', '.join(SETTINGS)}")
    table = _profile_table(profile)
    # in no variable: reading a file may be interrupted, and a traceback with locals must not show what was read before
    return {name: _text_or_error(_places(name, table, arguments.get(name))) for name in SETTINGS}


def all_places(profile: str | None = None) -> dict[str, list[Place]]:
    """Return each variable's places, the first of which is used; raise `ConfigurationError` for a bad profile."""
    table = {**_profile_table(profile), "token_store": None}  # no profile names a store
    return {f"ENKASH_{name.upper()}": list(_places(name, table)) for name in (*SETTINGS, "origins", "token_store")}


def load_origins(profile: str | None = None) -> list[str]:
    """Return the URLs of `ENKASH_ORIGINS`, none if unset; raise `ConfigurationError` if one must not get a token."""
    found = _first(_places("origins", _profile_table(profile))) or []
    listed = found if isinstance(found, list) else re.split(r"[\s,]+", str(found))  # a list is a profile's
    urls = [url for url in map(str, listed) if url]
    try:
        parse_origins(urls)
        return urls
    except ConfigurationError as error:
        message = f"ENKASH_ORIGINS: {error}"
    raise ConfigurationError(message)


def load_token_store() -> "Store | None":
    """Return the store of `ENKASH_TOKEN_STORE`, None if unset or `memory:`; raise `ConfigurationError`."""
    from enkash_auth.stores import from_url

    url = _first(_places("token_store", {}))
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
        path = Path(named)
        with suppress(FileNotFoundError):  # who made the provider may change its directory, which may be gone already
            path = path if named.startswith("~") else path.absolute()
        return None if named == "off" else path
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the XDG specification: then it counts as unset
        state = Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111  # without a home: ~
    return state / "enkash-auth" / "attempts.db"


def _places(name: str, table: Mapping[str, Any], argument: object = None) -> Iterator[Place]:
    """Yield the places that have a setting, in order of precedence; `table` is the profile's."""
    variable = f"ENKASH_{name.upper()}"
    if argument is not None:
        yield Place("an argument", lambda: argument)
    if os.environ.get(variable):
        yield Place(f"the variable {variable}", lambda: os.environ[variable])
    if path := os.environ.get(f"{variable}_FILE"):
        yield Place(f"the file of {variable}_FILE", partial(_read, Path(path), f"{variable}_FILE"), Path(path))
    secret = Path(os.environ.get("ENKASH_SECRETS_DIR") or _SECRETS) / variable.lower()
    if os.path.isfile(secret):  # noqa: PTH113  # before 3.14 Path.is_file raises if access is denied
        yield Place("the secrets directory", partial(_read, secret, f"the secret {variable.lower()}"), secret)
    if table.get(name) is not None:
        yield Place("the profile", partial(table.get, name), _profile_file())


def _first(places: Iterator[Place]) -> Any:
    """Return the first place's text, None if no place has one; raise `ConfigurationError` if it is unreadable."""
    return next((place.read() for place in places), None)


def _text_or_error(places: Iterator[Place]) -> Any:
    try:
        return _first(places)
    except ConfigurationError as error:
        return ConfigurationError(str(error))  # one message can name all problems


def _profile_table(profile: str | None) -> dict[str, Any]:
    """Return the table of the named profile, an empty one if no profile is named; raise `ConfigurationError`."""
    import tomllib  # loaded at first use; a later sign-in, which must not import, finds it loaded

    name = profile or os.environ.get("ENKASH_PROFILE")
    if not name:
        return {}
    path, why = Path("the profile file"), f"has no table [{name}]"
    try:
        path = _profile_file()
        with _regular(path).open("rb") as file:
            table = tomllib.load(file).get(name)
            if isinstance(table, dict):
                return table
    except OSError as error:
        why = _why(error)
    except RuntimeError:  # no home directory, or TOML nested too deeply
        why = "cannot be read"
    except ValueError:  # TOML or UTF-8; the parser's message may quote a value, so it is not shown
        why = "is not valid TOML"
    raise ConfigurationError(f"profile {name!r}: {path} {why} (set ENKASH_CONFIG to use another file)")


def _profile_file() -> Path:
    if given := os.environ.get("ENKASH_CONFIG"):
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "enkash" / "config.toml"


def _read(path: Path, setting: str) -> str:
    try:
        with _regular(path).open(encoding="utf-8-sig") as file:  # removes an editor's byte order mark
            text = file.read(_LARGEST + 1)
        if len(text) <= _LARGEST:
            return text.strip("\r\n")
        why = "is larger than 64 KiB"
    except UnicodeDecodeError:
        why = "is not text in UTF-8"
    except OSError as error:
        why = _why(error)
    shown = str(path) if path.is_absolute() else "the file"  # perhaps the value itself, by mistake
    raise ConfigurationError(f"{setting}: {shown} {why}; correct the file or the setting")


def _regular(path: Path) -> Path:
    """Return the path of a regular file; raise `OSError` for a pipe or device, which could block a sign-in."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError
    return path


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "is forbidden to this user"
    return f"cannot be read ({os.strerror(error.errno).lower()})" if error.errno else "is no regular file"
