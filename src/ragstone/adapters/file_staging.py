"""Staging area in plain files: `<directory>/<job>/<sha256>`."""

from __future__ import annotations

import asyncio
import errno
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.documents import checksum
from ragstone.domain.errors import InternalError, NotFound, StorageFull, Unavailable

T = TypeVar("T")
_THREADS = 8  # fsyncs that wait at the same time share the disk's journal


class FileStaging:
    """Implements `Staging`. The process must be the directory's only owner: what begins with a dot is removed at start."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="staging")
        for remains in directory.glob(".*"):
            _remove(remains)

    async def put(self, job: str, content: bytes) -> str:
        return await self._run(lambda: self._put(self._of(job), content))

    async def get(self, job: str, digest: str) -> bytes:
        def work() -> bytes:
            try:
                return (self._of(job) / _name(digest)).read_bytes()
            except FileNotFoundError:
                raise NotFound(f"no bytes are staged for job {job[:64]!r} under {digest[:64]!r}.") from None

        return await self._run(work)

    async def discard(self, job: str) -> None:
        def work() -> None:
            doomed = self._directory / f".{uuid4().hex}"
            try:
                self._of(job).rename(doomed)  # all of them are gone at once
            except FileNotFoundError:
                return
            _remove(doomed)

        await self._run(work)

    async def jobs(self) -> list[str]:
        return await self._run(lambda: sorted(path.name for path in self._directory.iterdir() if not path.name.startswith(".")))

    def _put(self, directory: Path, content: bytes) -> str:
        digest = checksum(content)
        target = directory / digest
        if not target.exists():
            temporary = self._directory / f".{uuid4().hex}"
            directory.mkdir(mode=0o700, exist_ok=True)
            write_durably(target, content, temporary)
        sync_directory(directory)  # even when the file was there: whoever wrote it may not have come this far
        sync_directory(self._directory)
        return digest

    def _of(self, job: str) -> Path:
        return self._directory / _name(job)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("no space is left for accepted documents; free some and try again.") from error
            raise Unavailable(f"the staging area cannot be read or written ({error.strerror or 'input/output error'}).") from error


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
        raise InternalError(f"{name[:80]!r} is neither a job's id nor a digest.")
    return name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
