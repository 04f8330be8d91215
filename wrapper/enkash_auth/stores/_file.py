"""FileStore: entries as private files in a private directory, for the processes of one user on one machine."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from enkash_auth.errors import ConfigurationError

from ._protocol import Lock, StoreError, told

_LARGEST = 64 * 1024
_TIMEOUT = 1.0  # seconds; the lock is held for single reads and writes only
_LONG = 365 * 86_400.0  # seconds; what lives longer, a refusal, counts also when the clock was set back since
_NEW = ".enkash-auth-new"  # the ending of a file that is being written
_DEAD = 60.0  # seconds after which such a file's writer has been killed: writing takes milliseconds
_NEEDED = ("geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")  # what keeps a directory private
_told = told("the token store's directory failed", OSError, Timeout)


class FileStore:
    """Keeps entries in `directory`, which it creates as 0700, in files of mode 0600.

    Time is the machine's wall clock; an entry from the future is not there, unless it is to live for years: a refusal
    outlasts a clock that is set back. Nor is what is no file, a link, or another user's. A directory that others may
    enter or that is a link raises `ConfigurationError`, as does a system without POSIX's users and modes; later trouble
    is a `StoreError`.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if not all(hasattr(os, name) for name in _NEEDED):
            raise ConfigurationError("a file store needs a POSIX system (Linux, macOS, BSD); use a redis:// URL here")
        self._directory, why = Path(directory).absolute(), ""
        try:
            self._exists()
        except StoreError as error:
            why = str(error)
        except (OSError, ValueError) as error:
            why = f"the token store's directory cannot be used ({type(error).__name__})"
        if why:
            raise ConfigurationError(why)

    @_told
    def load(self, key: str) -> tuple[bytes, float] | None:
        return self._read(key) if self._exists() else None

    @_told
    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        saved = time.time()
        self._make()
        if lock is None:
            self._write(key, value, saved, seconds)
            return True
        if not isinstance(lock, _Lease):
            return False
        with self._alone(lock.key):
            held = self._held(lock)
            if held:
                self._write(key, value, saved, seconds)
            return held

    @_told
    def delete(self, key: str) -> None:
        if self._exists():
            (self._directory / key).unlink(missing_ok=True)

    @_told
    def lock(self, key: str, seconds: float) -> Lock | None:
        lease = _Lease(f"{key}.lease", self._release)
        self._make()
        with self._alone(lease.key):
            if self._read(lease.key):
                return None
            self._write(lease.key, lease.owner, time.time(), seconds)
            return lease

    def close(self) -> None:
        pass

    def _held(self, lease: _Lease) -> bool:
        return (self._read(lease.key) or (b"",))[0] == lease.owner

    def _release(self, lease: _Lease) -> None:
        with self._alone(lease.key):
            if self._held(lease):
                (self._directory / lease.key).unlink()

    def _exists(self) -> bool:
        """A link would let who owns it choose the place; a looser mode would let others put entries there."""
        try:
            found = self._directory.lstat()
        except FileNotFoundError:
            return False
        private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not private:
            raise StoreError("the token store's directory must be a directory of this user's, mode 0700, and no link")
        return True

    def _make(self) -> None:
        if not self._exists():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._exists()

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with FileLock(self._directory / f"{key}.lock", timeout=_TIMEOUT, mode=0o600):
            yield

    def _read(self, key: str) -> tuple[bytes, float] | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._directory / key, flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return None
            raise
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                return None
            head, _, value = file.read(_LARGEST).partition(b"\n")
        try:
            saved, seconds = map(float, head.split())
        except ValueError:
            return None  # cut off or not ours: the next save mends it
        now = time.time()
        left = min(seconds, saved + seconds - now)
        return (value, left) if left > 0 and (saved <= now or seconds > _LONG) else None

    def _write(self, key: str, value: bytes, saved: float, seconds: float) -> None:
        """Replace the file in one step: a reader sees the old entry or the new one, whoever is killed."""
        self._sweep()
        descriptor, name = tempfile.mkstemp(_NEW, f".{key}.", self._directory)  # 0600, never a link
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"%.6f %.6f\n" % (saved, seconds) + value)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._directory / key)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _sweep(self) -> None:
        """Remove the files that killed writers have left."""
        for path in self._directory.glob(f".*{_NEW}"):
            with suppress(FileNotFoundError):  # a sibling sweeps, too
                if time.time() - path.lstat().st_mtime > _DEAD:
                    path.unlink()


class _Lease:
    """Whose saves are kept: the owner that the lease file names, until the lease ends."""

    def __init__(self, key: str, release: Callable[[_Lease], None]) -> None:
        self.key, self.owner, self._release = key, secrets.token_bytes(16), release

    @_told
    def release(self) -> None:
        self._release(self)
