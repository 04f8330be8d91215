"""The places where a setting may stand; the environment is handed in."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import field, frozen

from enkash_auth.errors import ConfigurationError

SECRETS_DIRECTORY = "/run/secrets"
_LARGEST = 64 * 1024  # characters of a file


@frozen
class Place:
    """Where a setting stands; `path` where that is a file."""

    name: str
    read: Callable[[], Any] = field(repr=False)
    path: Path | None = None


def places(
    name: str, arguments: Mapping[str, object], environ: Mapping[str, str], table: Mapping[str, Any]
) -> Iterator[Place]:
    """Yield the places that have a setting, in their order."""
    variable = f"ENKASH_{name.upper()}"
    if arguments.get(name) is not None:
        yield Place("an argument", partial(arguments.get, name))
    if environ.get(variable):
        yield Place(f"the variable {variable}", lambda: environ[variable])
    if path := environ.get(f"{variable}_FILE"):
        yield Place(f"the file of {variable}_FILE", partial(_read, Path(path), f"{variable}_FILE"), Path(path))
    secret = Path(environ.get("ENKASH_SECRETS_DIR") or SECRETS_DIRECTORY) / variable.lower()
    if os.path.isfile(secret):  # noqa: PTH113  # Path's raises before 3.14 where this user may not look
        yield Place("the secrets directory", partial(_read, secret, f"the secret {variable.lower()}"), secret)
    if table.get(name) is not None:
        yield Place("the profile", partial(table.get, name), _profile_file(environ))


def first(found: Iterator[Place]) -> Any:
    """Return the text of the first place, None where there is none; raise `ConfigurationError` if it cannot be read."""
    return next((place.read() for place in found), None)


def _read(path: Path, setting: str) -> str:
    try:
        with _regular(path).open(encoding="utf-8-sig") as file:  # an editor's mark is no part of a password
            text = file.read(_LARGEST + 1)
        if len(text) <= _LARGEST:
            return text.strip("\r\n")
    except (OSError, UnicodeDecodeError):
        pass
    raise ConfigurationError(f"{setting} cannot be read as a text file")


def _regular(path: Path) -> Path:
    """Return the path if a regular file is there: a pipe could keep a sign-in waiting, a device never ends."""
    if not path.is_file():
        raise OSError
    return path


def _profile_file(environ: Mapping[str, str]) -> Path:
    if given := environ.get("ENKASH_CONFIG"):
        return Path(given)
    return Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "enkash" / "config.toml"


def profile_table(profile: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the table of the profile that is named, none if none is; raise `ConfigurationError`."""
    import tomllib  # here, not at import; and before a flight that looks again, for it must not import

    name = profile or environ.get("ENKASH_PROFILE")
    if not name:
        return {}
    why = "has no such profile"
    try:
        with _regular(_profile_file(environ)).open("rb") as file:
            table = tomllib.load(file).get(name)
            if isinstance(table, dict):
                return table
    except (OSError, RuntimeError):  # also: no home directory, nested too deeply
        why = "cannot be read"
    except ValueError:  # TOML or UTF-8; the parser's own message may quote a value
        why = "is not valid TOML"
    raise ConfigurationError(f"ENKASH_PROFILE {name!r}: the file that ENKASH_CONFIG names {why}")
