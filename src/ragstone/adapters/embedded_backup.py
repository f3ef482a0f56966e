"""Backups of an embedded data directory while it is in use (docs/backup.md).

The database is copied first; what it says is the backup. Then come the index and the documents, which may be ahead of it by then: the copy is
freed of every attempt that the database's copy does not know. What it knows as aborted is cleaned up when the backup is opened, as after a crash.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import uuid
import weakref
from collections.abc import AsyncGenerator, Collection
from datetime import UTC, datetime
from pathlib import Path

from ragstone.adapters.backup_archive import pack
from ragstone.adapters.backup_manifest import Manifest, describe
from ragstone.adapters.data_directory import DIRECTORIES, DataDirectory
from ragstone.adapters.data_formats import DATABASE_FILE, write_format
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sparse_files import allocated
from ragstone.adapters.sqlite_backup import Copied, attempts_of, copy_database
from ragstone.domain.errors import Busy, Conflict, NotFound, StorageFull, Unavailable

_RESERVE = 256 * 2**20  # bytes left free beside the copy: writers go on meanwhile


class EmbeddedBackup:
    """Implements `Backup`. One copy at a time, until it is closed; it lies in the directory's `.backup`."""

    def __init__(self, data: DataDirectory, versions: GitVersionStore, index: QdrantEdgeIndex) -> None:
        self._data = data
        self._versions = versions
        self._index = index
        self._copying = False
        self._last: weakref.ref[FolderCopy] | None = None

    async def copy(self, collections: Collection[str]) -> FolderCopy:
        last = self._last() if self._last is not None else None
        if self._copying or (last is not None and not last.closed):
            raise Busy("Another backup is being made or read; try again when it is done.", retry_after=30.0)
        self._copying = True
        root = self._data.backup / uuid.uuid4().hex
        try:
            await asyncio.to_thread(self._begin, root)
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            copied = await asyncio.to_thread(copy_database, self._data.database, root / DATABASE_FILE)
            if {each.collection.name for each in copied} != set(collections):
                raise Conflict("Collections were made or deleted meanwhile; try again.")
            for each in copied:
                await self._copy_collection(each, root)
            await self._free_of_later(copied, root)
            manifest = await asyncio.to_thread(self._finish, root, copied, now)
        except OSError as error:
            await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
            raise _told(error) from error
        except BaseException:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, root, ignore_errors=True))
            raise
        finally:
            self._copying = False
        copy = FolderCopy(root, manifest)
        self._last = weakref.ref(copy)
        return copy

    def _begin(self, root: Path) -> None:
        needed = allocated(self._data.index) + allocated(self._data.spool)
        needed += 2 * sum(path.stat().st_size for path in self._data.database.parent.glob(f"{DATABASE_FILE}*"))
        free = shutil.disk_usage(self._data.database.parent).free
        if free < needed + _RESERVE:
            raise StorageFull(
                f"A backup needs room for a copy beside the data: about {(needed + _RESERVE) / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free; "
                "free some and try again."
            )
        shutil.rmtree(root.parent, ignore_errors=True)  # a copy that nobody closed
        root.mkdir(mode=0o700, parents=True)
        for name in DIRECTORIES:
            (root / name).mkdir(mode=0o700)
        self._copy_spool(root)

    def _copy_spool(self, root: Path) -> None:
        """Before the database's copy and after it: what is handed on to the log meanwhile is in both then, and not in neither. The log takes it for one."""
        for file in self._data.spool.glob("*.jsonl"):
            copy = root / "spool" / file.name
            before, now = copy.read_bytes() if copy.exists() else b"", file.read_bytes()
            whole = before[: before.rfind(b"\n") + 1]  # a line may have been half written
            copy.write_bytes(now if now.startswith(whole) else whole + now)

    async def _copy_collection(self, each: Copied, root: Path) -> None:
        for space in each.collection.spaces:
            name = each.collection.index_name(space.id)
            try:
                await self._index.copy(name, root / "index" / name)
            except NotFound:
                await self._gone(each)
        try:
            await self._versions.copy(
                each.collection.uid, root / "versions" / f"{each.collection.uid}.git", each.head.id if each.head else None
            )
        except NotFound:
            await self._gone(each)

    async def _gone(self, each: Copied) -> None:
        """A collection that was deleted meanwhile; one that is being made has nothing yet, and gets it when the backup is opened."""
        if each.head is not None or each.collection.uid not in await asyncio.to_thread(attempts_of, self._data.database):
            raise Conflict(f"Collection {each.collection.name!r} was deleted meanwhile; try again.")

    async def _free_of_later(self, copied: list[Copied], root: Path) -> None:
        now = await asyncio.to_thread(attempts_of, self._data.database)
        for each in copied:
            later = now.get(each.collection.uid, 0) > each.attempts
            for space in each.collection.spaces:
                folder = root / "index" / each.collection.index_name(space.id)
                if later and await asyncio.to_thread(folder.exists):
                    await self._index.rewind_copy(folder, each.attempts)

    def _finish(self, root: Path, copied: list[Copied], now: str) -> Manifest:
        self._copy_spool(root)
        write_format(root)
        return describe(root, copied, now)


def _told(error: OSError) -> Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("No space is left for the copy that a backup needs; free some and try again.")
    return Unavailable(f"The data can't be copied ({error.strerror or 'input/output error'}); try again.")


class FolderCopy:
    """Implements `BackupCopy` over a folder, which it removes."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self.closed = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        pieces = pack(self._folder, self._manifest)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            if piece:
                yield piece

    async def close(self) -> None:
        if not self.closed:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self.closed = True
