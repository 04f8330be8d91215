"""Credentials: where they come from, in which order, hidden everywhere. The only reader of the environment."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import field, frozen

from ._origin import check_url, parse_origin
from ._secret import Secret
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .stores import Store

_REQUIRED = ("base_url", "username", "password", "client_id", "client_secret")
_SETTINGS = (*_REQUIRED, "basic_client_id")
SECRETS_DIRECTORY = "/run/secrets"
_LARGEST = 64 * 1024  # characters of a file


def _secret(value: "str | Secret | None") -> "Secret | None":
    return value if isinstance(value, Secret) or value is None else Secret(value)


@frozen
class Credentials:
    """What one EnKash account signs in with.

    `base_url` is the token host's, https unless loopback. `basic_client_id` is the Basic pair's id where it differs
    from `client_id`. Raises `ConfigurationError`, which names every missing or malformed setting and no value.
    """

    base_url: str = field(repr=False)
    username: str = field(repr=False)
    password: Secret = field(converter=_secret)
    client_id: str = field(repr=False)
    client_secret: Secret = field(converter=_secret)
    basic_client_id: str | None = field(default=None, repr=False)

    def __init__(
        self,
        base_url: str | None = None,
        username: str | None = None,
        password: str | Secret | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        basic_client_id: str | None = None,
    ) -> None:
        values = {
            "base_url": base_url, "username": username, "password": password, "client_id": client_id,
            "client_secret": client_secret, "basic_client_id": basic_client_id or None,
        }  # fmt: skip
        problems = _problems(values)
        values.clear()
        if problems:
            # no setting may stand in a frame of the traceback
            del self, base_url, username, password, client_id, client_secret, basic_client_id
            raise ConfigurationError("; ".join(problems))
        self.__attrs_init__(  # type: ignore[attr-defined]
            str(base_url).rstrip("/"), username, password, client_id, client_secret, basic_client_id or None
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Credentials hold secrets and cannot be pickled")

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port of `base_url`."""
        return parse_origin(self.base_url)

    @property
    def account(self) -> tuple[str, str, str, str]:
        """What the server tells accounts apart by: base URL, Basic id, user name, client id; no secret."""
        return self.base_url, self.basic_client_id or self.client_id, self.username, self.client_id

    def fingerprint(self) -> str:
        """Return a name for exactly these credentials that says nothing about them to who lacks the client secret."""
        import hmac  # needed by who signs in, not by who imports

        told = "\0".join([*self.account, self.password.reveal()])
        return hmac.digest(self.client_secret.reveal().encode(), told.encode(), "sha256").hex()

    @classmethod
    def load(cls, profile: str | None = None, **arguments: str | Secret | None) -> "Credentials":
        """Return credentials from arguments, the environment, `*_FILE` twins, a secrets directory or a profile file.

        In this order, the first that has a setting wins. Raises `ConfigurationError`, which names every missing
        setting at once.
        """
        try:
            return cls(**_gather(profile, arguments))
        except ConfigurationError as error:
            message = str(error)
        arguments.clear()  # raised afresh, from a frame that holds no setting
        raise ConfigurationError(message)


def load_token_store() -> "Store | None":
    """Return the store that `ENKASH_TOKEN_STORE` (or its `_FILE` twin) names by URL, None for none and `memory:`.

    Raises `ConfigurationError`.
    """
    from .stores import from_url

    url = _first(_places("token_store", {}, os.environ, {}))
    if url in (None, "memory:"):
        return None
    try:
        return from_url(url)
    except ConfigurationError as error:
        message = f"ENKASH_TOKEN_STORE: {error}"
    del url  # it may hold a password, and must not stand in a frame of the traceback
    raise ConfigurationError(message)


def certificate_places() -> tuple[str | None, ...]:
    """Return what names the trusted certificates, for httpx and OpenSSL alike: `SSL_CERT_FILE`, `SSL_CERT_DIR`."""
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


def _problems(values: Mapping[str, object]) -> list[str]:
    texts = {name: v.reveal() if isinstance(v, Secret) else v for name, v in values.items()}
    missing = [f"ENKASH_{name.upper()}" for name in _REQUIRED if texts[name] in (None, "")]
    found = [f"missing: {', '.join(missing)}"] if missing else []
    for name, value in texts.items():
        if value in (None, ""):
            continue
        if isinstance(value, ConfigurationError):  # why it could not be read
            found.append(str(value))
        elif not isinstance(value, str) or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
            # a byte of the environment that is no UTF-8 arrives as a lone surrogate
            found.append(f"ENKASH_{name.upper()} must be text in UTF-8 without control characters")
        elif name == "base_url" and (why := check_url(value)):
            found.append(f"ENKASH_BASE_URL {why}")
        elif name == ("client_id" if not texts["basic_client_id"] else "basic_client_id") and ":" in value:
            found.append(f"ENKASH_{name.upper()} must hold no colon (RFC 7617)")
    texts.clear()
    return found


def _gather(profile: str | None, arguments: Mapping[str, object]) -> dict[str, Any]:
    if unknown := arguments.keys() - set(_SETTINGS):
        raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}")
    table = _profile_table(profile, os.environ)
    return {name: _value(_places(name, arguments, os.environ, table)) for name in _SETTINGS}


def _value(places: "Iterator[Place]") -> Any:
    try:
        return _first(places)
    except ConfigurationError as error:
        return error  # named by `_problems`, with all else that is wrong


@frozen
class Place:
    """Where a setting stands; `path` where that is a file."""

    name: str
    read: Callable[[], Any] = field(repr=False)
    path: Path | None = None


def sources(profile: str | None = None) -> dict[str, list[Place]]:
    """Return the places that have each setting; the first wins, and shadows the others.

    Raises `ConfigurationError` for a profile that cannot be read.
    """
    table = _profile_table(profile, os.environ)
    found = {f"ENKASH_{name.upper()}": list(_places(name, {}, os.environ, table)) for name in _SETTINGS}
    return {**found, "ENKASH_TOKEN_STORE": list(_places("token_store", {}, os.environ, {}))}


def _places(
    name: str, arguments: Mapping[str, object], environ: Mapping[str, str], table: Mapping[str, Any]
) -> Iterator[Place]:
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


def _first(places: Iterator[Place]) -> Any:
    return next((place.read() for place in places), None)


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


def _profile_table(profile: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
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
