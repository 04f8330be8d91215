"""FileStore: entries as private files in a private directory, for the processes of one user on one machine."""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from enkash_auth._machine import boot_id, make_directory
from enkash_auth._policy.cause import cause_of
from enkash_auth._policy.lifetime import Moment
from enkash_auth.errors import ConfigurationError

from ._protocol import Lease, Lock, StoreError, store_errors

_LARGEST = 64 * 1024
_TIMEOUT = 1.0  # seconds; the lock is held for single reads and writes only
_LONG = 365 * 86_400.0  # seconds; an entry kept longer (passwords sent, a reset) survives a clock that is set back
_NEW = ".enkash-auth-new"  # suffix of a file that is being written
_DEAD = 60.0  # seconds after which the writer of such a file must have been killed: writing takes milliseconds
_NEEDED = ("geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")  # they keep a directory private
_store_errors = store_errors(OSError, Timeout)


class FileStore:
    """Keeps entries in `directory`, which it creates as 0700, in files of mode 0600.

    An entry is as old as the wall clock says, or as the monotonic clock says if that is more and the machine was not
    booted since: the first may be set back, the second stops while the machine is suspended. After a boot an entry from
    the future counts as missing, unless it is kept for years: a refusal must survive a clock that is set back. Links,
    pipes and other users' files count as missing. A directory that is a link or that others may enter raises
    `ConfigurationError`, as does a system without POSIX's users and modes; later trouble raises `StoreError`.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if not all(hasattr(os, name) for name in _NEEDED):
            raise ConfigurationError("a file store needs a POSIX system (Linux, macOS, BSD); use a redis:// URL here")
        self._directory, why = Path(directory).absolute(), ""
        self.place = str(self._directory)
        try:
            self._exists()
        except StoreError as error:
            why = str(error)
        except ValueError:
            why = "the token store's directory must be a path without null characters"
        except OSError as error:
            why = f"the token store {self.place} cannot be used ({cause_of(error)}); name another directory"
        if why:
            raise ConfigurationError(why)

    @_store_errors
    def load(self, key: str) -> tuple[bytes, float] | None:
        return self._read(key) if self._exists() else None

    @_store_errors
    def save(self, key: str, value: bytes, seconds: float, lock: Lock | None = None) -> bool:
        saved = _now()
        self._make()
        with self._alone(lock.key) if isinstance(lock, Lease) else nullcontext():
            kept = lock is None or (isinstance(lock, Lease) and self._held(lock))
            if kept:
                self._write(key, value, saved, seconds)
            return kept

    @_store_errors
    def delete(self, key: str) -> None:
        if self._exists():
            (self._directory / key).unlink(missing_ok=True)

    @_store_errors
    def lock(self, key: str, seconds: float) -> Lock | None:
        lease = Lease(f"{key}.lease", self._release)
        self._make()
        if self._read(lease.key):  # without the file's lock: hundreds of processes may ask, and the holder needs it
            return None
        with self._alone(lease.key):
            if self._read(lease.key):
                return None
            self._write(lease.key, lease.owner, _now(), seconds)
            return lease

    def close(self) -> None:
        pass

    def _held(self, lease: Lease) -> bool:
        return (self._read(lease.key) or (b"",))[0] == lease.owner

    @_store_errors
    def _release(self, lease: Lease) -> None:
        if self._exists():
            with self._alone(lease.key):
                if self._held(lease):
                    (self._directory / lease.key).unlink()

    def _exists(self) -> bool:
        """Refuse links and open directories: other users could choose the place or add entries."""
        try:
            found = self._directory.lstat()
        except FileNotFoundError:
            return False
        private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not private:
            raise StoreError(f"the token store {self.place} must be a directory of this user's, mode 0700, and no link")
        return True

    def _make(self) -> None:
        if not self._exists():
            make_directory(self._directory)
            self._exists()

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with FileLock(self._directory / f"{key}.lock", timeout=_TIMEOUT, mode=0o600):
            found = self._directory.lstat().st_mode
            if stat.S_ISDIR(found) and found & 0o077:  # it was deleted meanwhile: filelock has made it again, open
                self._directory.chmod(0o700)
            yield

    def _read(self, key: str) -> tuple[bytes, float] | None:
        safely = os.O_NOFOLLOW | os.O_NONBLOCK  # through no link, and without waiting for a pipe's writer
        try:
            with open(self._directory / key, "rb", opener=lambda path, flags: os.open(path, flags | safely)) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                    return None
                head, _, value = file.read(_LARGEST).partition(b"\n")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return None
            raise
        try:
            *times, boot = head.split(b" ")
            monotonic, wall, seconds = map(float, times)
        except ValueError:
            return None  # cut off or foreign: the next save replaces it
        now = _now()
        ages = [now.wall - wall, now.monotonic - monotonic if boot and boot == boot_id() else float("-inf")]
        left = min(seconds, seconds - max(ages))
        return (value, left) if left > 0 and (max(ages) >= 0 or seconds > _LONG) else None

    def _write(self, key: str, value: bytes, saved: Moment, seconds: float) -> None:
        """Replace the file in one step: even if this process is killed, readers see the old entry or the new one."""
        for path in self._directory.glob(f".*{_NEW}"):  # killed writers left these
            with suppress(FileNotFoundError):  # another process deletes it, too
                if time.time() - path.lstat().st_mtime > _DEAD:
                    path.unlink()
        descriptor, name = tempfile.mkstemp(_NEW, f".{key}.", self._directory)  # 0600, never a link
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"%.6f %.6f %.6f %s\n" % (*saved, seconds, boot_id()) + value)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._directory / key)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def _now() -> Moment:
    return Moment(time.monotonic(), time.time())
