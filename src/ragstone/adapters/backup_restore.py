"""Restoring a backup into an empty directory: all of it, or nothing that opens."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.adapters.backup_archive import Archive, Tell, opened
from ragstone.adapters.backup_manifest import Manifest
from ragstone.adapters.data_directory import DIRECTORIES, RESTORING, locked
from ragstone.adapters.data_formats import DATABASE_FILE, FORMAT_FILE
from ragstone.adapters.durable_files import sync_directory
from ragstone.adapters.sparse_files import create
from ragstone.domain.errors import DataDirectoryError, StorageFull

_RESERVE = 256 * 2**20  # bytes left free: below it the stores refuse writes
_OURS = {*DIRECTORIES, "LOCK", FORMAT_FILE, DATABASE_FILE, RESTORING}


def check(file: Path, tell: Tell = lambda *_: None) -> Manifest:
    """Reads a whole backup and checks every file of it. Raises `InvalidInput`."""
    with opened(file) as archive:
        for _, content in archive.files(tell):
            deque(content, 0)
        return archive.manifest


def restore(file: Path, directory: Path, tell: Tell = lambda *_: None) -> Manifest:
    """Makes `directory` the data directory that was backed up. It must be empty, or not there, and have no owner.

    The files are unpacked and checked in a folder of it, then moved to their places, the FORMAT file last: without it the directory does not
    open. What a restore that was killed has left is removed by the next one. Raises `InvalidInput` for a damaged backup, `DataDirectoryError`
    for a directory that is not empty or in use, `StorageFull`; then nothing is left behind.
    """
    try:
        with opened(file) as archive:
            return _restore(archive, directory, tell)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("no space is left to restore the backup; free some and try again.", field="data_dir") from error
        reason = error.strerror or "input/output error"
        raise DataDirectoryError(
            f"the backup can't be restored ({reason}); check the file's and the directory's path and rights."
        ) from error


def _restore(archive: Archive, directory: Path, tell: Tell) -> Manifest:
    manifest = archive.manifest
    made = not directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with locked(directory):
            _empty(directory)
            needed = sum(file.stored for file in manifest.files)
            free = shutil.disk_usage(directory).free
            if free < needed + _RESERVE:
                raise StorageFull(
                    f"The backup needs {(needed + _RESERVE) / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free; free some and try again.",
                    field="data_dir",
                )
            with _undone_on_failure(directory):
                unpacked = directory / RESTORING
                _unpack(archive, unpacked, tell)
                directory.chmod(0o700)
                _move_in(unpacked, directory)
    except BaseException:
        if made and {entry.name for entry in directory.iterdir()} <= {"LOCK"}:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return manifest


def _empty(directory: Path) -> None:
    """Removes what a restore that was killed left; raises `DataDirectoryError` when there is anything else."""
    found = {entry.name for entry in directory.iterdir()}
    if RESTORING in found and FORMAT_FILE not in found and found <= _OURS:
        _clear(directory)
    elif found - {"LOCK"}:
        raise DataDirectoryError("a backup is restored into an empty directory only; name an empty or new one.", field="data_dir")


def _clear(directory: Path) -> None:
    """The folder that tells of an unfinished restore goes last."""
    for entry in sorted(directory.iterdir(), key=lambda path: path.name == RESTORING):
        if entry.name == "LOCK":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        sync_directory(directory)


@contextmanager
def _undone_on_failure(directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _clear(directory)
        raise


def _unpack(archive: Archive, target: Path, tell: Tell) -> None:
    target.mkdir(mode=0o700)
    sync_directory(target.parent)
    folders = {target, *(target / name for name in (*DIRECTORIES, *archive.manifest.folders))}
    for folder in sorted(folders):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, content in archive.files(tell):
        place = target / file.path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folders.add(place.parent)
        with create(place) as written:
            for offset, piece in content:
                written.seek(offset)
                written.write(piece)
            written.truncate(file.size)
            written.flush()
            os.fsync(written.fileno())
    for folder in folders:
        sync_directory(folder)


def _move_in(unpacked: Path, directory: Path) -> None:
    """From here on a crash leaves what does not open, for FORMAT is not there; once it is, the rest is there too."""
    for entry in sorted(unpacked.iterdir(), key=lambda path: path.name == FORMAT_FILE):
        if entry.name == FORMAT_FILE:
            sync_directory(directory)
        entry.rename(directory / entry.name)
    sync_directory(directory)
    shutil.rmtree(unpacked)
    sync_directory(directory)
