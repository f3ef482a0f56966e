"""Leases, attempts and publishing in the SQLite catalog: functions to be run inside one transaction (DESIGN.md section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from sqlite3 import Connection

from ragstone.adapters import codecs, sqlite_commits, sqlite_jobs, sqlite_retention
from ragstone.domain.building import incomplete
from ragstone.domain.collections import Lease
from ragstone.domain.commits import Commit
from ragstone.domain.errors import Busy, Conflict, InternalError, LeaseLost, NotFound, Unavailable
from ragstone.domain.jobs import TERMINAL, JobResult, JobState, is_rollback
from ragstone.domain.retention import PURGING
from ragstone.ports.catalog import AttemptState, KnownState

_GAP = "state = 'aborted' AND retired = 0"  # as in the index


def acquire(db: Connection, job_id: str, holder: str, ttl: float, now: float) -> Lease:
    """See the port."""
    job = sqlite_jobs.job_row(db, job_id)
    uid = job["uid"]
    if job["state"] in TERMINAL:
        raise Conflict(f"job {job_id} is done.")
    if sqlite_jobs.next_number(db, uid) != job["number"]:
        raise Busy("an older job of the collection is not done; try again later.")
    lease = take(db, uid, job_id, job_id, holder, ttl, now)
    db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job_id,))
    return lease


def take(db: Connection, uid: str, job_id: str | None, known_by: str, holder: str, ttl: float, now: float) -> Lease:
    """The lease with a new attempt. `job_id`: None for one that fills a space; `known_by`: its place in the lease. Raises `Busy`."""
    lease = db.execute("SELECT name, holder, expires_at, attempt_count FROM collections WHERE uid = ?", (uid,)).fetchone()
    if lease["holder"] is not None and lease["holder"] != holder and lease["expires_at"] > now:
        raise Busy("another writer holds the collection; try again later.", retry_after=lease["expires_at"] - now)
    db.execute("UPDATE attempts SET state = 'aborted', lost_at = ? WHERE uid = ? AND state = 'active'", (now, uid))
    attempt = lease["attempt_count"] + 1
    gaps = _gaps(db, uid)
    db.execute(
        "UPDATE collections SET attempt_count = ?, holder = ?, expires_at = ? WHERE uid = ?",
        (attempt, holder, now + ttl, uid),
    )
    db.execute("INSERT INTO attempts (uid, number, job_id, state) VALUES (?, ?, ?, 'active')", (uid, attempt, job_id))
    head = sqlite_commits.head(db, lease["name"])
    head_id, head_seq = (head.id, head.seq) if head else (None, 0)
    return Lease(sqlite_jobs.collection_of(db, uid), known_by, attempt, holder, head_id, head_seq, gaps, now + ttl, ttl)


def renew(db: Connection, lease: Lease, now: float) -> Lease:
    """See the port."""
    _check_active(db, lease)
    db.execute("UPDATE collections SET expires_at = ? WHERE uid = ?", (now + lease.ttl, lease.collection.uid))
    return replace(lease, expires_at=now + lease.ttl)


def abort(db: Connection, lease: Lease) -> None:
    """See the port."""
    if _is_active(db, lease):
        end(db, lease, "aborted")
    else:  # whoever aborted it could not know whether its holder is gone; now it is
        db.execute("UPDATE attempts SET lost_at = NULL WHERE uid = ? AND number = ?", (lease.collection.uid, lease.attempt))


def attempt(db: Connection, name: str, number: int) -> AttemptState:
    """See the port."""
    uid = sqlite_jobs.collection_row(db, name)["uid"]
    row = db.execute("SELECT state FROM attempts WHERE uid = ? AND number = ?", (uid, number)).fetchone()
    if row is None:
        raise NotFound(f"collection {name!r} has no attempt {number}.")
    state: AttemptState = row["state"]
    return state


def gaps(db: Connection, name: str) -> frozenset[int]:
    """See the port."""
    return _gaps(db, sqlite_jobs.collection_row(db, name)["uid"])


def attempts(db: Connection, name: str) -> dict[int, KnownState]:
    """See the port."""
    uid = sqlite_jobs.collection_row(db, name)["uid"]
    rows = db.execute("SELECT number, iif(retired, 'retired', state) AS state FROM attempts WHERE uid = ?", (uid,))
    return {row["number"]: row["state"] for row in rows}


def aborted(db: Connection, name: str, lost_before: float) -> list[int]:
    """See the port."""
    uid = sqlite_jobs.collection_row(db, name)["uid"]
    rows = db.execute(
        "SELECT attempts.number FROM attempts LEFT JOIN jobs ON jobs.id = attempts.job_id WHERE attempts.uid = ? "
        "AND attempts.state = 'aborted' AND attempts.retired = 0 AND (jobs.state IS NULL OR jobs.state NOT IN ('queued', 'running')) "
        "AND (lost_at IS NULL OR lost_at <= ?) ORDER BY attempts.number",
        (uid, lost_before),
    )
    return [row["number"] for row in rows]


def retire(db: Connection, name: str, attempts: Sequence[int]) -> None:
    """See the port."""
    uid = sqlite_jobs.collection_row(db, name)["uid"]
    db.executemany(
        f"UPDATE attempts SET retired = 1 WHERE uid = ? AND number = ? AND {_GAP}",  # noqa: S608 - a constant
        [(uid, number) for number in attempts],
    )


def finish_unchanged(db: Connection, lease: Lease, result: JobResult, now: float) -> None:
    """See the port."""
    _check_active(db, lease)
    _finish(db, lease, "unchanged", "unchanged", result, now)


def fail(db: Connection, lease: Lease, result: JobResult, now: float) -> None:
    """See the port."""
    _check_active(db, lease)
    _finish(db, lease, "aborted", "failed", result, now)


def publish(db: Connection, lease: Lease, commit: Commit, result: JobResult, now: float) -> Commit:
    """See the port. `created_at` never falls below the parent's, so that a time always names one commit."""
    head = check_publishable(db, lease)
    collection = lease.collection
    if sqlite_jobs.job_row(db, lease.job_id)["state"] in TERMINAL:
        raise LeaseLost("the job is done already; the attempt cannot be published.")
    if sqlite_retention.purging(db, collection.uid) and is_rollback(sqlite_jobs.job(db, lease.job_id).request):
        raise Unavailable(PURGING, retry_after=1.0)
    if (commit.seq, commit.collection, commit.job_id) != (lease.attempt, collection.name, lease.job_id):
        raise InternalError("the commit record does not belong to the lease.")
    if head and commit.space_id != head.space_id and not sqlite_jobs.collection_of(db, collection.uid).complete(commit.space_id):
        raise Conflict(incomplete(commit), field="space")
    stored = replace(
        commit,
        gaps=frozenset(gap for gap in _gaps(db, collection.uid) if gap < lease.attempt),
        position=head.position + 1 if head else 1,
        created_at=max(now, head.created_at) if head else now,
    )
    sqlite_commits.insert(db, collection.uid, stored)
    _finish(db, lease, "published", "published", replace(result, position=stored.position), now)
    return stored


