"""Collections and jobs in the SQLite catalog: functions to be run inside one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from sqlite3 import Connection, Row

from ragstone.adapters import codecs
from ragstone.domain import building
from ragstone.domain.collections import Collection
from ragstone.domain.errors import Conflict, IdempotencyMismatch, NotFound
from ragstone.domain.jobs import Job, Progress
from ragstone.domain.spaces import EmbeddingSpace

_JOB = "SELECT jobs.*, collections.name AS collection FROM jobs JOIN collections USING (uid)"
_UNFINISHED = "state IN ('queued', 'running')"  # as in the index


def create_collection(db: Connection, name: str, language: str, description: str, space: EmbeddingSpace, now: float) -> Collection:
    """See the port."""
    if db.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone():
        raise Conflict(f"collection {name!r} exists already; choose another name.", field="name")
    uid = secrets.token_hex(6)
    db.execute(
        "INSERT INTO collections (uid, name, language, description, created_at, spaces, spaces_version, space_id) VALUES (?, ?, ?, ?, ?, ?, 1, ?)",
        (uid, name, language, description, now, codecs.SPACES.dump((space,)), space.id),
    )
    return collection(db, name)


def collection(db: Connection, name: str) -> Collection:
    """See the port."""
    return _collection(collection_row(db, name))


def collection_row(db: Connection, name: str) -> Row:
    """The row of a collection. Raises `NotFound`."""
    row: Row | None = db.execute("SELECT * FROM collections WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFound(f"there is no collection {name[:80]!r}.", field="collection")
    return row


def collection_of(db: Connection, uid: str) -> Collection:
    """The collection with a uid that is known to exist."""
    return _collection(db.execute("SELECT * FROM collections WHERE uid = ?", (uid,)).fetchone())


def collections(db: Connection) -> list[Collection]:
    """See the port."""
    return [_collection(row) for row in db.execute("SELECT * FROM collections ORDER BY name")]


def delete_collection(db: Connection, name: str) -> Collection:
    """See the port. Its jobs, attempts, commits and tags go with it."""
    deleted = collection(db, name)
    db.execute("DELETE FROM collections WHERE uid = ?", (deleted.uid,))
    return deleted


def add_space(db: Connection, name: str, space: EmbeddingSpace) -> Collection:
    """See the port."""
    return store_spaces(db, building.registered(collection(db, name), space))


def store_spaces(db: Connection, changed: Collection) -> Collection:
    """Writes the spaces and builds of a collection, and returns it."""
    db.execute(
        "UPDATE collections SET spaces = ?, spaces_version = ?, builds = ?, past_builds = ? WHERE uid = ?",
        (
            codecs.SPACES.dump(changed.spaces),
            changed.spaces_version,
            codecs.BUILDS.dump(changed.builds),
            codecs.BUILDS.dump(changed.past_builds),
            changed.uid,
        ),
    )
    return changed


def accept(db: Connection, new: Job, key: str | None, body_digest: str, now: float) -> Job:
    """See the port."""
    uid = collection_row(db, new.collection)["uid"]
    if key is not None:
        known = db.execute(
            "SELECT id, body_digest FROM jobs WHERE uid = ? AND principal = ? AND idempotency_key = ?", (uid, new.principal, key)
        ).fetchone()
        if known is not None and known["body_digest"] != body_digest:
            raise IdempotencyMismatch("this Idempotency-Key came with another body before; use a new key.", field="Idempotency-Key")
        if known is not None:
            return job(db, known["id"])
    if db.execute("SELECT 1 FROM jobs WHERE id = ?", (new.id,)).fetchone():
        raise Conflict(f"job {new.id} exists already.")
    number = db.execute("UPDATE collections SET job_count = job_count + 1 WHERE uid = ? RETURNING job_count", (uid,)).fetchone()[0]
    db.execute(
        "INSERT INTO jobs (id, uid, number, principal, state, created_at, request, idempotency_key, body_digest) VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
        (new.id, uid, number, new.principal, now, codecs.REQUEST.dump(new.request), key, body_digest),
    )
    return replace(new, number=number, state="queued", created_at=now, finished_at=None, result=None)


def job(db: Connection, job_id: str) -> Job:
    """See the port."""
    return _job(job_row(db, job_id))


def job_row(db: Connection, job_id: str) -> Row:
    """The row of a job, with its collection's name. Raises `NotFound`."""
    row: Row | None = db.execute(f"{_JOB} WHERE jobs.id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id[:80]!r}.", field="job")
    return row


