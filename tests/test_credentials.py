"""Where credentials come from, and what is wrong with them."""

import os
import re
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import CANARIES, credentials
from enkash_auth import Credentials, TokenProvider
from enkash_auth._settings.environment import load_origins
from enkash_auth.errors import ConfigurationError, UnavailableError
from test_secrets import assert_clean


def test_every_missing_setting_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Credentials.load()
    for name in ("BASE_URL", "USERNAME", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET"):
        assert f"ENKASH_{name}" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://token.example",
        "ftp://token.example",
        "token.example",
        "https://u:p@h",
        "https://h?q",
        "https://h?",
        "https://h/#",
        " https://h",
        "http://a.localhost",
        "https://h:99999",
        "https://a..b",
        "https://a b",
        "https://xn--a.example",
    ],
)
def test_a_base_url_that_would_show_the_password_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENKASH_BASE_URL") as caught:
        credentials(base_url=url)
    assert url not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:8080"])
def test_http_is_for_loopback(host: str) -> None:
    assert credentials(base_url=f"http://{host}/").base_url == f"http://{host}"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"username": "a\r\nb"}, "USERNAME"),
        ({"password": "a\udce9"}, "PASSWORD"),
        ({"client_id": "a:b"}, "CLIENT_ID"),
        ({"basic_client_id": "a:b"}, "BASIC_CLIENT_ID"),
    ],
)
def test_a_malformed_setting_is_named(changed: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        credentials(**changed)


def test_a_colon_is_fine_in_an_id_that_basic_does_not_carry() -> None:
    assert credentials(client_id="a:b", basic_client_id="c").client_id == "a:b"


def test_the_first_place_that_has_a_setting_wins(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    lines = "".join(f'{name} = "profile"\n' for name in CANARIES)
    config.write_text(f'[live]\nbase_url = "https://profile.example"\n{lines}')
    environment.setenv("ENKASH_CONFIG", str(config))
    (tmp_path / "enkash_password").write_text("directory\n")
    (tmp_path / "secret").write_text("twin\n")
    environment.setenv("ENKASH_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    environment.setenv("ENKASH_CLIENT_ID", "environment")
    loaded = Credentials.load(profile="live", username="argument")
    assert loaded == Credentials("https://profile.example", "argument", "directory", "environment", "twin")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "config.toml does not exist"),
        ("[other]\n", "has no table [live]"),
        ("= canary-pass", "not valid TOML"),
        ("a = " + 9000 * "[", "cannot be read"),
    ],
)
def test_a_broken_profile_is_named(environment: pytest.MonkeyPatch, tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    environment.setenv("ENKASH_PROFILE", "live")
    with pytest.raises(ConfigurationError, match=re.escape(why)) as caught:
        Credentials.load()
    assert "canary" not in str(caught.value)


def test_a_profile_of_a_user_without_a_home_is_named(environment: pytest.MonkeyPatch) -> None:
    def nobody(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    environment.setattr(Path, "expanduser", nobody)
    environment.setenv("ENKASH_PROFILE", "live")
    for name in ("ENKASH_CONFIG", "XDG_CONFIG_HOME"):
        environment.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Credentials.load()


@pytest.mark.parametrize(
    "named", [{"ENKASH_PASSWORD_FILE": "place"}, {"ENKASH_CONFIG": "place", "ENKASH_PROFILE": "p"}]
)
def test_that_no_file_can_be_opened_is_said(
    environment: pytest.MonkeyPatch, tmp_path: Path, named: dict[str, str]
) -> None:
    (tmp_path / "place").touch()
    environment.chdir(tmp_path)
    for name, value in named.items():
        environment.setenv(name, value)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"cannot be read \(too many open files\)"):
            Credentials.load()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (None, "does not exist"),
        (Path.mkdir, "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.write_bytes(b"\xff"), "is not text in UTF-8"),
        (lambda path: path.write_text(70_000 * "x"), "is larger than 64 KiB"),
        (Path.touch, "is forbidden to this user"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_all_that_is_missing(
    environment: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object] | None, why: str
) -> None:
    place, opened = tmp_path / "place", Path.open

    def forbidding(self: Path, *args: Any, **options: Any) -> Any:
        if self == place:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **options)

    if make:
        make(place)
    if make is Path.touch:
        environment.setattr(Path, "open", forbidding)  # even if root runs the tests
    environment.setenv("ENKASH_PASSWORD_FILE", str(place))
    environment.setenv("ENKASH_CLIENT_SECRET_FILE", "hunter2")  # the value itself, by mistake
    with pytest.raises(ConfigurationError) as caught:
        Credentials.load(base_url="https://token.example", username="u")
    assert str(caught.value) == (
        "missing: ENKASH_CLIENT_ID (set each: variable, file, profile or argument); "
        f"ENKASH_PASSWORD_FILE: {place} {why}; correct the file or the setting; "
        "ENKASH_CLIENT_SECRET_FILE: the file does not exist; correct the file or the setting"
    )


def test_an_editors_byte_order_mark_is_no_part_of_a_password(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enkash_password").write_bytes(b"\xef\xbb\xbfsecret\r\n")
    found = Credentials.load(base_url="https://token.example", **{**CANARIES, "password": None})
    assert found.password.reveal() == "secret"


def test_an_empty_secrets_directory_is_not_the_current_one(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enkash_password").write_text("planted")
    environment.chdir(tmp_path)
    environment.setenv("ENKASH_SECRETS_DIR", "")
    with pytest.raises(ConfigurationError, match="missing: ENKASH_PASSWORD"):
        Credentials.load(base_url="https://token.example", **{**CANARIES, "password": None})


def test_a_secrets_directory_that_cannot_be_looked_into_holds_nothing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENKASH_SECRETS_DIR", "/" + 5000 * "a")  # fails for every user, as one of root's for others
    assert Credentials.load(base_url="https://token.example", **CANARIES) == credentials()


def test_equal_secrets_are_equal() -> None:
    assert len({credentials().password, credentials().password}) == 1
    assert credentials().password.reveal() == CANARIES["password"]


def test_credentials_are_compared_by_value() -> None:
    assert credentials() != credentials(password="other")


class Vault:
    """A source of one's own, as a callable object."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self, _: str = "") -> Credentials:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def load(self) -> Credentials:
        return self()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (Vault(OSError("canary-pass")).load, UnavailableError, r"the source Vault.load: it failed \(OSError\)"),
        (Vault(OSError("canary-pass")), UnavailableError, r"the source Vault: "),
        (partial(Vault(OSError("canary-pass")), "uat"), UnavailableError, r"the source Vault: "),
        (Vault(ConfigurationError("set VAULT_ADDR")), ConfigurationError, "^set VAULT_ADDR$"),
        ("a string", ConfigurationError, "credentials must be Credentials, or a function .* not str"),
        (Vault({"password": "canary-pass"}), ConfigurationError, "the source Vault must return Credentials, not dict"),
    ],
)
def test_a_source_that_fails_is_named_without_its_text(
    source: Callable[[], Credentials], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        TokenProvider(source)
    assert_clean(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ({}, []),
        ({"ENKASH_ORIGINS": " https://a.example,https://b.example\n"}, ["https://a.example", "https://b.example"]),
        ({"file": "https://a.example\nhttps://b.example\n"}, ["https://a.example", "https://b.example"]),
        ({"secret": "https://a.example"}, ["https://a.example"]),
        ({"profile": '["https://a.example", "https://b.example"]'}, ["https://a.example", "https://b.example"]),
        ({"profile": '"https://a.example"', "ENKASH_ORIGINS": "https://b.example"}, ["https://b.example"]),
    ],
)
def test_origins_come_from_where_settings_do(
    environment: pytest.MonkeyPatch, tmp_path: Path, places: dict[str, str], found: list[str]
) -> None:
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    for place, value in places.items():
        if place == "profile":
            (tmp_path / "config.toml").write_text(f"[live]\norigins = {value}\n")
        elif place == "file":
            (tmp_path / "origins").write_text(value)
            environment.setenv("ENKASH_ORIGINS_FILE", str(tmp_path / "origins"))
        elif place == "secret":
            (tmp_path / "enkash_origins").write_text(value)
        else:
            environment.setenv(place, value)
    assert load_origins("live" if "profile" in places else None) == found


@pytest.mark.parametrize("value", ["https://a.example http://b.example", "a.example", '[1, "https://a.example"]'])
def test_an_origin_that_must_not_get_a_token_is_named_by_its_number(
    environment: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    environment.setenv("ENKASH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text(f"[live]\norigins = {value}\n" if "[" in value else "[live]\n")
    if "[" not in value:
        environment.setenv("ENKASH_ORIGINS", value)
    with pytest.raises(ConfigurationError, match=r"^ENKASH_ORIGINS: origin \d must be") as caught:
        load_origins("live")
    assert "example" not in str(caught.value)
