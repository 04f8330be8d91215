"""Where credentials come from, and what is wrong with them."""

import os
import re
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from conftest import CANARIES, assert_clean, credentials, limited
from enkash_auth import Credentials, TokenProvider
from enkash_auth._settings.environment import load_origins
from enkash_auth.errors import ConfigurationError, UnavailableError

Places = dict[str, str]  # variables, and files of the directory of secrets, which is the current one
Put = Callable[[Places], None]


@pytest.fixture
def put(environment: pytest.MonkeyPatch, tmp_path: Path) -> Put:
    """Set the variables, and write the files."""
    environment.chdir(tmp_path)
    environment.setenv("ENKASH_CONFIG", "config.toml")

    def put(places: Places) -> None:
        for name, value in places.items():
            if name.isupper():
                environment.setenv(name, value)
            else:
                (tmp_path / name).write_text(value, encoding="utf-8")

    return put


def load(**changed: str | None) -> Credentials:
    return Credentials.load(**{"base_url": "https://token.example", **CANARIES, **changed})


def refusal(call: Callable[[], object] = Credentials.load) -> str:
    """What the error of a call says, no setting among it."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert_clean(caught.value)
    return str(caught.value)


def test_every_missing_setting_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    names = "ENKASH_BASE_URL, ENKASH_USERNAME, ENKASH_PASSWORD, ENKASH_CLIENT_ID, ENKASH_CLIENT_SECRET"
    assert refusal().startswith(f"missing: {names} (set each: ")


URLS = [
    "http://token.example", "ftp://token.example", "token.example", "https://u:p@h", "https://h?q", "https://h?",
    "https://h/#", " https://h", "http://a.localhost", "https://h:99999", "https://a..b", "https://a b",
    "https://xn--a.example",
]  # fmt: skip
WRONG = [("username", "a\r\nb"), ("password", "a\udce9"), ("client_id", "a:b"), ("basic_client_id", "a:b")]


@pytest.mark.parametrize(("name", "value"), [*(("base_url", url) for url in URLS), *WRONG])
def test_a_setting_that_is_malformed_or_would_show_the_password_is_named_alone(name: str, value: str) -> None:
    said = refusal(lambda: credentials(**{name: value}))
    assert re.fullmatch(rf"ENKASH_{name.upper()} must [^;]*", said) and value not in said


@pytest.mark.parametrize("name", ["username", "password", "client_id", "client_secret"])
def test_an_empty_setting_is_missing_and_not_sent(name: str) -> None:
    assert refusal(lambda: credentials(**{name: ""})).startswith(f"missing: ENKASH_{name.upper()} (")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:8080"])
def test_http_is_for_loopback(host: str) -> None:
    assert credentials(base_url=f"http://{host}/").base_url == f"http://{host}"


def test_a_colon_is_fine_in_an_id_that_basic_does_not_carry() -> None:
    assert credentials(client_id="a:b", basic_client_id="c").client_id == "a:b"


def test_the_first_place_that_has_a_setting_wins(put: Put) -> None:
    profile = "".join(f'{name} = "profile"\n' for name in CANARIES)
    put({
        "config.toml": f'[live]\nbase_url = "https://profile.example"\n{profile}', "enkash_password": "directory\n",
        "secret": "twin\n", "ENKASH_CLIENT_SECRET_FILE": "secret", "ENKASH_CLIENT_ID": "environment",
    })  # fmt: skip
    loaded = Credentials.load(profile="live", username="argument")
    assert loaded == Credentials("https://profile.example", "argument", "directory", "environment", "twin")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "config.toml does not exist"),
        ({"config.toml": "[other]\n"}, "has no table [live]"),
        ({"config.toml": "= canary-pass"}, "not valid TOML"),
        ({"config.toml": "a = " + 9000 * "["}, "cannot be read"),
    ],
)
def test_a_broken_profile_is_named(put: Put, files: Places, why: str) -> None:
    put({"ENKASH_PROFILE": "live", **files})
    assert why in refusal()


def test_a_profile_of_a_user_without_a_home_is_named(put: Put, environment: pytest.MonkeyPatch) -> None:
    environment.setattr(Path, "expanduser", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    put({"ENKASH_PROFILE": "live", "ENKASH_CONFIG": "", "XDG_CONFIG_HOME": ""})
    assert "cannot be read" in refusal()


@pytest.mark.parametrize("places", [{"ENKASH_PASSWORD_FILE": "config.toml"}, {"ENKASH_PROFILE": "p"}])
def test_that_no_file_can_be_opened_is_said(put: Put, places: Places) -> None:
    put({"config.toml": "", **places})
    with limited(resource.RLIMIT_NOFILE, 3):
        assert "cannot be read (too many open files)" in refusal()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda place: None, "does not exist"),
        (Path.mkdir, "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda place: place.write_bytes(b"\xff"), "is not text in UTF-8"),
        (lambda place: place.write_text(70_000 * "x"), "is larger than 64 KiB"),
        (Path.touch, "is forbidden to this user"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_all_that_is_missing(
    put: Put, environment: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(place := tmp_path / "place")
    if make is Path.touch:  # root may read all files
        environment.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    put({"ENKASH_PASSWORD_FILE": str(place), "ENKASH_CLIENT_SECRET_FILE": "hunter2"})  # the value itself, by mistake
    assert refusal(lambda: Credentials.load(base_url="https://token.example", username="u")) == (
        "missing: ENKASH_CLIENT_ID (set each: variable, file, profile or argument); "
        f"ENKASH_PASSWORD_FILE: {place} {why}; correct the file or the setting; "
        "ENKASH_CLIENT_SECRET_FILE: the file does not exist; correct the file or the setting"
    )


def test_an_editors_byte_order_mark_is_no_part_of_a_password(put: Put) -> None:
    put({"enkash_password": "\ufeffsecret\r\n"})
    assert load(password=None).password.reveal() == "secret"


def test_an_empty_secrets_directory_is_not_the_current_one(put: Put) -> None:
    put({"enkash_password": "planted", "ENKASH_SECRETS_DIR": ""})
    assert refusal(lambda: load(password=None)).startswith("missing: ENKASH_PASSWORD (")


def test_a_secrets_directory_that_cannot_be_looked_into_holds_nothing(put: Put) -> None:
    put({"ENKASH_SECRETS_DIR": "/" + 5000 * "a"})  # fails for every user, as one of root's for others
    assert load() == credentials()


def test_credentials_and_their_secrets_are_compared_by_value() -> None:
    assert credentials() == credentials() != credentials(password="other")
    assert len({credentials().password, credentials().password}) == 1
    assert credentials().password.reveal() == CANARIES["password"]


class Vault:
    """A source of one's own, as a callable object."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self, _: str = "") -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def load(self) -> Any:
        return self()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (Vault(OSError("canary-pass")).load, UnavailableError, r"the source Vault.load: it failed \(OSError\)"),
        (Vault(OSError("canary-pass")), UnavailableError, "the source Vault: "),
        (partial(Vault(OSError("canary-pass")), "uat"), UnavailableError, "the source Vault: "),
        (Vault(ConfigurationError("set VAULT_ADDR")), ConfigurationError, "^set VAULT_ADDR$"),
        ("a string", ConfigurationError, "credentials must be Credentials, or a function .* not str"),
        (Vault({"password": "canary-pass"}), ConfigurationError, "the source Vault must return Credentials, not dict"),
    ],
)
def test_a_source_that_fails_is_named_without_its_text(source: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        TokenProvider(source)
    assert_clean(caught.value)
    assert caught.value.__context__ is None


A, B = "https://a.example", "https://b.example"


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ({}, []),
        ({"ENKASH_ORIGINS": f" {A},{B}\n"}, [A, B]),
        ({"ENKASH_ORIGINS_FILE": "origins", "origins": f"{A}\n{B}\n"}, [A, B]),
        ({"enkash_origins": A}, [A]),
        ({"config.toml": f"[live]\norigins = ['{A}', '{B}']"}, [A, B]),
        ({"config.toml": f"[live]\norigins = '{A}'", "ENKASH_ORIGINS": B}, [B]),
    ],
)
def test_origins_come_from_where_settings_do(put: Put, places: Places, found: list[str]) -> None:
    put({"config.toml": "[live]", **places})
    assert load_origins("live") == found


@pytest.mark.parametrize(
    "places",
    [
        {"ENKASH_ORIGINS": f"{A} http://b.example"},
        {"ENKASH_ORIGINS": "a.example"},
        {"config.toml": f"[live]\norigins = [1, '{A}']"},
    ],
)
def test_an_origin_that_must_not_get_a_token_is_named_by_its_number(put: Put, places: Places) -> None:
    put({"config.toml": "[live]", **places})
    said = refusal(lambda: load_origins("live"))
    assert re.match(r"ENKASH_ORIGINS: origin \d must be", said) and "example" not in said
