"""Audit log in SQLite."""

from __future__ import annotations

from pathlib import Path
from sqlite3 import Connection

from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.audit import AuditEntry, AuditFilter

_COLUMNS = ("id", "at", "principal", "what", "collection", "status", "request_id")


class SqliteAuditLog:
    """Implements `AuditLog`."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="FULL")

    async def append(self, entry: AuditEntry) -> None:
        values = tuple(getattr(entry, column) for column in _COLUMNS)
        statement = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - constants
        await self._db.start(statement, values)

    async def page(self, filter: AuditFilter, *, before: str | None = None, limit: int = 50) -> list[AuditEntry]:
        given = {
            "principal = ?": filter.principal,
            "collection = ?": filter.collection,
            "at >= ?": filter.since,
            "at < ?": filter.until,
            "number < (SELECT number FROM audit WHERE id = ?)": before,
        }
        held = {condition: value for condition, value in given.items() if value is not None}
        where = " AND ".join(held) or "1"

        def work(db: Connection) -> list[AuditEntry]:
            rows = db.execute(f"SELECT * FROM audit WHERE {where} ORDER BY number DESC LIMIT ?", (*held.values(), limit))  # noqa: S608 - constants
            return [AuditEntry(*(row[column] for column in _COLUMNS)) for row in rows]

        return await self._db.read(work)

    async def close(self) -> None:
        await self._db.close()
