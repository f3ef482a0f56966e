"""Runs and releases in SQLite: tables of `ragstone.db`, for a platform without a tracking server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from sqlite3 import Connection, Row

from ragstone.adapters import codecs
from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.errors import Conflict, NotFound
from ragstone.domain.names import check_alias_name
from ragstone.domain.releases import Alias, RegisteredRelease, Release
from ragstone.domain.tracking import Run


class SqliteTracker:
    """Implements `ExperimentTracker`."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="NORMAL")

    async def record(self, run: Run) -> None:
        body = json.dumps(asdict(run), sort_keys=True)
        await self._db.write(
            lambda db: db.execute(
                "INSERT INTO runs (experiment, key, began_at, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (run.experiment, run.key, run.began_at, body),
            )
        )

    async def runs(self, experiment: str, *, limit: int = 50) -> list[Run]:
        statement = "SELECT body FROM runs WHERE experiment = ? ORDER BY began_at DESC, key DESC LIMIT ?"
        rows = await self._db.read(lambda db: db.execute(statement, (experiment, limit)).fetchall())
        return [Run(**json.loads(row["body"])) for row in rows]

    async def check(self) -> None:
        """Nothing is between."""

    async def close(self) -> None:
        await self._db.close()


class SqliteReleaseRegistry:
    """Implements `ReleaseRegistry`. `clock`: Unix seconds."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._db = SqliteDatabase(path, synchronous="FULL")
        self._clock = clock

    async def register(self, release: Release, principal: str) -> RegisteredRelease:
        def work(db: Connection) -> RegisteredRelease:
            if known := _row(db, release.collection, release.id):
                return _registered(known)
            (last,) = db.execute("SELECT coalesce(max(number), 0) FROM releases WHERE collection = ?", (release.collection,)).fetchone()
            registered = RegisteredRelease(release, last + 1, principal, self._clock())
            db.execute(
                "INSERT INTO releases (collection, number, id, principal, created_at, body) VALUES (?, ?, ?, ?, ?, ?)",
                (release.collection, last + 1, release.id, principal, registered.created_at, codecs.RELEASE.dump(release)),
            )
            return registered

        return await self._db.write(work)

    async def release(self, collection: str, release_id: str) -> RegisteredRelease:
        return await self._db.read(lambda db: _registered(_release(db, collection, release_id)))

    async def releases(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[RegisteredRelease]:
        statement = "SELECT * FROM releases WHERE collection = ? AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?"
        rows = await self._db.read(lambda db: db.execute(statement, (collection, before, before, limit)).fetchall())
        return [_registered(row) for row in rows]

    async def move_alias(self, collection: str, name: str, release_id: str, *, expected: str | None) -> Alias:
        check_alias_name(name)

        def work(db: Connection) -> Alias:
            number = _release(db, collection, release_id)["number"]
            row = db.execute("SELECT release_id FROM aliases WHERE collection = ? AND name = ?", (collection, name)).fetchone()
            found = row["release_id"] if row else None
            if found != expected:
                raise moved_meanwhile(name, found)
            db.execute("INSERT OR REPLACE INTO aliases (collection, name, release_id) VALUES (?, ?, ?)", (collection, name, release_id))
            return Alias(collection, name, release_id, number)

        return await self._db.write(work)

    async def drop_alias(self, collection: str, name: str) -> None:
        await self._db.write(lambda db: db.execute("DELETE FROM aliases WHERE collection = ? AND name = ?", (collection, name)))

    async def alias(self, collection: str, name: str) -> Alias:
        for alias in await self.aliases(collection):
            if alias.name == name:
                return alias
        raise no_alias(collection, name)

    async def aliases(self, collection: str) -> list[Alias]:
        statement = """SELECT name, release_id, number FROM aliases JOIN releases ON releases.collection = aliases.collection AND releases.id = release_id
            WHERE aliases.collection = ? ORDER BY name"""
        rows = await self._db.read(lambda db: db.execute(statement, (collection,)).fetchall())
        return [Alias(collection, row["name"], row["release_id"], row["number"]) for row in rows]

    async def close(self) -> None:
        await self._db.close()


def no_release(collection: str, release_id: str) -> NotFound:
    """The error of a release that nobody registered."""
    return NotFound(f"Collection {collection!r} has no registered release {release_id[:64]!r}.", field="release")


def no_alias(collection: str, name: str) -> NotFound:
    """The error of a name that points at nothing."""
    return NotFound(f"Collection {collection!r} has no alias {name[:80]!r}.", field="alias")


def moved_meanwhile(name: str, found: str | None) -> Conflict:
    """The error of a compare-and-swap that failed."""
    return Conflict(f"alias: {name} points at {found or 'no release'} now; look at that before you move it.", field="expected")


def _row(db: Connection, collection: str, release_id: str) -> Row | None:
    row: Row | None = db.execute("SELECT * FROM releases WHERE collection = ? AND id = ?", (collection, release_id)).fetchone()
    return row


def _release(db: Connection, collection: str, release_id: str) -> Row:
    row = _row(db, collection, release_id)
    if row is None:
        raise no_release(collection, release_id)
    return row


def _registered(row: Row) -> RegisteredRelease:
    return RegisteredRelease(codecs.RELEASE.load(row["body"]), row["number"], row["principal"], row["created_at"])
