"""Sources of one's own, against small stand-ins of the servers that they read from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_server import Asked, serving
from conftest import Clock
from enkash_auth import Credentials, TokenProvider, errors
from enkash_auth._settings.environment import REQUIRED
from enkash_auth.testing import Sandbox
from test_examples import EXAMPLES, imported

pytestmark = pytest.mark.once  # the servers' own clients are tested elsewhere

Said = tuple[int, dict[str, str], bytes]


class Secret:
    """What both servers keep: the sandbox's settings, under the names of `Credentials`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.up = True
        said = {name.removeprefix("ENKASH_").lower(): value for name, value in sandbox.environment().items()}
        self.value = {name: said[name] for name in REQUIRED}

    def vault(self, request: Asked, _: bytes) -> Said:
        if not self.up or (request.path, request.headers["X-Vault-Token"]) != ("/v1/secret/data/enkash", "s.token"):
            return 403, {}, b'{"errors": ["permission denied"]}'
        return 200, {}, json.dumps({"data": {"data": self.value, "metadata": {"version": 1}}}).encode()

    def aws(self, request: Asked, body: bytes) -> Said:
        signed = request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
        wanted = request.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        if not (self.up and signed and wanted and json.loads(body) == {"SecretId": "enkash"}):
            return 400, {}, b'{"__type": "AccessDeniedException", "Message": "no"}'
        return 200, {}, json.dumps({"Name": "enkash", "SecretString": json.dumps(self.value)}).encode()


@pytest.fixture(params=["vault", "aws"])
def source(
    request: pytest.FixtureRequest, enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[str, Secret]]:
    secret = Secret(enkash_sandbox)
    (tmp_path / "token").write_text("s.token\n")
    with serving(getattr(secret, request.param)) as url:
        for name, value in {
            "VAULT_ADDR": url, "VAULT_TOKEN_FILE": str(tmp_path / "token"), "AWS_REGION": "ap-south-1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": url, "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield request.param, secret


def test_a_recipe_runs_as_it_says(source: tuple[str, Secret], enkash_sandbox: Sandbox) -> None:
    name, _ = source
    command = [sys.executable, EXAMPLES / f"{name}_source.py"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.startswith("a token that expires at 2") and not ran.stderr
    enkash_sandbox.assert_token_requests(1)


def load_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Credentials]:
    monkeypatch.delitem(sys.modules, f"{name}_source", raising=False)
    load: Callable[[], Credentials] = getattr(imported(f"{name}_source", monkeypatch), f"from_{name}")
    return load


def test_a_recipe_follows_a_rotation(
    source: tuple[str, Secret], enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    name, secret = source
    with TokenProvider(load_of(name, monkeypatch)) as provider:
        enkash_sandbox.password = "another-password"
        with pytest.raises(errors.RefusedError):
            provider.token()
        secret.value["password"] = enkash_sandbox.password
        clock.passes(5)
        provider.token()
    assert enkash_sandbox.failed_passwords == 0


def test_a_server_that_gives_no_secret_is_named(
    source: tuple[str, Secret], enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, secret = source
    secret.up = False
    with pytest.raises(errors.UnavailableError, match=f"the source from_{name}: it failed"):
        TokenProvider(load_of(name, monkeypatch))
    enkash_sandbox.assert_token_requests(0)
