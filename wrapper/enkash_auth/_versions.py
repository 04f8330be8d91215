"""Which release this is, and of which spec, as the installed metadata says."""

import tomllib
from importlib.metadata import distribution


def version() -> str:
    """Return the version of the installed distribution."""
    return distribution("enkash-auth").version


def spec_version() -> str:
    """Return `info.version` of the spec that the installed client was generated from."""
    provenance = distribution("enkash-auth").read_text("extra_metadata/provenance.toml") or ""
    return str(tomllib.loads(provenance)["spec_version"])
