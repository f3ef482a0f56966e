"""Audit log in MongoDB: one document an entry, which nobody changes (ADR 0022)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from ragstone.adapters.mongo import MongoAdapter
from ragstone.adapters.mongo_schema import DOWN, Database, Document
from ragstone.domain.audit import AuditEntry, AuditFilter

_FIELDS = ("at", "principal", "what", "collection", "status", "request_id")


class MongoAuditLog(MongoAdapter):
    """Implements `AuditLog`. The order of storing is exact within a process, and to the second between processes."""

    async def append(self, entry: AuditEntry) -> None:
        document = {"_id": entry.id, **{field: getattr(entry, field) for field in _FIELDS}}

        async def work(db: Database) -> None:
            with suppress(DuplicateKeyError):  # it is there
                await db["audit"].insert_one({**document, "order": ObjectId()})

        await self._call(work)

    async def page(self, filter: AuditFilter, *, before: str | None = None, limit: int = 50) -> list[AuditEntry]:
        async def work(db: Database) -> list[Document]:
            wanted = _wanted(filter)
            if before is not None:
                last = await db["audit"].find_one({"_id": before}, {"order": 1})
                if last is None:
                    return []
                wanted["order"] = {"$lt": last["order"]}
            return await db["audit"].find(wanted).sort("order", DOWN).limit(limit).to_list()

        return [AuditEntry(row["_id"], *(row[field] for field in _FIELDS)) for row in await self._call(work)]

    async def close(self) -> None:
        """Nothing: whoever made the `MongoDatabase` closes it."""


def _wanted(filter: AuditFilter) -> Document:
    """The filter as MongoDB's: plain values only."""
    times = {"$gte": filter.since, "$lt": filter.until}
    given: dict[str, Any] = {
        "principal": filter.principal,
        "collection": filter.collection,
        "at": {name: value for name, value in times.items() if value is not None} or None,
    }
    return {field: value for field, value in given.items() if value is not None}
