"""A directory for files of this user's alone: a file store, and the file of attempts."""

from contextlib import suppress
from pathlib import Path


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """Make a directory, and those above it as others may read, but not write them, whatever the umask is."""
    with suppress(FileExistsError):
        try:
            directory.mkdir(mode)
        except FileNotFoundError:
            make_directory(directory.parent, 0o755)
            directory.mkdir(mode)
