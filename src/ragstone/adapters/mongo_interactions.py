"""Interaction log in MongoDB: one document an interaction, its feedback inside, with what listings look up beside its JSON (ADR 0019)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from ragstone.adapters import codecs
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo import MongoAdapter, MongoDatabase
from ragstone.adapters.mongo_schema import DOWN, UP, Database, Document
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import (
    CitedChunk,
    Feedback,
    Interaction,
    InteractionFilter,
    Logged,
    cited_chunks,
    used_paths,
    without_document,
)

_DAY = 86_400  # seconds
_TTL = "expires"  # the name of the index that lets the server delete what is old
_BATCH = 100  # interactions that erasing looks at at once
_NO_SUCH_INDEX = 27
_OTHER_OPTIONS = frozenset({85, 86})  # IndexOptionsConflict, IndexKeySpecsConflict
_LONGEST = 2.0**37  # seconds that a date is taken to be from 1970, some 4,000 years


class MongoInteractionLog(MongoAdapter):
    """Implements `InteractionLog`. `keep_days`: the server deletes what was made earlier, within minutes; None: it deletes nothing by itself.

    The order of storing is exact within a process, and to the second between processes.
    """

    def __init__(self, mongo: MongoDatabase, dependency: Dependency, keep_days: float | None = None) -> None:
        super().__init__(mongo, dependency)
        self._keep_days = keep_days
        self._expiry_set = False
        self._under_way: set[object] = set()
        self._ended = asyncio.Event()

    async def append(self, interaction: Interaction) -> Logged:
        ticket = object()
        self._under_way.add(ticket)
        try:
            document = _document(interaction)

            async def work(db: Database) -> None:
                await self._set_expiry(db)
                with suppress(DuplicateKeyError):  # it is there
                    await db["interactions"].insert_one({**document, "order": ObjectId()})

            await self._call(work)
            return "stored"
        finally:
            self._under_way.discard(ticket)
            self._ended.set()

    async def get(self, interaction_id: str) -> Interaction:
        row = await self._call(partial(_find, interaction_id=interaction_id))
        if row is None:
            raise _not_found(interaction_id)
        return _interaction(row)

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        entry = {"body": codecs.FEEDBACK.dump(feedback), "thumb": feedback.thumb, "tags": list(dict.fromkeys(feedback.tags))}
        row = await self._call(
            lambda db: db["interactions"].find_one_and_update(
                {"_id": interaction_id}, {"$push": {"feedback": entry}}, return_document=ReturnDocument.AFTER
            )
        )
        if row is None:
            raise _not_found(interaction_id)
        return _interaction(row)

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        async def work(db: Database) -> list[Document]:
            wanted = _wanted(filter)
            if before is not None:
                last = await db["interactions"].find_one({"_id": before}, {"order": 1})
                if last is None:
                    return []
                wanted["order"] = {"$lt": last["order"]}
            return await db["interactions"].find(wanted).sort("order", DOWN).limit(limit).to_list()

        return [_interaction(row) for row in await self._call(work)]

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]:
        of_paths = {"cited.path": {"$in": sorted(paths)}}
        chunk = {"path": "$cited.path", "chunk": "$cited.chunk"}
        stages: list[Document] = [
            {"$match": {"collection": collection, **of_paths}},
            {"$project": {"cited": 1}},
            {"$unwind": "$cited"},
            {"$match": of_paths},
            {"$group": {"_id": chunk}},
            {"$sort": {"_id.path": UP, "_id.chunk": UP}},
        ]

        async def work(db: Database) -> list[CitedChunk]:
            return [CitedChunk(row["_id"]["path"], row["_id"]["chunk"]) async for row in await db["interactions"].aggregate(stages)]

        return await self._call(work)

    async def delete_before(self, time: float) -> int:
        return await self._delete_all("interactions", {"created_at": {"$lt": time}})

    async def erase(self, collection: str, path: str) -> int:
        earlier = set(self._under_way)
        while earlier & self._under_way:  # these began before, so they are to be changed too
            self._ended.clear()
            await self._ended.wait()
        changed, last = 0, None
        while rows := await self._call(partial(_using, collection=collection, path=path, after=last)):
            for row in rows:
                changed += await self._blank(row, path)
            last = rows[-1]["order"]
        return changed

    async def deferred(self) -> int:
        return 0

    async def close(self) -> None:
        """Nothing: whoever made the `MongoDatabase` closes it."""

    async def _blank(self, row: Document | None, path: str) -> bool:
        """Takes the document's texts out of one interaction; begins again when another erasure changed it meanwhile."""
        while row is not None:
            body = row["body"]
            logged = codecs.INTERACTION.load(body)
            blank = without_document(logged, path)
            if blank == logged:
                return False
            if await self._call(partial(_replace, interaction_id=row["_id"], old=body, new=codecs.INTERACTION.dump(blank))):
                return True
            row = await self._call(partial(_find, interaction_id=row["_id"]))
        return False

    async def _set_expiry(self, db: Database) -> None:
        """Has the server delete what is older than the setting says now; once a process."""
        if self._expiry_set:
            return
        interactions = db["interactions"]
        if self._keep_days is None:
            await _drop_expiry(db)
        else:
            seconds = max(1, int(self._keep_days * _DAY))
            try:
                await interactions.create_index("at", name=_TTL, expireAfterSeconds=seconds)
            except OperationFailure as error:
                if error.code not in _OTHER_OPTIONS:
                    raise
                await _drop_expiry(db)
                await interactions.create_index("at", name=_TTL, expireAfterSeconds=seconds)
        self._expiry_set = True


