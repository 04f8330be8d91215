"""The recipes: sources of one's own against small stand-ins of their servers, and a pod's files and probe."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api_server import Asked, serving
from conftest import Clock, failure
from enkash_auth import Credentials, EnkashAuth, TokenProvider, errors
from enkash_auth._settings.environment import REQUIRED
from enkash_auth.testing import Sandbox
from test_examples import EXAMPLES, imported
from valkey_server import Valkey, free_port

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
        return 200, {}, json.dumps({"data": {"data": self.value | {"owner": "x"}, "metadata": {"version": 1}}}).encode()

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


def test_a_recipe_follows_a_rotation(
    source: tuple[str, Secret], enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    name, secret = source
    with TokenProvider(load_of(name, monkeypatch)) as provider:
        enkash_sandbox.password = "another-password"
        failure(provider)
        secret.value["password"] = enkash_sandbox.password
        clock.passes(5)
        provider.token()
    assert enkash_sandbox.failed_passwords == 0


def test_a_server_that_gives_no_secret_is_named(
    source: tuple[str, Secret], enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, secret = source
    secret.up = False
    with pytest.raises(errors.EnkashAuthError, match=f"the source from_{name}: it failed|Vault answers 403: check"):
        TokenProvider(load_of(name, monkeypatch))
    enkash_sandbox.assert_token_requests(0)


def load_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Credentials]:
    monkeypatch.delitem(sys.modules, f"{name}_source", raising=False)
    load: Callable[[], Credentials] = getattr(imported(f"{name}_source", monkeypatch), f"from_{name}")
    return load


def deployed() -> tuple[dict[str, str], dict[str, Any]]:
    """Return the manifest's Secret, and its container."""
    secret, deployment = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return secret["stringData"], container


def swap(volume: Path, files: dict[str, str]) -> None:
    """Write a Secret as the kubelet mounts it: links through `..data`, which is replaced in one step."""
    data, new = volume / "..data", Path(tempfile.mkdtemp(prefix="..2026_11_30_", dir=volume))
    for name, text in files.items():
        (new / name).write_text(text)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    before = data.resolve()
    (volume / "..data_tmp").symlink_to(new.name)
    (volume / "..data_tmp").replace(data)
    shutil.rmtree(before, ignore_errors=True)  # at first it is no folder yet


@pytest.fixture
def pod(enkash_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Set what a pod of the manifest finds, with the sandbox in place of EnKash, and yield how the Secret changes."""
    secret, container = deployed()
    (volume := tmp_path / "secret").mkdir()
    files = {name: getattr(enkash_sandbox, name.removeprefix("enkash_"), "") for name in secret}
    for name in [name for name in os.environ if name.startswith("ENKASH_")]:
        monkeypatch.delenv(name)
    for given in container["env"]:
        monkeypatch.setenv(given["name"], given["value"])
    monkeypatch.setenv("ENKASH_SECRETS_DIR", str(volume))
    monkeypatch.setenv("ENKASH_BASE_URL", enkash_sandbox.base_url)
    with Valkey(free_port()) as redis:
        files["enkash_token_store"] = redis.url
        swap(volume, files)
        yield lambda password: swap(volume, {**files, "enkash_password": password})


def test_pods_share_a_refusal_and_follow_the_kubelets_swap(
    pod: Callable[[str], None], enkash_sandbox: Sandbox, clock: Clock
) -> None:
    enkash_sandbox.password = "another-password"
    with EnkashAuth.from_env() as auth, TokenProvider.from_env() as one, TokenProvider.from_env() as other:
        for provider in (one, other):
            failure(provider)
        enkash_sandbox.assert_token_requests(1)
        pod("another-password")
        clock.passes(5)
        assert one.token().access_token == other.token().access_token
        with httpx.Client(auth=auth) as client:  # ENKASH_ORIGINS does not name the sandbox
            assert client.get(f"{enkash_sandbox.base_url}/api/echo").status_code == 401
    enkash_sandbox.assert_token_requests(2)


def test_the_probe_fails_while_the_pod_cannot_sign_in(pod: Callable[[str], None], enkash_sandbox: Sandbox) -> None:
    _, container = deployed()
    program, *arguments = container["readinessProbe"]["exec"]["command"]
    probe = [Path(sys.executable).with_name(program), *arguments]
    run = partial(subprocess.run, probe, capture_output=True, text=True, timeout=60)
    assert run().returncode == 0
    pod("wrong")
    with TokenProvider.from_env() as provider:
        failure(provider)
    assert run().returncode == 4
    pod(enkash_sandbox.password)
    assert run().returncode == 0
    enkash_sandbox.assert_token_requests(1)
