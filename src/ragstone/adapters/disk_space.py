"""Free space of the file system that a data directory is on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from ragstone.domain.errors import Unavailable

_NEEDED = 256 * 2**20  # bytes: the index stops at half of it, and a commit is written before that is seen


class DiskSpace:
    """Implements `Storage`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def free(self) -> tuple[int, int]:
        try:
            return (await asyncio.to_thread(shutil.disk_usage, self._directory)).free, _NEEDED
        except OSError as error:
            raise Unavailable(f"the free space can't be told ({error.strerror or 'input/output error'}).") from error