def jobs(db: Connection, name: str | None, before: str | None, limit: int) -> list[Job]:
    """See the port."""
    conditions = ["1"]
    values: list[str | int] = []
    if name is not None:
        conditions.append("uid = ?")
        values.append(collection_row(db, name)["uid"])
    if before is not None:
        conditions.append("jobs.id < ?")
        values.append(before)
    where = " AND ".join(conditions)
    return _jobs(db.execute(f"{_JOB} WHERE {where} ORDER BY jobs.id DESC LIMIT ?", (*values, limit)))


def pending(db: Connection, name: str) -> int:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    count: int = db.execute(f"SELECT count(*) FROM jobs WHERE uid = ? AND {_UNFINISHED}", (uid,)).fetchone()[0]  # noqa: S608 - a constant
    return count


def next_job(db: Connection, name: str) -> Job | None:
    """See the port."""
    uid = collection_row(db, name)["uid"]
    row = db.execute(f"{_JOB} WHERE uid = ? AND number = ?", (uid, next_number(db, uid))).fetchone()
    return _job(row) if row is not None else None


def next_number(db: Connection, uid: str) -> int | None:
    """Of the oldest job that is not terminal."""
    number: int | None = db.execute(f"SELECT min(number) FROM jobs WHERE uid = ? AND {_UNFINISHED}", (uid,)).fetchone()[0]  # noqa: S608 - a constant
    return number


def release(db: Connection, job_id: str) -> None:
    """See the port."""
    row = job_row(db, job_id)
    db.execute(
        "UPDATE jobs SET state = 'queued' WHERE id = ? AND state = 'running' "
        "AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.id AND attempts.state = 'active')",
        (row["id"],),
    )


def orphans(db: Connection, now: float) -> list[Job]:
    """See the port."""
    rows = db.execute(
        f"{_JOB} WHERE {_UNFINISHED} AND (holder IS NULL OR expires_at <= ?) "  # noqa: S608 - constants
        f"AND number = (SELECT min(number) FROM jobs AS others WHERE others.uid = jobs.uid AND others.{_UNFINISHED}) ORDER BY accepted",
        (now,),
    )
    return _jobs(rows)


def report(db: Connection, job_id: str, progress: Progress) -> None:
    """See the port."""
    statement = f"INSERT OR REPLACE INTO job_progress (job_id, body) SELECT id, ? FROM jobs WHERE id = ? AND {_UNFINISHED}"  # noqa: S608 - a constant
    db.execute(statement, (codecs.PROGRESS.dump(progress), job_id))


def progress(db: Connection, job_id: str) -> Progress | None:
    """See the port."""
    statement = f"SELECT body FROM job_progress JOIN jobs ON id = job_id WHERE job_id = ? AND {_UNFINISHED}"  # noqa: S608 - a constant
    row = db.execute(statement, (job_id,)).fetchone()
    return codecs.PROGRESS.load(row["body"]) if row is not None else None


def requeue_orphans(db: Connection, now: float) -> list[Job]:
    """See the port."""
    db.execute("UPDATE attempts SET state = 'aborted', lost_at = ? WHERE state = 'active'", (now,))
    db.execute("UPDATE collections SET holder = NULL")
    db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
    return _jobs(db.execute(f"{_JOB} WHERE {_UNFINISHED} ORDER BY accepted"))


def _collection(row: Row) -> Collection:
    return Collection(
        name=row["name"],
        uid=row["uid"],
        language=row["language"],
        description=row["description"],
        created_at=row["created_at"],
        spaces=codecs.SPACES.load(row["spaces"]),
        spaces_version=row["spaces_version"],
        space_id=row["space_id"],
        builds=codecs.BUILDS.load(row["builds"]),
        past_builds=codecs.BUILDS.load(row["past_builds"]),
    )


def _jobs(rows: Iterable[Row]) -> list[Job]:
    return [_job(row) for row in rows]


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        collection=row["collection"],
        number=row["number"],
        request=codecs.REQUEST.load(row["request"]),
        principal=row["principal"],
        state=row["state"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        result=codecs.RESULT.load(row["result"]) if row["result"] is not None else None,
    )
