"""Generates the client from the spec, and checks whether generated/ is that client."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "enkash_auth_client"
PROVENANCE = "provenance.toml"
SPEC = Path("spec", "enkash-auth.yaml")
SETTINGS = Path("spec", "generator.yaml")
TARGET = Path("generated")
PINS = Path("requirements", "generate.txt")


class GenerationError(Exception):
    """The generator failed, warned or dropped something."""


def _sha256(path: Path) -> str:
    # Line endings do not count: a checkout with CRLF is not an edited spec.
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _pin(requirements: str, name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==([^\s;\\]+)", requirements, re.MULTILINE)
    if found is None:
        raise GenerationError(f"{PINS} does not pin {name}")
    return found.group(1)


def _spec_version(spec: str) -> str:
    # Not parsed as YAML: nox runs this, and may have no parser.
    found = re.search(r"""^info:\n(?:(?:[ #].*)?\n)*?  version: *["']?([\w.+-]+)""", spec, re.MULTILINE)
    if found is None:
        raise GenerationError(f"{SPEC} has no info.version")
    return found.group(1)


def fingerprint(root: Path) -> str:
    """Return the first lines of provenance.toml: everything that the generated tree depends on, without a date."""
    requirements = (root / PINS).read_text(encoding="utf-8")
    return (
        f'spec_version = "{_spec_version((root / SPEC).read_text(encoding="utf-8"))}"\n'
        f'spec_sha256 = "{_sha256(root / SPEC)}"\n'
        f'settings_sha256 = "{_sha256(root / SETTINGS)}"\n'
        f'generator = "openapi-python-client=={_pin(requirements, "openapi-python-client")}"\n'
        f'formatter = "ruff=={_pin(requirements, "ruff")}"\n'
    )


def _provenance(root: Path, folder: Path) -> str:
    """Return the text of provenance.toml: the inputs of the tree in `folder`, and a digest of the tree."""
    digest = hashlib.sha256()
    for name, content in sorted(_files(folder).items()):
        if name != PROVENANCE:  # the length comes first, so that two different trees never hash the same bytes
            for part in (name.encode(), content):
                digest.update(b"%d:" % len(part) + part)
    return f'{fingerprint(root)}tree_sha256 = "{digest.hexdigest()}"\n'


def is_current(root: Path) -> bool:
    """Return whether the tree was generated from these inputs and is unchanged since."""
    provenance = root / TARGET / PROVENANCE
    try:  # bytes: provenance in other line endings, or not text, does not match
        return provenance.is_file() and provenance.read_bytes() == _provenance(root, root / TARGET).encode()
    except GenerationError:  # generating reports the reason
        return False


def generate_into(root: Path, bin_dir: Path, folder: Path) -> None:
    """Write the content of generated/ into the new folder `folder`. `bin_dir` has generator and formatter."""
    generator = shutil.which("openapi-python-client", path=str(bin_dir))
    if generator is None or shutil.which("ruff", path=str(bin_dir)) is None:
        raise GenerationError("openapi-python-client and ruff are not installed side by side")
    folder.mkdir(parents=True)
    command = [generator, "generate", "--path", str(root / SPEC), "--config", str(root / SETTINGS)]
    command += ["--meta", "none", "--fail-on-warning", "--output-path", str(folder / PACKAGE)]
    # The post hooks take ruff from PATH: it must be the pinned one.
    environment = os.environ.copy()  # noqa: TID251  (a build step, not the library)
    environment["PATH"] = os.pathsep.join([str(bin_dir), environment.get("PATH", os.defpath)])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GenerationError(f"the generator rejects {SPEC}:\n{_gist(done.stdout + done.stderr)}")
    (folder / PACKAGE / "py.typed").touch()
    (folder / PROVENANCE).write_text(_provenance(root, folder), encoding="utf-8", newline="\n")


def _gist(said: str) -> str:
    """Return the generator's messages without greeting, headline and addresses."""
    noise = r"^(Generating .*|(Error|Warning)\(s\) encountered.*| *For further information visit .*)\n"
    said = re.sub(noise, "", said, flags=re.MULTILINE)
    return said.partition("If you believe")[0].strip()


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder, *folder.rglob("*"))  # it may be a file
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(expected: Path, actual: Path) -> list[str]:
    """Return one line for each missing or extra file, and each that differs, in `actual`."""
    left, right = _files(expected), _files(actual)
    lines = [f"missing: {name}" for name in sorted(left.keys() - right.keys())]
    lines += [f"extra: {name}" for name in sorted(right.keys() - left.keys())]
    lines += [f"differs: {name}" for name in sorted(left.keys() & right.keys()) if left[name] != right[name]]
    return lines


def regenerate(root: Path, bin_dir: Path) -> None:
    """Replace generated/ completely, or leave it unchanged."""
    target = root / TARGET
    # Beside the target, so that the swap is two renames on one file system. After an interrupt the formatter may
    # still write while its folder is deleted.
    with tempfile.TemporaryDirectory(prefix=".generated-", dir=root, ignore_cleanup_errors=True) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        generate_into(root, bin_dir, fresh)
        try:
            if target.exists():
                target.rename(old)
            fresh.rename(target)
        except BaseException:  # an interrupt between the renames must not lose the tree
            if old.exists() and not target.exists():
                old.rename(target)
            raise
