"""Spaces that come and go in the SQLite catalog: functions to be run inside one transaction (DESIGN.md section 4, Spaces)."""

from __future__ import annotations

from sqlite3 import Connection

from ragstone.adapters import sqlite_attempts, sqlite_commits, sqlite_jobs
from ragstone.domain import building
from ragstone.domain.builds import Build, SpaceUse
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.errors import Conflict
from ragstone.domain.ids import new_id


def begin_build(db: Connection, name: str, build: Build, now: float) -> Collection:
    """See the port."""
    return sqlite_jobs.store_spaces(db, building.begun(sqlite_jobs.collection(db, name), build, now))


def acquire_fill(db: Connection, name: str, holder: str, ttl: float, now: float) -> Lease:
    """See the port."""
    collection = sqlite_jobs.collection(db, name)
    build = collection.unfinished
    if build is None or build.state != "filling":
        raise Conflict(f"no embedding space of collection {name!r} is being filled.", field="space")
    return sqlite_attempts.take(db, collection.uid, None, build.id, holder, ttl, now)


def finish_fill(db: Connection, lease: Lease, build: Build, now: float) -> Collection:
    """See the port."""
    sqlite_attempts.check_publishable(db, lease)
    changed = building.filled(sqlite_jobs.collection_of(db, lease.collection.uid), build, lease.attempt, now)
    sqlite_attempts.end(db, lease, "filled")
    return sqlite_jobs.store_spaces(db, changed)


def drop_space(db: Connection, name: str, space_id: str, principal: str, keep: float | None, now: float) -> Collection:
    """See the port."""
    collection, head = sqlite_jobs.collection(db, name), sqlite_commits.head(db, name)
    kept, last = db.execute(
        "SELECT count(CASE WHEN pruned_at IS NULL AND seq >= ? THEN 1 END), max(seq) FROM commits WHERE uid = ? AND space_id = ?",
        (collection.oldest(space_id), collection.uid, space_id),
    ).fetchone()
    after = db.execute("SELECT created_at FROM commits WHERE uid = ? AND seq > ? ORDER BY seq LIMIT 1", (collection.uid, last)).fetchone()
    use = SpaceUse(head.space_id if head else collection.space_id, kept, after[0] if after else None)
    changed = building.dropped(collection, space_id, use, keep, build_id=new_id(), principal=principal, now=now)
    return sqlite_jobs.store_spaces(db, changed)


def forget_space(db: Connection, name: str, space_id: str) -> None:
    """See the port."""
    sqlite_jobs.store_spaces(db, building.forgotten(sqlite_jobs.collection(db, name), space_id))
