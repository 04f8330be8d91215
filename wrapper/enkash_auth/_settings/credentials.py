"""Credentials: the settings of one account, checked, and hidden from every output."""

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from attrs import field, frozen

from enkash_auth.errors import ConfigurationError, UnavailableError

from .environment import REQUIRED, read_settings
from .origin import Origin, check_url, parse_origin


class Secret:
    """An opaque value: only `reveal()` returns its text."""

    __slots__ = ("reveal",)

    def __init__(self, value: "str | Secret") -> None:
        text = value.reveal() if isinstance(value, Secret) else value
        self.reveal: Callable[[], str] = lambda: text  # a debugger or serializer finds no attribute to print

    def __repr__(self) -> str:
        return "**********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Credentials hold secrets and cannot be pickled")


@frozen
class Credentials:
    """The settings of one EnKash account.

    `base_url` is the token host, https unless loopback. `basic_client_id` is the id of the Basic pair, if it differs
    from `client_id`. Raises `ConfigurationError`, which names every missing or malformed setting and no value.
    """

    base_url: str = field(repr=False)
    username: str = field(repr=False)
    password: Secret = field(converter=Secret)
    client_id: str = field(repr=False)
    client_secret: Secret = field(converter=Secret)
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
        values: dict[str, object] = {
            "base_url": base_url, "username": username, "password": password, "client_id": client_id,
            "client_secret": client_secret, "basic_client_id": basic_client_id or None,
        }  # fmt: skip
        if problems := _problems(values):
            # a traceback with locals must show no setting
            del self, base_url, username, password, client_id, client_secret, basic_client_id, values
            raise ConfigurationError("; ".join(problems))
        import httpx  # heavy: importing this package must not load it

        # one spelling: the case of its host, a default port and a slash at the end make no difference
        values["base_url"] = str(httpx.URL(str(base_url))).rstrip("/")
        self.__attrs_init__(**values)  # type: ignore[attr-defined]  # mypy does not know it

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # before the copier takes the fields out, which a traceback with locals would show
        raise TypeError("Credentials hold secrets and cannot be pickled")

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of `base_url`."""
        return parse_origin(self.base_url)

    @property
    def account(self) -> tuple[str, str, str, str]:
        """Base URL, Basic id, user name, client id: how the server distinguishes accounts. No secret."""
        return self.base_url, self.basic_client_id or self.client_id, self.username, self.client_id

    def fingerprint(self) -> str:
        """Return a keyed hash of these credentials: without the client secret it reveals nothing."""
        import hmac  # only a sign-in needs it, so importing the package does not load it

        text = "\0".join([*self.account, self.password.reveal()])
        return hmac.digest(self.client_secret.reveal().encode(), text.encode(), "sha256").hex()

    @classmethod
    def load(cls, profile: str | None = None, **arguments: str | Secret | None) -> "Credentials":
        """Return credentials from arguments, the environment, `*_FILE` variables, secrets directory or profile file.

        The first of them that has a setting wins. Raises `ConfigurationError`, which names all missing settings.
        """
        try:
            return cls(**read_settings(profile, arguments))
        except ConfigurationError as error:
            message = str(error)
        arguments.clear()  # raised again from here: a traceback with locals must show no setting
        raise ConfigurationError(message)


def read_source(source: Callable[[], Credentials]) -> Credentials:
    """Return what a source returns; raise its `ConfigurationError`, and `UnavailableError` for any other error."""
    if not callable(source):
        kind = type(source).__name__
        raise ConfigurationError(f"credentials must be Credentials, or a function that returns them, not {kind}")
    name = name_of(source)
    try:
        found = source()
    except ConfigurationError:
        raise
    except Exception as error:
        # without the error's text, which may hold a secret
        why = f"it failed ({type(error).__name__}). Check what it reads from, then try again"
    else:
        if isinstance(found, Credentials):
            return found
        kind = type(found).__name__
        del found  # a traceback with locals must show no setting
        raise ConfigurationError(f"the source {name} must return Credentials, not {kind}: make them in that function")
    raise UnavailableError(f"no credentials from the source {name}: {why}")


def name_of(source: object) -> str:
    """Return what messages call a source."""
    function = getattr(source, "func", source)  # of a partial
    return str(getattr(function, "__qualname__", type(function).__name__))


def _problems(values: Mapping[str, object]) -> list[str]:
    texts = {name: v.reveal() if isinstance(v, Secret) else v for name, v in values.items()}
    missing = [f"ENKASH_{name.upper()}" for name in REQUIRED if texts[name] in (None, "")]
    found = [f"missing: {', '.join(missing)} (set each: variable, file, profile or argument)"] if missing else []
    for name, value in texts.items():
        if value in (None, ""):
            continue
        if isinstance(value, ConfigurationError):  # the setting could not be read
            found.append(str(value))
        elif not isinstance(value, str) or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
            # Python reads a byte of the environment that is not UTF-8 as a lone surrogate
            found.append(f"ENKASH_{name.upper()} must be text in UTF-8 without control characters")
        elif name == "base_url" and (why := check_url(value)):
            found.append(f"ENKASH_BASE_URL {why}")
        elif ":" in value and name == ("basic_client_id" if texts["basic_client_id"] else "client_id"):
            found.append(f"ENKASH_{name.upper()} must not contain a colon (RFC 7617)")
    return found
