"""The places that a setting can come from. The environment is an argument."""

import os
import stat
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
    """A place that has a setting; `path` if it is a file."""

    name: str
    read: Callable[[], Any] = field(repr=False)
    path: Path | None = None


def places(
    name: str, arguments: Mapping[str, object], environ: Mapping[str, str], table: Mapping[str, Any]
) -> Iterator[Place]:
    """Yield the places that have a setting, in order of precedence."""
    variable = f"ENKASH_{name.upper()}"
    if arguments.get(name) is not None:
        yield Place("an argument", partial(arguments.get, name))
    if environ.get(variable):
        yield Place(f"the variable {variable}", lambda: environ[variable])
    if path := environ.get(f"{variable}_FILE"):
        yield Place(f"the file of {variable}_FILE", partial(_read, Path(path), f"{variable}_FILE"), Path(path))
    secret = Path(environ.get("ENKASH_SECRETS_DIR") or SECRETS_DIRECTORY) / variable.lower()
    if os.path.isfile(secret):  # noqa: PTH113  # before 3.14 Path.is_file raises if access is denied
        yield Place("the secrets directory", partial(_read, secret, f"the secret {variable.lower()}"), secret)
    if table.get(name) is not None:
        yield Place("the profile", partial(table.get, name), _profile_file(environ))


def first(found: Iterator[Place]) -> Any:
    """Return the first place's text, None if no place has one; raise `ConfigurationError` if it is unreadable."""
    return next((place.read() for place in found), None)


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


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "is forbidden to this user"
    return f"cannot be read ({os.strerror(error.errno).lower()})" if error.errno else "is no regular file"


def _regular(path: Path) -> Path:
    """Return the path of a regular file; raise `OSError` for a pipe or device, which could block a sign-in."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError
    return path


def _profile_file(environ: Mapping[str, str]) -> Path:
    if given := environ.get("ENKASH_CONFIG"):
        return Path(given)
    return Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "enkash" / "config.toml"


def profile_table(profile: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the table of the named profile, an empty one if no profile is named; raise `ConfigurationError`."""
    import tomllib  # loaded at first use; a later sign-in, which must not import, finds it loaded

    name = profile or environ.get("ENKASH_PROFILE")
    if not name:
        return {}
    path, why = Path("the profile file"), f"has no table [{name}]"
    try:
        path = _profile_file(environ)
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
