"""Spaces that come and go in the MongoDB catalog: functions to be run inside one transaction (DESIGN.md section 4, Spaces)."""

from __future__ import annotations

from ragstone.adapters import mongo_attempts, mongo_jobs
from ragstone.adapters.mongo_jobs import Turn
from ragstone.adapters.mongo_schema import DOWN, UP
from ragstone.domain import building
from ragstone.domain.builds import Build, SpaceUse
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.errors import Conflict
from ragstone.domain.ids import new_id


async def begin_build(turn: Turn, build: Build) -> Collection:
    """See the port."""
    return await mongo_jobs.store_spaces(turn, building.begun(mongo_jobs.collection_of(turn.row), build, turn.now))


async def acquire_fill(turn: Turn, holder: str, ttl: float) -> Lease:
    """See the port."""
    collection = mongo_jobs.collection_of(turn.row)
    build = collection.unfinished
    if build is None or build.state != "filling":
        raise Conflict(f"no embedding space of collection {collection.name!r} is being filled.", field="space")
    return await mongo_attempts.take(turn, None, build.id, holder, ttl)


async def finish_fill(turn: Turn, lease: Lease, build: Build) -> Collection:
    """See the port."""
    mongo_attempts.check_publishable(turn, lease)
    changed = building.filled(mongo_jobs.collection_of(turn.row), build, lease.attempt, turn.now)
    await mongo_attempts.end(turn, lease, "filled")
    return await mongo_jobs.store_spaces(turn, changed)


async def drop_space(turn: Turn, space_id: str, principal: str, keep: float | None) -> Collection:
    """See the port."""
    collection, head, commits = mongo_jobs.collection_of(turn.row), turn.row["head"], turn.db["commits"]
    own = {"uid": turn.uid, "space_id": space_id}
    kept = await commits.count_documents({**own, "pruned_at": None, "seq": {"$gte": collection.oldest(space_id)}}, session=turn.session)
    last = await commits.find_one(own, sort=[("seq", DOWN)], session=turn.session)
    after = None
    if last is not None:
        after = await commits.find_one({"uid": turn.uid, "seq": {"$gt": last["seq"]}}, sort=[("seq", UP)], session=turn.session)
    live = head["space_id"] if head is not None else collection.space_id
    use = SpaceUse(live, kept, after["created_at"] if after is not None else None)
    changed = building.dropped(collection, space_id, use, keep, build_id=new_id(), principal=principal, now=turn.now)
    return await mongo_jobs.store_spaces(turn, changed)


async def forget_space(turn: Turn, space_id: str) -> None:
    """See the port."""
    await mongo_jobs.store_spaces(turn, building.forgotten(mongo_jobs.collection_of(turn.row), space_id))
