"""The database of a backup: copied at one moment, which decides what is in the backup, and settled as if the process had ended then."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from ragstone.adapters import codecs, sqlite_commits, sqlite_jobs
from ragstone.adapters.sqlite import translated
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.jobs import JobResult

NOT_IN_BACKUP = "not-in-backup"


@dataclass(frozen=True, slots=True)
class Copied:
    """A collection as the copy has it, and how many attempts it has begun."""

    collection: Collection
    head: Commit | None
    attempts: int


def copy_database(source: Path, target: Path) -> list[Copied]:
    """Copies the database to the new file `target`: one snapshot, whatever is written meanwhile. Jobs that were not done are marked failed there.

    Their bytes are not in a backup. Their Idempotency-Keys are free again: who sends such a request again has it done.
    """
    with _open(source) as original, _open(target) as copy:
        original.backup(copy, pages=-1)  # all in one read transaction
        target.chmod(0o600)
        copy.row_factory = sqlite3.Row
        copy.execute("PRAGMA foreign_keys = ON")
        copy.execute("BEGIN IMMEDIATE")
        _settle(copy)
        copy.execute("COMMIT")
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        return [_copied(copy, collection) for collection in sqlite_jobs.collections(copy)]


def attempts_of(source: Path) -> dict[str, int]:
    """How many attempts each collection (by uid) has begun by now."""
    with _open(source) as connection:
        return dict(connection.execute("SELECT uid, attempt_count FROM collections").fetchall())


def _settle(db: Connection) -> None:
    error = "It was not done when the backup was made; send it again."
    result = JobResult("failed", None, None, None, error_code=NOT_IN_BACKUP, error=error, status=503)
    db.execute("UPDATE attempts SET state = 'aborted' WHERE state = 'active'")
    db.execute("UPDATE collections SET holder = NULL")
    db.execute(
        "UPDATE jobs SET state = 'failed', finished_at = ?, result = ?, idempotency_key = NULL WHERE state IN ('queued', 'running')",
        (time.time(), codecs.RESULT.dump(result)),
    )


def _copied(db: Connection, collection: Collection) -> Copied:
    begun: int = db.execute("SELECT attempt_count FROM collections WHERE uid = ?", (collection.uid,)).fetchone()[0]
    return Copied(collection, sqlite_commits.head(db, collection.name), begun)


@contextmanager
def _open(path: Path) -> Iterator[Connection]:
    with translated(), closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
        yield connection
