"""Commits and tags in the SQLite catalog: functions to be run inside one transaction."""

from __future__ import annotations

from sqlite3 import Connection, Row

from ragstone.adapters import codecs
from ragstone.adapters.sqlite_jobs import collection_row
from ragstone.domain.commits import Commit, Tag
from ragstone.domain.errors import Conflict, Gone, InvalidInput, NotFound

_SHORTEST_PREFIX = 7
_COMMIT = "SELECT commits.*, collections.name AS collection FROM commits JOIN collections USING (uid) WHERE collections.name = ?"


def insert(db: Connection, uid: str, commit: Commit) -> None:
    """Writes a commit record."""
    db.execute(
        "INSERT INTO commits (uid, seq, position, id, parent_id, space_id, gaps, job_id, author, message, created_at, stats) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            uid,
            commit.seq,
            commit.position,
            commit.id,
            commit.parent_id,
            commit.space_id,
            codecs.GAPS.dump(commit.gaps),
            commit.job_id,
            commit.author,
            commit.message,
            commit.created_at,
            codecs.STATS.dump(commit.stats),
        ),
    )


def head(db: Connection, name: str) -> Commit | None:
    """See the port."""
    return _last(db, name, "", ())


def readable(db: Connection, name: str) -> list[Commit]:
    """Commits that were not pruned, oldest first."""
    collection_row(db, name)
    return [_commit(row) for row in db.execute(f"{_COMMIT} AND pruned_at IS NULL ORDER BY seq", (name,))]


def commit(db: Connection, name: str, commit_id: str) -> Commit:
    """See the port."""
    if len(commit_id) < _SHORTEST_PREFIX:
        raise InvalidInput(f"commit: give at least {_SHORTEST_PREFIX} digits of the commit id.", field="commit")
    found = _of_id(db, name, commit_id)
    if found is None:
        uid = collection_row(db, name)["uid"]
        rows = db.execute(
            "SELECT DISTINCT id FROM commits WHERE uid = ? AND id > ? AND id < ? ORDER BY id LIMIT 2",
            (uid, commit_id, commit_id + "\U0010ffff"),
        ).fetchall()
        if len(rows) > 1:
            raise InvalidInput(f"commit: {commit_id!r} fits more than one commit; give more digits.", field="commit")
        found = _of_id(db, name, rows[0]["id"]) if rows else None
    if found is None:
        raise NotFound(f"collection {name!r} has no commit {commit_id[:64]!r}.", field="commit")
    return _kept(found)


def commit_at_position(db: Connection, name: str, position: int) -> Commit:
    """See the port."""
    found = _last(db, name, "AND position = ?", (position,))
    if found is None:
        raise NotFound(f"collection {name!r} has no commit at position {position}.", field="position")
    return _kept(found)


def commit_at_time(db: Connection, name: str, time: float) -> Commit:
    """See the port."""
    found = _last(db, name, "AND commits.created_at <= ?", (time,))
    if found is None:
        raise NotFound(f"collection {name!r} had no commit at that time.", field="as_of")
    return _kept(found)


def commits(db: Connection, name: str, before: int | None, limit: int) -> list[Commit]:
    """See the port."""
    collection_row(db, name)
    bound, values = ("", ()) if before is None else ("AND seq < ?", (before,))
    return [_commit(row) for row in db.execute(f"{_COMMIT} {bound} ORDER BY seq DESC LIMIT ?", (name, *values, limit))]


def commits_since(db: Connection, name: str, seq: int, limit: int) -> list[Commit]:
    """See the port."""
    collection_row(db, name)
    return [_commit(row) for row in db.execute(f"{_COMMIT} AND seq > ? ORDER BY seq LIMIT ?", (name, seq, limit))]


def tag(db: Connection, name: str, tag_name: str, commit_id: str, now: float) -> Tag:
    """See the port."""
    tagged = commit(db, name, commit_id)
    uid = collection_row(db, name)["uid"]
    known = db.execute("SELECT * FROM tags WHERE uid = ? AND name = ?", (uid, tag_name)).fetchone()
    if known is not None and known["commit_id"] != tagged.id:
        raise Conflict(f"tag {tag_name!r} is taken by another commit; remove it first or choose another name.", field="tag")
    if known is not None:
        return _tag(known, name)
    db.execute(
        "INSERT INTO tags (uid, name, commit_id, seq, created_at) VALUES (?, ?, ?, ?, ?)", (uid, tag_name, tagged.id, tagged.seq, now)
    )
    return Tag(name, tag_name, tagged.id, tagged.seq, now)


def untag(db: Connection, name: str, tag_name: str) -> None:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    if db.execute("DELETE FROM tags WHERE uid = ? AND name = ?", (uid, tag_name)).rowcount == 0:
        raise NotFound(f"collection {name!r} has no tag {tag_name[:100]!r}.", field="tag")


def tags(db: Connection, name: str) -> list[Tag]:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    return [_tag(row, name) for row in db.execute("SELECT * FROM tags WHERE uid = ? ORDER BY made DESC", (uid,))]


def _of_id(db: Connection, name: str, commit_id: str) -> Commit | None:
    return _last(db, name, "AND id = ?", (commit_id,), "pruned_at IS NOT NULL, seq DESC")


def _last(db: Connection, name: str, condition: str, values: tuple[str | int | float, ...], order: str = "seq DESC") -> Commit | None:
    row = db.execute(f"{_COMMIT} {condition} ORDER BY {order} LIMIT 1", (name, *values)).fetchone()
    if row is None:
        collection_row(db, name)
        return None
    return _commit(row)


def _kept(commit: Commit) -> Commit:
    """The commit itself. Raises `Gone` for a pruned one."""
    if commit.pruned_at is not None:
        raise Gone(
            f"Commit #{commit.position} ({commit.id[:12]}) of collection {commit.collection!r} was pruned; `ragstone log` lists what is kept.",
            field="commit",
        )
    return commit


def _commit(row: Row) -> Commit:
    return Commit(
        collection=row["collection"],
        seq=row["seq"],
        position=row["position"],
        id=row["id"],
        parent_id=row["parent_id"],
        space_id=row["space_id"],
        gaps=codecs.GAPS.load(row["gaps"]),
        job_id=row["job_id"],
        author=row["author"],
        message=row["message"],
        created_at=row["created_at"],
        stats=codecs.STATS.load(row["stats"]),
        pruned_at=row["pruned_at"],
    )


def _tag(row: Row, name: str) -> Tag:
    return Tag(name, row["name"], row["commit_id"], row["seq"], row["created_at"])
