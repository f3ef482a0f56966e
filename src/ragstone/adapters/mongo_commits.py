"""Commits and tags in the MongoDB catalog. A function that takes a `Turn` is run inside one transaction, the others read."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from ragstone.adapters import codecs
from ragstone.adapters.mongo_jobs import Turn, collection_row
from ragstone.adapters.mongo_schema import DOWN, UP, Database, Document
from ragstone.domain.commits import Commit, Tag
from ragstone.domain.errors import Conflict, Gone, InvalidInput, NotFound

_SHORTEST_PREFIX = 7
_LAST = [("seq", DOWN)]


def commit_row(uid: str, commit: Commit) -> Document:
    """The document of a commit; the head's is a part of its collection's too."""
    return {
        "uid": uid,
        "collection": commit.collection,
        "seq": commit.seq,
        "position": commit.position,
        "id": commit.id,
        "parent_id": commit.parent_id,
        "space_id": commit.space_id,
        "gaps": sorted(commit.gaps),
        "job_id": commit.job_id,
        "author": commit.author,
        "message": commit.message,
        "created_at": commit.created_at,
        "stats": codecs.STATS.dump(commit.stats),
        "pruned_at": commit.pruned_at,
    }


def commit_of(row: Document) -> Commit:
    """The commit of a document."""
    return Commit(
        collection=row["collection"],
        seq=row["seq"],
        position=row["position"],
        id=row["id"],
        parent_id=row["parent_id"],
        space_id=row["space_id"],
        gaps=frozenset(row["gaps"]),
        job_id=row["job_id"],
        author=row["author"],
        message=row["message"],
        created_at=row["created_at"],
        stats=codecs.STATS.load(row["stats"]),
        pruned_at=row["pruned_at"],
    )


async def head(db: Database, name: str) -> Commit | None:
    """See the port. One document, so that it is never of two states."""
    row = await collection_row(db, name)
    return commit_of(row["head"]) if row["head"] is not None else None


async def readable(turn: Turn) -> list[Commit]:
    """Commits that were not pruned, oldest first."""
    rows = turn.db["commits"].find({"uid": turn.uid, "pruned_at": None}, session=turn.session).sort("seq", UP)
    return [commit_of(row) async for row in rows]


async def commit(db: Database, name: str, commit_id: str) -> Commit:
    """See the port."""
    return await _commit(db, (await collection_row(db, name))["_id"], name, commit_id, None)


async def commit_at_position(db: Database, name: str, position: int) -> Commit:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    row = await db["commits"].find_one({"uid": uid, "position": position})
    if row is None:
        raise NotFound(f"collection {name!r} has no commit at position {position}.", field="position")
    return _kept(commit_of(row))


async def commit_at_time(db: Database, name: str, time: float) -> Commit:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    last = await db["commits"].find_one({"uid": uid, "created_at": {"$lte": time}}, {"created_at": 1}, sort=[("created_at", DOWN)])
    if last is not None:
        row = await db["commits"].find_one({"uid": uid, "created_at": last["created_at"]}, sort=_LAST)  # of several at once the latest
        if row is not None:
            return _kept(commit_of(row))
    raise NotFound(f"collection {name!r} had no commit at that time.", field="as_of")


async def commits(db: Database, name: str, before: int | None, limit: int) -> list[Commit]:
    """See the port."""
    wanted: Document = {"uid": (await collection_row(db, name))["_id"]}
    if before is not None:
        wanted["seq"] = {"$lt": before}
    return [commit_of(row) async for row in db["commits"].find(wanted).sort(_LAST).limit(limit)]


async def commits_since(db: Database, name: str, seq: int, limit: int) -> list[Commit]:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    return [commit_of(row) async for row in db["commits"].find({"uid": uid, "seq": {"$gt": seq}}).sort("seq", UP).limit(limit)]


async def tag(turn: Turn, name: str, tag_name: str, commit_id: str) -> Tag:
    """See the port."""
    tagged = await _commit(turn.db, turn.uid, name, commit_id, turn.session)
    known = await turn.db["tags"].find_one({"uid": turn.uid, "name": tag_name}, session=turn.session)
    if known is not None and known["commit_id"] != tagged.id:
        raise Conflict(f"tag {tag_name!r} is taken by another commit; remove it first or choose another name.", field="tag")
    if known is not None:
        return _tag(known, name)
    row = {
        "uid": turn.uid,
        "name": tag_name,
        "commit_id": tagged.id,
        "seq": tagged.seq,
        "created_at": turn.now,
        "order": ObjectId(),  # of tags that were made at the same time
    }
    await turn.db["tags"].insert_one(row, session=turn.session)
    return _tag(row, name)


async def untag(db: Database, name: str, tag_name: str) -> None:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    if (await db["tags"].delete_one({"uid": uid, "name": tag_name})).deleted_count == 0:
        raise NotFound(f"collection {name!r} has no tag {tag_name[:100]!r}.", field="tag")


async def tags(db: Database, name: str) -> list[Tag]:
    """See the port."""
    uid = (await collection_row(db, name))["_id"]
    return [_tag(row, name) async for row in db["tags"].find({"uid": uid}).sort([("created_at", DOWN), ("order", DOWN)])]


async def _commit(db: Database, uid: str, name: str, commit_id: str, session: AsyncClientSession | None) -> Commit:
    if len(commit_id) < _SHORTEST_PREFIX:
        raise InvalidInput(f"commit: give at least {_SHORTEST_PREFIX} digits of the commit id.", field="commit")
    found = await _of_id(db, uid, commit_id, session)
    if found is None:
        bounds = {"$gt": commit_id, "$lt": commit_id + "\U0010ffff"}
        first = await db["commits"].find_one({"uid": uid, "id": bounds}, sort=[("id", UP)], session=session)
        if first is not None:
            if await db["commits"].find_one({"uid": uid, "id": {**bounds, "$gt": first["id"]}}, session=session) is not None:
                raise InvalidInput(f"commit: {commit_id!r} fits more than one commit; give more digits.", field="commit")
            found = await _of_id(db, uid, first["id"], session)
    if found is None:
        raise NotFound(f"collection {name!r} has no commit {commit_id[:64]!r}.", field="commit")
    return _kept(found)


async def _of_id(db: Database, uid: str, commit_id: str, session: AsyncClientSession | None) -> Commit | None:
    """The latest with this id; a kept one if there is one."""
    wanted: dict[str, Any] = {"uid": uid, "id": commit_id}
    row = await db["commits"].find_one({**wanted, "pruned_at": None}, sort=_LAST, session=session)
    if row is None:
        row = await db["commits"].find_one(wanted, sort=_LAST, session=session)
    return commit_of(row) if row is not None else None


def _kept(commit: Commit) -> Commit:
    """The commit itself. Raises `Gone` for a pruned one."""
    if commit.pruned_at is not None:
        raise Gone(
            f"Commit #{commit.position} ({commit.id[:12]}) of collection {commit.collection!r} was pruned; `ragstone log` lists what is kept.",
            field="commit",
        )
    return commit


def _tag(row: Document, name: str) -> Tag:
    return Tag(name, row["name"], row["commit_id"], row["seq"], row["created_at"])
