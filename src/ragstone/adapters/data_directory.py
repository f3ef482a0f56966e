"""The embedded data directory: its layout, its format, and the lock that gives it one owner."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragstone.adapters.data_formats import DATABASE_FILE, FORMAT_DRAFT, FORMAT_FILE, check_format, migrate, write_format
from ragstone.domain.errors import DataDirectoryError, RagstoneError, StorageFull

DIRECTORIES = ("versions", "index", "staging", "spool")
RESTORING = ".restore"  # a backup is unpacked here; as long as it is there without FORMAT, the directory does not open
_BACKUP = ".backup"  # a backup is copied here
SERVERS = "servers"  # what `ragstone up --profile dev` keeps of the servers that it starts
MODELS = "models"  # versions that were registered, by any process on this machine, whether the directory is open or not
_OURS = {*DIRECTORIES, SERVERS, MODELS, "LOCK", FORMAT_FILE, FORMAT_DRAFT}
_LOCK_TRIES, _LOCK_PAUSE = 10, 0.02  # `owner` holds the lock for an instant: seconds
_FIELD = "data_dir"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has a data directory open. `url` is where it answers, once it does."""

    pid: int | None
    url: str | None


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """An open data directory, owned by this process until `close`. `backup` is for copies on their way out; it is removed when a directory is opened."""

    versions: Path
    index: Path
    staging: Path
    spool: Path
    backup: Path
    database: Path
    _lock: int

    def announce(self, url: str) -> None:
        """Tells other processes where this one answers."""
        _write_owner(self._lock, url)

    def close(self) -> None:
        """Gives the directory back."""
        os.close(self._lock)


def open_data_directory(path: Path) -> DataDirectory:
    """Opens the directory, or makes it with mode 0700. Raises `DataDirectoryError` or `StorageFull`."""
    try:
        return _open(path)
    except OSError as error:
        raise _unusable(error) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The directory is this process's alone meanwhile, whatever is in it. Raises `DataDirectoryError` when it is in use."""
    lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _own(lock)
        yield
    finally:
        os.close(lock)


def owner(path: Path) -> Owner | None:
    """The running owner of the directory, or None when there is none."""
    try:
        lock = os.open(path / "LOCK", os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try_lock(lock, fcntl.LOCK_SH) else _read_owner(lock)
    finally:
        os.close(lock)


def _open(path: Path) -> DataDirectory:
    if path.exists() and not path.is_dir():
        raise DataDirectoryError("the data directory is a file; name another place.", field=_FIELD)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(path)  # before the lock too: what is refused stays as it is, to the last byte
    lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _own(lock)
        is_new = _check(path)
        for remains in (_BACKUP, RESTORING):  # of a process that was killed
            shutil.rmtree(path / remains, ignore_errors=True)
        if is_new:
            path.chmod(0o700)
        else:
            migrate(path)
        for name in DIRECTORIES:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        if is_new:
            write_format(path)
        versions, index, staging, spool = (path / name for name in DIRECTORIES)
        return DataDirectory(versions, index, staging, spool, path / _BACKUP, path / DATABASE_FILE, lock)
    except BaseException:
        os.close(lock)
        raise


def _check(path: Path) -> bool:
    """Whether the directory is new. Raises `DataDirectoryError` for one that is not to be touched."""
    if (path / FORMAT_FILE).exists():
        check_format(path)
        return False
    found = {entry.name for entry in path.iterdir()}
    if RESTORING in found:
        raise DataDirectoryError("a restore into this directory was cut short; run `ragstone restore` again.", field=_FIELD)
    if found - _OURS:
        raise DataDirectoryError("the directory is not empty and not ragstone's; name an empty or new one.", field=_FIELD)
    return True


def _own(lock: int) -> None:
    for _ in range(_LOCK_TRIES):
        if _try_lock(lock, fcntl.LOCK_EX):
            _write_owner(lock, None)
            return
        time.sleep(_LOCK_PAUSE)
    other = _read_owner(lock)
    who = f"process {other.pid}" if other.pid else "another process"
    at = f" at {other.url}" if other.url else ""
    raise DataDirectoryError(f"the data directory is in use by {who}{at}; stop it or name another directory.", field=_FIELD)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_owner(lock: int, url: str | None) -> None:
    line = json.dumps({"pid": os.getpid(), "url": url}).encode() + b"\n"
    os.pwrite(lock, line, 0)  # never empty between: readers take the first line
    os.ftruncate(lock, len(line))


def _read_owner(lock: int) -> Owner:
    try:
        fields = json.loads(os.pread(lock, 4096, 0).split(b"\n", 1)[0])
        return Owner(fields["pid"], fields["url"])
    except (ValueError, KeyError, TypeError):
        return Owner(None, None)


def _unusable(error: OSError) -> RagstoneError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("no space is left for the data directory; free some and try again.", field=_FIELD)
    reason = error.strerror or "input/output error"
    return DataDirectoryError(f"the data directory cannot be used ({reason}); check its path and rights.", field=_FIELD)