def check_publishable(db: Connection, lease: Lease) -> Commit | None:
    """The head. Raises `LeaseLost` unless attempt, head and spaces are as the lease has them."""
    _check_active(db, lease)
    collection = lease.collection
    head = sqlite_commits.head(db, collection.name)
    if ((head.id, head.seq) if head else (None, 0)) != (lease.head_id, lease.head_seq):
        raise LeaseLost("the head moved; the attempt cannot be published.")
    if sqlite_jobs.collection_of(db, collection.uid).spaces_version != collection.spaces_version:
        raise LeaseLost("the collection's embedding spaces changed; the attempt cannot be published.")
    return head


def _gaps(db: Connection, uid: str) -> frozenset[int]:
    rows = db.execute(f"SELECT number FROM attempts WHERE uid = ? AND {_GAP}", (uid,))  # noqa: S608 - a constant
    return frozenset(row["number"] for row in rows)


def _is_active(db: Connection, lease: Lease) -> bool:
    row = db.execute("SELECT state FROM attempts WHERE uid = ? AND number = ?", (lease.collection.uid, lease.attempt)).fetchone()
    return row is not None and row["state"] == "active"


def _check_active(db: Connection, lease: Lease) -> None:
    if not _is_active(db, lease):
        raise LeaseLost("the attempt is no longer the active one; another writer took over.")


def end(db: Connection, lease: Lease, state: AttemptState) -> None:
    """The attempt gets its last state and the lease is free."""
    uid = lease.collection.uid
    db.execute("UPDATE attempts SET state = ? WHERE uid = ? AND number = ?", (state, uid, lease.attempt))
    db.execute("UPDATE collections SET holder = NULL WHERE uid = ?", (uid,))


def _finish(db: Connection, lease: Lease, attempt: AttemptState, job: JobState, result: JobResult, now: float) -> None:
    end(db, lease, attempt)
    db.execute("UPDATE jobs SET state = ?, finished_at = ?, result = ? WHERE id = ?", (job, now, codecs.RESULT.dump(result), lease.job_id))
