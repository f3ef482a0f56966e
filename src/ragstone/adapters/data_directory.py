"""The embedded data directory: its layout, its format, and the lock that gives it one owner."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.errors import DataDirectoryError, RagstoneError, StorageFull

FORMAT = 1
_DIRECTORIES = ("versions", "index", "staging")
_OURS = {*_DIRECTORIES, "LOCK", "FORMAT", ".FORMAT.new"}
_LOCK_TRIES, _LOCK_PAUSE = 10, 0.02  # `owner` holds the lock for an instant: seconds
_FIELD = "data_dir"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has a data directory open. `url` is where it answers, once it does."""

    pid: int | None
    url: str | None


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """An open data directory, owned by this process until `close`."""

    versions: Path
    index: Path
    staging: Path
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
    is_new = not (path / "FORMAT").exists()
    if is_new and {entry.name for entry in path.iterdir()} - _OURS:
        raise DataDirectoryError("the directory is not empty and not ragstone's; name an empty or new one.", field=_FIELD)
    lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _own(lock)
        _check_format(path, is_new)
        for name in _DIRECTORIES:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        if is_new:
            path.chmod(0o700)
            fresh = path / ".FORMAT.new"
            fresh.unlink(missing_ok=True)  # of a start that was cut short
            write_durably(path / "FORMAT", f"{FORMAT}\n".encode(), fresh)
            sync_directory(path)
        return DataDirectory(path / "versions", path / "index", path / "staging", path / "ragstone.db", lock)
    except BaseException:
        os.close(lock)
        raise


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


def _check_format(path: Path, is_new: bool) -> None:
    if is_new:
        return
    text = (path / "FORMAT").read_text("ascii", "replace").strip()
    if not text.isdecimal() or int(text) < 1:
        raise DataDirectoryError("the data directory's FORMAT file is damaged; restore the directory from a backup.", field=_FIELD)
    if int(text) > FORMAT:
        raise DataDirectoryError(
            f"the data directory was made by a newer ragstone (format {text}, this one knows {FORMAT}); upgrade ragstone.", field=_FIELD
        )


def _unusable(error: OSError) -> RagstoneError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("no space is left for the data directory; free some and try again.", field=_FIELD)
    reason = error.strerror or "input/output error"
    return DataDirectoryError(f"the data directory cannot be used ({reason}); check its path and rights.", field=_FIELD)
