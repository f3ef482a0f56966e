"""Groups of documents in SQLite."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from sqlite3 import Connection

from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.access import DocumentAcl


class SqliteAcls:
    """Implements `DocumentAcls`."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="FULL")

    async def change(self, uid: str, groups: Mapping[str, Collection[str]]) -> None:
        await self._db.write(lambda db: _change(db, uid, groups))

    async def version(self, uid: str) -> int:
        return await self._db.read(lambda db: _version(db, uid))

    async def every(self, uid: str) -> tuple[int, dict[str, frozenset[str]]]:
        def work(db: Connection) -> tuple[int, dict[str, frozenset[str]]]:
            rows = db.execute("SELECT path, groups FROM document_acls WHERE uid = ? AND groups <> '[]'", (uid,))
            return _version(db, uid), {row["path"]: _groups(row["groups"]) for row in rows}

        return await self._db.read(work)

    async def page(self, uid: str, *, prefix: str = "", after: str = "", limit: int = 100) -> list[DocumentAcl]:
        def work(db: Connection) -> list[DocumentAcl]:
            rows = db.execute(
                "SELECT path, groups FROM document_acls WHERE uid = ? AND groups <> '[]' AND path > ? AND substr(path, 1, ?) = ? ORDER BY path LIMIT ?",
                (uid, after, len(prefix), prefix, limit),
            )
            return [DocumentAcl(row["path"], _groups(row["groups"])) for row in rows]

        return await self._db.read(work)

    async def unsettled(self, uid: str, limit: int = 100) -> dict[str, tuple[frozenset[str], int]]:
        def work(db: Connection) -> dict[str, tuple[frozenset[str], int]]:
            rows = db.execute(
                "SELECT path, groups, version FROM document_acls WHERE uid = ? AND settled = 0 ORDER BY version, path LIMIT ?", (uid, limit)
            )
            return {row["path"]: (_groups(row["groups"]), row["version"]) for row in rows}

        return await self._db.read(work)

    async def settle(self, uid: str, path: str, version: int) -> None:
        def work(db: Connection) -> None:
            done = (uid, path, version)
            db.execute("UPDATE document_acls SET settled = 1 WHERE uid = ? AND path = ? AND version = ?", done)
            db.execute("DELETE FROM document_acls WHERE uid = ? AND path = ? AND version = ? AND groups = '[]'", done)

        await self._db.write(work)

    async def collections(self) -> list[str]:
        return await self._db.read(
            lambda db: [row["uid"] for row in db.execute("SELECT DISTINCT uid FROM document_acls WHERE settled = 0")]
        )

    async def drop(self, uid: str) -> None:
        def work(db: Connection) -> None:
            db.execute("DELETE FROM document_acls WHERE uid = ?", (uid,))
            db.execute("DELETE FROM acl_versions WHERE uid = ?", (uid,))

        await self._db.write(work)

    async def close(self) -> None:
        await self._db.close()


def _change(db: Connection, uid: str, groups: Mapping[str, Collection[str]]) -> None:
    version = _version(db, uid) + 1
    changed = 0
    for path, wanted in groups.items():
        row = db.execute("SELECT groups FROM document_acls WHERE uid = ? AND path = ?", (uid, path)).fetchone()
        stored = json.dumps(sorted(set(wanted)))
        if stored == ("[]" if row is None else row["groups"]):
            continue
        db.execute(
            "INSERT INTO document_acls (uid, path, groups, version, settled) VALUES (?, ?, ?, ?, 0) ON CONFLICT (uid, path) DO UPDATE "
            "SET groups = excluded.groups, version = excluded.version, settled = 0",
            (uid, path, stored, version),
        )
        changed += 1
    if changed:
        db.execute(
            "INSERT INTO acl_versions (uid, version) VALUES (?, ?) ON CONFLICT (uid) DO UPDATE SET version = excluded.version",
            (uid, version),
        )


def _version(db: Connection, uid: str) -> int:
    row = db.execute("SELECT version FROM acl_versions WHERE uid = ?", (uid,)).fetchone()
    return 0 if row is None else int(row["version"])


def _groups(stored: str) -> frozenset[str]:
    return frozenset(json.loads(stored))