async def _find(db: Database, interaction_id: str) -> Document | None:
    return await db["interactions"].find_one({"_id": interaction_id})


async def _replace(db: Database, interaction_id: str, old: str, new: str) -> bool:
    """Whether the body was still the old one."""
    return (await db["interactions"].update_one({"_id": interaction_id, "body": old}, {"$set": {"body": new}})).matched_count == 1


async def _drop_expiry(db: Database) -> None:
    try:
        await db["interactions"].drop_index(_TTL)
    except OperationFailure as error:
        if error.code != _NO_SUCH_INDEX:
            raise


async def _using(db: Database, collection: str, path: str, after: Any) -> list[Document]:
    """The next interactions with a passage of the document, in the order of storing."""
    wanted: Document = {"collection": collection, "paths": path}
    if after is not None:
        wanted["order"] = {"$gt": after}
    return await db["interactions"].find(wanted, {"body": 1, "order": 1}).sort("order", UP).limit(_BATCH).to_list()


def _wanted(filter: InteractionFilter) -> Document:
    """The filter as MongoDB's: plain values only."""
    given: dict[str, Any] = {
        "collection": filter.collection,
        "abstained": filter.abstained,
        "feedback.thumb": filter.thumb,
        "feedback.tags": filter.tag,
        "commit_id": filter.commit_id,
        "release_id": filter.release_id,
        "paths": filter.path,
        "cited.chunk": None if filter.chunks is None else {"$in": sorted(filter.chunks)},
    }
    times = {"$gte": filter.since, "$lt": filter.until}
    if filter.collections is not None:
        given["$and"] = [{"collection": {"$in": sorted(filter.collections)}}]
    given["created_at"] = {name: value for name, value in times.items() if value is not None} or None
    return {field: value for field, value in given.items() if value is not None}


def _document(interaction: Interaction) -> Document:
    made = interaction.created_at
    return {
        "_id": interaction.id,
        "collection": interaction.collection,
        "created_at": made,
        "at": _moment(made),  # for the server's own clock
        "abstained": bool(interaction.answer.get("abstained", False)),
        "commit_id": interaction.commit_id,
        "release_id": interaction.release_id,
        "paths": sorted(used_paths(interaction)),
        "cited": [{"path": cited.path, "chunk": cited.chunk_id} for cited in sorted(cited_chunks(interaction), key=repr)],
        "feedback": [],
        "body": codecs.INTERACTION.dump(replace(interaction, feedback=())),
    }


def _moment(time: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=min(max(time, 0.0), _LONGEST))


def _interaction(row: Document) -> Interaction:
    feedback = tuple(codecs.FEEDBACK.load(entry["body"]) for entry in row["feedback"])
    return replace(codecs.INTERACTION.load(row["body"]), feedback=feedback)


def _not_found(interaction_id: str) -> NotFound:
    return NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
