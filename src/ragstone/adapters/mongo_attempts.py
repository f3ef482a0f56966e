"""Leases, attempts and publishing in the MongoDB catalog (DESIGN.md section 4). A function that takes a `Turn` is run inside one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from ragstone.adapters import codecs, mongo_commits, mongo_jobs, mongo_retention
from ragstone.adapters.mongo_jobs import Turn, collection_row
from ragstone.adapters.mongo_schema import UP, Database, Document
from ragstone.domain.building import incomplete
from ragstone.domain.collections import Lease
from ragstone.domain.commits import Commit
from ragstone.domain.errors import Busy, Conflict, InternalError, LeaseLost, NotFound, Unavailable
from ragstone.domain.jobs import JobResult, JobState
from ragstone.domain.retention import PURGING
from ragstone.ports.catalog import AttemptState, KnownState

_GAP: Document = {"state": "aborted", "retired": False}


async def acquire(turn: Turn, job_id: str, holder: str, ttl: float) -> Lease:
    """See the port."""
    job = await mongo_jobs.job_row(turn.db, job_id, turn.session)
    if not job["open"]:
        raise Conflict(f"job {job_id} is done.")
    oldest = await mongo_jobs.oldest(turn.db, turn.uid, turn.session)
    if oldest is None or oldest["_id"] != job_id:
        raise Busy("an older job of the collection is not done; try again later.")
    lease = await take(turn, job_id, job_id, holder, ttl)
    await turn.db["jobs"].update_one({"_id": job_id}, {"$set": {"state": "running"}}, session=turn.session)
    return lease


async def take(turn: Turn, job_id: str | None, known_by: str, holder: str, ttl: float) -> Lease:
    """The lease with a new attempt. `job_id`: None for one that fills a space; `known_by`: its place in the lease. Raises `Busy`."""
    row = turn.row
    if row["holder"] is not None and row["holder"] != holder and row["expires_at"] > turn.now:
        raise Busy("another writer holds the collection; try again later.", retry_after=row["expires_at"] - turn.now)
    if row["active"] is not None:
        await end_attempt(turn, row["active"], "aborted", lost_at=turn.now)
    attempt = row["attempt_count"] + 1
    gaps_before = await _gaps(turn.db, turn.uid, turn.session)
    await turn.change(attempt_count=attempt, active=attempt, active_job=job_id, holder=holder, expires_at=turn.now + ttl)
    await turn.db["attempts"].insert_one(
        {"uid": turn.uid, "number": attempt, "job_id": job_id, "state": "active", "retired": False, "lost_at": None},
        session=turn.session,
    )
    head_id, head_seq = _head(turn)
    return Lease(mongo_jobs.collection_of(row), known_by, attempt, holder, head_id, head_seq, gaps_before, turn.now + ttl, ttl)


async def renew(db: Database, lease: Lease, now: Document) -> Lease:
    """See the port. One command on one document."""
    row = await db["collections"].find_one_and_update(
        {"_id": lease.collection.uid, "active": lease.attempt},
        [{"$set": {"expires_at": {"$add": [now, lease.ttl]}}}],
        return_document=ReturnDocument.AFTER,
    )
    if row is None:
        raise lost()
    return replace(lease, expires_at=row["expires_at"])


async def take_back(turn: Turn) -> None:
    """Whatever runs is aborted, and its job waits again."""
    if turn.row["active"] is not None:
        await end_attempt(turn, turn.row["active"], "aborted", lost_at=turn.now)
    await turn.change(active=None, active_job=None, holder=None)
    await turn.db["jobs"].update_many(
        {"uid": turn.uid, "open": True, "state": "running"}, {"$set": {"state": "queued"}}, session=turn.session
    )


async def abort(turn: Turn, lease: Lease) -> None:
    """See the port. An attempt that another aborted is surely gone now."""
    if turn.row["active"] == lease.attempt:
        await end(turn, lease, "aborted")
    else:
        await turn.db["attempts"].update_one(
            {"uid": turn.uid, "number": lease.attempt, "state": "aborted"}, {"$set": {"lost_at": None}}, session=turn.session
        )


async def attempt(db: Database, name: str, number: int) -> AttemptState:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    row = await db["attempts"].find_one({"uid": uid, "number": number})
    if row is None:
        raise NotFound(f"collection {name!r} has no attempt {number}.")
    state: AttemptState = row["state"]
    return state


async def gaps(db: Database, name: str) -> frozenset[int]:
    """See the port."""
    return await _gaps(db, (await collection_row(db, name))["_id"], None)


async def attempts(db: Database, name: str) -> dict[int, KnownState]:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    rows = db["attempts"].find({"uid": uid}, {"number": 1, "state": 1, "retired": 1})
    return {row["number"]: "retired" if row["retired"] else row["state"] async for row in rows}


async def aborted(db: Database, name: str, lost_before: Document) -> list[int]:
    """See the port. `lost_before`: an expression for the time before which an attempt has to be lost to be surely gone."""
    uid = (await collection_row(db, name))["_id"]
    gone = {"$or": [{"$eq": ["$lost_at", None]}, {"$lte": ["$lost_at", lost_before]}]}
    rows = await db["attempts"].find({"uid": uid, **_GAP, "$expr": gone}).sort("number", UP).to_list()
    jobs = db["jobs"].find({"_id": {"$in": sorted({row["job_id"] for row in rows if row["job_id"] is not None})}, "open": True}, {"_id": 1})
    unfinished = {row["_id"] async for row in jobs}
    return [row["number"] for row in rows if row["job_id"] not in unfinished]


async def retire(turn: Turn, numbers: Sequence[int]) -> None:
    """See the port."""
    await turn.db["attempts"].update_many(
        {"uid": turn.uid, "number": {"$in": list(numbers)}, **_GAP}, {"$set": {"retired": True}}, session=turn.session
    )


async def finish_unchanged(turn: Turn, lease: Lease, result: JobResult) -> None:
    """See the port."""
    _check_active(turn, lease)
    await _finish(turn, lease, "unchanged", "unchanged", result)


async def fail(turn: Turn, lease: Lease, result: JobResult) -> None:
    """See the port."""
    _check_active(turn, lease)
    await _finish(turn, lease, "aborted", "failed", result)


async def publish(turn: Turn, lease: Lease, commit: Commit, result: JobResult) -> Commit:
    """See the port. `created_at` never falls below the parent's, so that a time always names one commit."""
    check_publishable(turn, lease)
    collection = lease.collection
    job = await mongo_jobs.job_row(turn.db, lease.job_id, turn.session)
    if not job["open"]:
        raise LeaseLost("the job is done already; the attempt cannot be published.")
    if job["restores"] and await mongo_retention.purging(turn):
        raise Unavailable(PURGING, retry_after=1.0)
    if (commit.seq, commit.collection, commit.job_id) != (lease.attempt, collection.name, lease.job_id):
        raise InternalError("the commit record does not belong to the lease.")
    head = turn.row["head"]
    if head is not None and commit.space_id != head["space_id"] and not mongo_jobs.collection_of(turn.row).complete(commit.space_id):
        raise Conflict(incomplete(commit), field="space")
    known_gaps = await _gaps(turn.db, turn.uid, turn.session)
    stored = replace(
        commit,
        gaps=frozenset(gap for gap in known_gaps if gap < lease.attempt),
        position=head["position"] + 1 if head is not None else 1,
        created_at=max(turn.now, head["created_at"]) if head is not None else turn.now,
    )
    row = mongo_commits.commit_row(turn.uid, stored)
    await turn.db["commits"].insert_one(dict(row), session=turn.session)
    await _finish(turn, lease, "published", "published", replace(result, position=stored.position), head=row)
    return stored


