"""Counts of usage in MongoDB, for the `limits` library: shared by all processes, and deleted by the server when their window is over (ADR 0022)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from limits.aio.storage import Storage
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo import MongoAdapter, MongoDatabase
from ragstone.adapters.mongo_schema import Database, Document
from ragstone.domain.errors import RagstoneError

_KEEP = 3600.0  # seconds for which a count outlives its window: clocks differ


class MongoUsageStorage(MongoAdapter, Storage):
    """Windows are those of the clock: minutes, days in UTC. Counts need not survive the loss of a server, so they cost one quick command."""

    STORAGE_SCHEME = ["ragstone+mongo"]  # noqa: RUF012 - as the library declares it

    def __init__(self, mongo: MongoDatabase, dependency: Dependency) -> None:
        MongoAdapter.__init__(self, mongo, dependency)
        Storage.__init__(self)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong."""
        return RagstoneError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """The count after it."""

        async def work(db: Database) -> Document | None:
            counts = db["usage"].with_options(write_concern=WriteConcern(1), read_concern=ReadConcern("local"))
            ends = _ends(expiry)
            update = {"$inc": {"count": amount}, "$setOnInsert": {"expires": datetime.fromtimestamp(ends + _KEEP, UTC)}}
            return await counts.find_one_and_update({"_id": f"{key}@{ends:.0f}"}, update, upsert=True, return_document=ReturnDocument.AFTER)

        try:
            row = await self._call(work)
        except DuplicateKeyError:  # another process made it this very moment
            row = await self._call(work)
        return int(row["count"]) if row is not None else amount

    async def get(self, key: str) -> int:
        """The count of the window that runs."""
        row = await self._call(lambda db: db["usage"].find_one({"_id": f"{key}@{_ends(_window(key)):.0f}"}))
        return int(row["count"]) if row is not None else 0

    async def get_expiry(self, key: str) -> float:
        """When the window that runs ends, Unix seconds."""
        return _ends(_window(key))

    async def check(self) -> bool:
        """Whether the server answers."""
        await self._call(lambda db: db["usage"].find_one({"_id": ""}))
        return True

    async def reset(self) -> int | None:
        """Forgets all counts."""
        return await self._delete_all("usage", {})

    async def clear(self, key: str) -> None:
        """Forgets the count of the window that runs."""
        await self._call(lambda db: db["usage"].delete_one({"_id": f"{key}@{_ends(_window(key)):.0f}"}))


def _ends(window: int) -> float:
    return (time.time() // window + 1) * window


def _window(key: str) -> int:
    """Of `LIMITER/what/principal/allowed/window/second`, as the library makes keys."""
    return int(key.rsplit("/", 2)[1])
