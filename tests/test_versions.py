"""Both versions, at run time."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from packaging.requirements import Requirement

import enkash_auth

SPEC = Path(__file__).parents[1] / "spec" / "enkash-auth.yaml"


def test_versions_are_those_of_distribution_and_spec() -> None:
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))["info"]["version"]
    assert (enkash_auth.__version__, enkash_auth.__spec_version__) == (version("enkash-auth"), spec)


def test_a_preview_of_httpx_1_is_not_taken() -> None:
    (httpx,) = (need for line in requires("enkash-auth") or [] if (need := Requirement(line)).name == "httpx")
    versions = ("0.26.0", "0.27.0", "0.28.1", "1.0.dev3", "1.0")
    assert [*httpx.specifier.filter(versions, prereleases=True)] == ["0.27.0", "0.28.1"]


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'enkash_auth' has no attribute 'Tokn'"):
        enkash_auth.Tokn  # noqa: B018


def test_without_metadata_the_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enkash_auth._versions.distribution", Mock(side_effect=PackageNotFoundError))
    assert enkash_auth.__version__ == "unknown"


SIGN_IN = """
import importlib.metadata, sys
def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.distribution = missing
import enkash_auth
print("enkash_auth._versions" in sys.modules)
from enkash_auth.testing import Sandbox
sandbox = Sandbox()
enkash_auth.TokenProvider(sandbox.credentials(), transport=sandbox.transport, verify=False).token()
"""


def test_an_import_does_not_pay_for_versions_and_a_sign_in_needs_no_metadata() -> None:
    """PyInstaller and slim archives for AWS Lambda leave it out."""
    command = [sys.executable, "-c", SIGN_IN]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout == "False\n"
