"""What files of this user's alone need: a directory, the boot's id, and whether the process that wrote still runs."""

import zlib
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


def place() -> int:
    """Return a number for this boot of this machine, and for the namespace of its process ids; 0 without /proc."""
    try:
        return zlib.crc32(boot_id() + bytes(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return 0


def born(pid: int | str) -> int:
    """Return when a process started, in ticks since boot; 0 if it has ended, and without /proc."""
    try:
        # bytes: a name of 15 bytes at most stands before it, which may end amid a character
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