def check_publishable(turn: Turn, lease: Lease) -> None:
    """Raises `LeaseLost` unless attempt, head and spaces are as the lease has them."""
    _check_active(turn, lease)
    if _head(turn) != (lease.head_id, lease.head_seq):
        raise LeaseLost("the head moved; the attempt cannot be published.")
    if turn.row["spaces_version"] != lease.collection.spaces_version:
        raise LeaseLost("the collection's embedding spaces changed; the attempt cannot be published.")


async def end_attempt(turn: Turn, number: int, state: AttemptState, lost_at: float | None = None) -> None:
    """The attempt gets its last state. `lost_at`: when it was taken from a holder that may still be at work."""
    await turn.db["attempts"].update_one(
        {"uid": turn.uid, "number": number}, {"$set": {"state": state, "lost_at": lost_at}}, session=turn.session
    )


async def _gaps(db: Database, uid: str, session: AsyncClientSession | None) -> frozenset[int]:
    rows = db["attempts"].find({"uid": uid, **_GAP}, {"number": 1}, session=session)
    return frozenset([row["number"] async for row in rows])


def _head(turn: Turn) -> tuple[str | None, int]:
    head = turn.row["head"]
    return (head["id"], head["seq"]) if head is not None else (None, 0)


def _check_active(turn: Turn, lease: Lease) -> None:
    if turn.row["active"] != lease.attempt:
        raise lost()


def lost() -> LeaseLost:
    """What is raised for an attempt that is not the active one."""
    return LeaseLost("the attempt is no longer the active one; another writer took over.")


async def end(turn: Turn, lease: Lease, state: AttemptState, **fields: Any) -> None:
    """The attempt gets its last state and the lease is free."""
    await end_attempt(turn, lease.attempt, state)
    await turn.change(active=None, active_job=None, holder=None, **fields)


async def _finish(turn: Turn, lease: Lease, attempt: AttemptState, job: JobState, result: JobResult, **fields: Any) -> None:
    await end(turn, lease, attempt, **fields)
    done = {"state": job, "open": False, "finished_at": turn.now, "result": await mongo_jobs.pack(codecs.RESULT, result)}
    await turn.db["jobs"].update_one({"_id": lease.job_id}, {"$set": done}, session=turn.session)
    await turn.db["job_progress"].delete_one({"_id": lease.job_id}, session=turn.session)
