"""Pruning and the records of purges in the SQLite catalog: functions to be run inside one transaction."""

from __future__ import annotations

from dataclasses import replace
from sqlite3 import Connection

from ragstone.adapters import codecs, sqlite_commits
from ragstone.adapters.sqlite_jobs import collection_row
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Put, Restore
from ragstone.domain.retention import Keep, Pruning, Purge


def prune(db: Connection, name: str, keep: Keep, dry_run: bool, now: float) -> Pruning:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    readable = sqlite_commits.readable(db, name)
    seqs, ids = _pinned(db, uid)
    kept = keep.of(readable, seqs, ids)
    pruned = tuple(replace(commit, pruned_at=now) for commit in readable if commit not in kept)
    if not dry_run:
        db.executemany("UPDATE commits SET pruned_at = ? WHERE uid = ? AND seq = ?", [(now, uid, commit.seq) for commit in pruned])
    return Pruning(kept, pruned)


def begin_purge(db: Connection, purge: Purge) -> Purge:
    """See the port."""
    uid = collection_row(db, purge.collection)["uid"]
    _scrub(db, uid, purge.path)
    begun = db.execute("SELECT body FROM purges WHERE uid = ? AND path = ? AND state = 'begun'", (uid, purge.path)).fetchone()
    if begun is not None:
        return codecs.PURGE.load(begun["body"])
    db.execute(
        "INSERT INTO purges (id, uid, path, state, body) VALUES (?, ?, ?, ?, ?)",
        (purge.id, uid, purge.path, purge.state, codecs.PURGE.dump(purge)),
    )
    return purge


def purging(db: Connection, uid: str) -> bool:
    """Whether a purge is begun and not done."""
    return db.execute("SELECT 1 FROM purges WHERE uid = ? AND state = 'begun'", (uid,)).fetchone() is not None


def finish_purge(db: Connection, purge: Purge) -> None:
    """See the port."""
    values = (purge.state, codecs.PURGE.dump(purge), purge.id)
    if db.execute("UPDATE purges SET state = ?, body = ? WHERE id = ?", values).rowcount == 0:
        raise NotFound(f"there is no purge {purge.id[:80]!r}.")


def purges(db: Connection, name: str, path: str | None) -> list[Purge]:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    bound, values = ("", ()) if path is None else ("AND path = ?", (path,))
    rows = db.execute(f"SELECT body FROM purges WHERE uid = ? {bound} ORDER BY made DESC", (uid, *values))  # noqa: S608 - constants
    return [codecs.PURGE.load(row["body"]) for row in rows]


def _pinned(db: Connection, uid: str) -> tuple[set[int], set[str]]:
    """Seqs of tagged commits, and ids of those that a waiting rollback restores."""
    seqs = {row["seq"] for row in db.execute("SELECT seq FROM tags WHERE uid = ?", (uid,))}
    waiting = db.execute("SELECT request FROM jobs WHERE uid = ? AND state IN ('queued', 'running')", (uid,))
    changes = [change for row in waiting for change in codecs.REQUEST.load(row["request"]).changes]
    return seqs, {change.commit_id for change in changes if isinstance(change, Restore)}


def _scrub(db: Connection, uid: str, path: str) -> None:
    """A document's metadata and title are also in the requests of the jobs that brought it."""
    for row in db.execute("SELECT id, request FROM jobs WHERE uid = ? AND state NOT IN ('queued', 'running')", (uid,)).fetchall():
        request = codecs.REQUEST.load(row["request"])
        if any(isinstance(change, Put) and change.path == path and change.metadata for change in request.changes):
            changes = tuple(
                replace(change, metadata={}) if isinstance(change, Put) and change.path == path else change for change in request.changes
            )
            db.execute("UPDATE jobs SET request = ? WHERE id = ?", (codecs.REQUEST.dump(replace(request, changes=changes)), row["id"]))
