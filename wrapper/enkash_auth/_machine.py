"""What files of this user's alone need, those of a file store and that of attempts: a directory, and the boot's id."""

from contextlib import suppress
from pathlib import Path


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """Make a directory, and those above it as others may read, but not write them, whatever the umask is."""
    with suppress(FileExistsError):
        if not directory.parent.exists():
            make_directory(directory.parent, 0o755)
        directory.mkdir(mode)


def boot_id() -> bytes:
    """Return an id of this boot of the machine, nothing where the system has none (only Linux has)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b""
