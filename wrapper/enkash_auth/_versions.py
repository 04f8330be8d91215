"""Which release this is, and of which spec, as the installed metadata says."""

from importlib.metadata import PackageNotFoundError, distribution


def version() -> str:
    """Return the version of the installed distribution, `unknown` where its metadata was left out (a slim archive)."""
    try:
        return distribution("enkash-auth").version
    except PackageNotFoundError:
        return "unknown"


def spec_version() -> str:
    """Return `info.version` of the spec that the installed client was generated from."""
    import tomllib  # not for a sign-in, which needs the other one

    provenance = distribution("enkash-auth").read_text("extra_metadata/provenance.toml") or ""
    return str(tomllib.loads(provenance)["spec_version"])
