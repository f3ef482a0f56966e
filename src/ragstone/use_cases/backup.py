"""Taking a backup of a platform that goes on working (docs/backup.md)."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ragstone.domain.errors import Conflict, NotFound
from ragstone.ports.backup import Backup, BackupCopy
from ragstone.ports.catalog import Catalog
from ragstone.use_cases.maintenance import Maintenance

_TRIES = 5  # collections are seldom made or deleted; a backup that meets it begins again


class Backups:
    """`backup` is None where the data are kept by servers, which have backups of their own."""

    def __init__(self, backup: Backup | None, catalog: Catalog, maintenance: Maintenance) -> None:
        self._backup = backup
        self._catalog = catalog
        self._maintenance = maintenance

    async def take(self) -> BackupCopy:
        """A copy of everything as of now; close it when it has been read. Nothing is pruned, purged or mended while it is made.

        Raises `NotFound` where there is nothing to copy here, `Busy`, `StorageFull`, `Conflict` when collections come and go all the time.
        """
        if self._backup is None:
            raise NotFound("This server does not keep its data itself; back up the stores that do.")
        for _ in range(_TRIES - 1):
            try:
                return await self._take(self._backup)
            except Conflict:
                continue
        return await self._take(self._backup)

    async def _take(self, backup: Backup) -> BackupCopy:
        names = sorted(collection.name for collection in await self._catalog.collections())
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self._maintenance.exclusive(name))
            return await backup.copy(names)
