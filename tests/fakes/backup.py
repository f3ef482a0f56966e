"""A backup of nothing but the collections' names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

from ragstone.domain.errors import Busy, Conflict
from ragstone.ports.catalog import Catalog


class InMemoryCopy:
    """Implements `BackupCopy`."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.closed = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        yield b"backup of"
        for name in self._names:
            yield f" {name}".encode()

    async def close(self) -> None:
        self.closed += 1


class InMemoryBackup:
    """Implements `Backup`; `copies` are those made."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._copying = False
        self.copies: list[InMemoryCopy] = []

    async def copy(self, collections: Collection[str]) -> InMemoryCopy:
        if self._copying or any(not copy.closed for copy in self.copies):
            raise Busy("Another backup is being made; try again when it is done.", retry_after=30.0)
        self._copying = True
        try:
            await asyncio.sleep(0)
            names = [collection.name for collection in await self._catalog.collections()]
        finally:
            self._copying = False
        if set(names) != set(collections):
            raise Conflict("Collections were made or deleted meanwhile; try again.")
        self.copies.append(InMemoryCopy(names))
        return self.copies[-1]
