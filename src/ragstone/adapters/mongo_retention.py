"""Pruning and the records of purges in the MongoDB catalog. A function that takes a `Turn` is run inside one transaction."""

from __future__ import annotations

from dataclasses import replace

from bson import ObjectId

from ragstone.adapters import codecs, mongo_commits, mongo_jobs
from ragstone.adapters.mongo_jobs import Turn, collection_row
from ragstone.adapters.mongo_schema import DOWN, Database, Document
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Put
from ragstone.domain.retention import Keep, Pruning, Purge


async def prune(turn: Turn, keep: Keep, dry_run: bool) -> Pruning:
    """See the port."""
    readable = await mongo_commits.readable(turn)
    seqs, ids = await _pinned(turn)
    kept = keep.of(readable, seqs, ids)
    pruned = tuple(replace(commit, pruned_at=turn.now) for commit in readable if commit not in kept)
    if pruned and not dry_run:
        await turn.db["commits"].update_many(
            {"uid": turn.uid, "seq": {"$in": [commit.seq for commit in pruned]}}, {"$set": {"pruned_at": turn.now}}, session=turn.session
        )
    return Pruning(kept, pruned)


async def with_metadata(db: Database, name: str, path: str) -> list[str]:
    """Ids of finished jobs whose requests hold metadata of the document: it came with them."""
    uid = (await collection_row(db, name))["_id"]
    rows = db["jobs"].find({"uid": uid, "open": False, "metadata": True})
    return [row["_id"] async for row in rows if await _metadata_of(db, row, path)]


async def scrub(turn: Turn, job_id: str, path: str) -> None:
    """Takes the metadata of the document out of a finished job's request."""
    row = await mongo_jobs.job_row(turn.db, job_id, turn.session)
    request = (await mongo_jobs.job_of(turn.db, row, turn.session)).request
    changes = tuple(
        replace(change, metadata={}) if isinstance(change, Put) and change.path == path else change for change in request.changes
    )
    await mongo_jobs.store_request(turn, job_id, replace(request, changes=changes))


async def begin_purge(turn: Turn, purge: Purge) -> Purge:
    """See the port."""
    begun = await turn.db["purges"].find_one({"uid": turn.uid, "path": purge.path, "state": "begun"}, session=turn.session)
    if begun is not None:
        return codecs.PURGE.load(begun["body"])
    row = {"_id": purge.id, "uid": turn.uid, "path": purge.path, "order": ObjectId(), **_state(purge)}
    await turn.db["purges"].insert_one(row, session=turn.session)
    return purge


async def purging(turn: Turn) -> bool:
    """Whether a purge is begun and not done."""
    return await turn.db["purges"].find_one({"uid": turn.uid, "state": "begun"}, session=turn.session) is not None


async def finish_purge(db: Database, purge: Purge) -> None:
    """See the port."""
    if (await db["purges"].update_one({"_id": purge.id}, {"$set": _state(purge)})).matched_count == 0:
        raise NotFound(f"there is no purge {purge.id[:80]!r}.")


async def purges(db: Database, name: str, path: str | None) -> list[Purge]:
    """See the port."""
    wanted: Document = {"uid": (await collection_row(db, name))["_id"]}
    if path is not None:
        wanted["path"] = path
    return [codecs.PURGE.load(row["body"]) async for row in db["purges"].find(wanted).sort("order", DOWN)]


def _state(purge: Purge) -> Document:
    return {"state": purge.state, "body": codecs.PURGE.dump(purge)}


async def _pinned(turn: Turn) -> tuple[set[int], set[str]]:
    """Seqs of tagged commits, and ids of those that a waiting rollback restores."""
    seqs = {row["seq"] async for row in turn.db["tags"].find({"uid": turn.uid}, {"seq": 1}, session=turn.session)}
    waiting = turn.db["jobs"].find({"uid": turn.uid, "open": True}, {"restores": 1}, session=turn.session)
    return seqs, {commit_id async for row in waiting for commit_id in row["restores"]}


async def _metadata_of(db: Database, row: Document, path: str) -> bool:
    changes = (await mongo_jobs.job_of(db, row)).request.changes
    return any(isinstance(change, Put) and change.path == path and change.metadata for change in changes)
