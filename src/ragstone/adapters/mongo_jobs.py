"""Collections and jobs in the MongoDB catalog. A function that takes a `Turn` is run inside one transaction, the others read."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from ragstone.adapters import codecs
from ragstone.adapters.codecs import Codec
from ragstone.adapters.mongo import literal
from ragstone.adapters.mongo_schema import DOWN, UP, Database, Document
from ragstone.domain import building
from ragstone.domain.collections import Collection
from ragstone.domain.errors import Conflict, IdempotencyMismatch, NotFound
from ragstone.domain.jobs import ChangeRequest, Job, Put, Restore
from ragstone.domain.spaces import EmbeddingSpace

T = TypeVar("T")
HANGING = ("jobs", "job_parts", "job_progress", "attempts", "commits", "tags")  # on a collection, by its uid
_PART = 8 * 2**20  # bytes of a request that one document holds; MongoDB's own limit is 16 MB
_SMALL = 32 * 2**10  # bytes that are packed and unpacked without a thread


@dataclass(frozen=True, slots=True)
class Turn:
    """One transaction on one collection. It has written the collection's document already, so no other that does so can commit beside it.

    `row`: that document. `now`: Unix seconds on the server's clock.
    """

    db: Database
    session: AsyncClientSession
    row: Document
    now: float

    @property
    def uid(self) -> str:
        """Of the collection."""
        uid: str = self.row["_id"]
        return uid

    async def change(self, **fields: Any) -> None:
        """Sets fields of the collection's document."""
        await self.db["collections"].update_one({"_id": self.uid}, {"$set": fields}, session=self.session)


def collection_pipeline(name: str, language: str, description: str, space: EmbeddingSpace, now: Document) -> list[Document]:
    """The update that makes a collection's document."""
    fields = {
        "name": name,
        "language": language,
        "description": description,
        "spaces": codecs.SPACES.dump((space,)),
        "spaces_version": 1,
        "space_id": space.id,
        "job_count": 0,
        "attempt_count": 0,
        "active": None,  # the attempt that holds the lease, and its job
        "active_job": None,
        "holder": None,
        "expires_at": 0.0,
        "head": None,  # the whole commit record
        "turn": 0,  # transactions so far
    }
    return [{"$set": {**{field: literal(value) for field, value in fields.items()}, "created_at": now, "now": now}}]


def collection_of(row: Document) -> Collection:
    """The collection of a document."""
    return Collection(
        name=row["name"],
        uid=row["_id"],
        language=row["language"],
        description=row["description"],
        created_at=row["created_at"],
        spaces=codecs.SPACES.load(row["spaces"]),
        spaces_version=row["spaces_version"],
        space_id=row["space_id"],
        builds=codecs.BUILDS.load(row.get("builds", "[]")),  # a collection of an earlier release has neither
        past_builds=codecs.BUILDS.load(row.get("past_builds", "[]")),
    )


async def collection_row(db: Database, name: str) -> Document:
    """The document of a collection. Raises `NotFound`."""
    row = await db["collections"].find_one({"name": name})
    if row is None:
        raise no_collection(name)
    return row


def no_collection(name: str) -> NotFound:
    """What is raised for a collection that is not there."""
    return NotFound(f"there is no collection {name[:80]!r}.", field="collection")


async def collections(db: Database) -> list[Collection]:
    """See the port."""
    return [collection_of(row) async for row in db["collections"].find({"name": {"$exists": True}}).sort("name", UP)]


async def delete_collection(turn: Turn) -> Collection:
    """See the port. Without its name nothing finds it any more; what hangs on it is taken away afterwards."""
    deleted = collection_of(turn.row)
    await turn.db["collections"].update_one(
        {"_id": turn.uid}, {"$unset": {"name": ""}, "$set": {"active": None, "holder": None}}, session=turn.session
    )
    return deleted


async def add_space(turn: Turn, space: EmbeddingSpace) -> Collection:
    """See the port."""
    return await store_spaces(turn, building.registered(collection_of(turn.row), space))


async def store_spaces(turn: Turn, changed: Collection) -> Collection:
    """Writes the spaces and builds of a collection, and returns it."""
    await turn.change(
        spaces=codecs.SPACES.dump(changed.spaces),
        spaces_version=changed.spaces_version,
        builds=codecs.BUILDS.dump(changed.builds),
        past_builds=codecs.BUILDS.dump(changed.past_builds),
    )
    return changed


async def accept(turn: Turn, new: Job, packed: bytes, key: str | None, body_digest: str) -> Job:
    """See the port. `packed`: its request."""
    if key is not None:
        known = await turn.db["jobs"].find_one({"uid": turn.uid, "principal": new.principal, "key": key}, session=turn.session)
        if known is not None and known["body_digest"] != body_digest:
            raise IdempotencyMismatch("this Idempotency-Key came with another body before; use a new key.", field="Idempotency-Key")
        if known is not None:
            return await job_of(turn.db, known, turn.session)
    accepted = replace(new, number=turn.row["job_count"] + 1, state="queued", created_at=turn.now, finished_at=None, result=None)
    document = {
        "_id": new.id,
        "uid": turn.uid,
        "collection": new.collection,
        "number": accepted.number,
        "principal": new.principal,
        "state": "queued",
        "open": True,  # not terminal
        "created_at": turn.now,
        "order": ObjectId(),  # of jobs that were accepted at the same time
        "finished_at": None,
        "request": packed[:_PART],
        "parts": await _store_parts(turn, new.id, packed),
        "result": None,
        "body_digest": body_digest,
        "restores": [change.commit_id for change in new.request.changes if isinstance(change, Restore)],
        "metadata": any(isinstance(change, Put) and change.metadata for change in new.request.changes),
    }
    try:
        await turn.db["jobs"].insert_one(document if key is None else {**document, "key": key}, session=turn.session)
    except DuplicateKeyError:
        raise Conflict(f"job {new.id} exists already.") from None
    await turn.change(job_count=accepted.number)
    return accepted


async def job_row(db: Database, job_id: str, session: AsyncClientSession | None = None) -> Document:
    """The document of a job. Raises `NotFound`."""
    row = await db["jobs"].find_one({"_id": job_id}, session=session)
    if row is None:
        raise NotFound(f"there is no job {job_id[:80]!r}.", field="job")
    return row


async def job(db: Database, job_id: str) -> Job:
    """See the port."""
    return await job_of(db, await job_row(db, job_id))


async def jobs(db: Database, name: str | None, before: str | None, limit: int) -> list[Job]:
    """See the port."""
    wanted: Document = {}
    if name is not None:
        wanted["uid"] = (await collection_row(db, name))["_id"]
    if before is not None:
        wanted["_id"] = {"$lt": before}
    return await _jobs(db, await db["jobs"].find(wanted).sort("_id", DOWN).limit(limit).to_list())


async def pending(db: Database, name: str) -> int:
    """See the port."""
    return await db["jobs"].count_documents({"uid": (await collection_row(db, name))["_id"], "open": True})


async def next_job(db: Database, name: str) -> Job | None:
    """See the port."""
    row = await oldest(db, (await collection_row(db, name))["_id"])
    return await job_of(db, row) if row is not None else None


async def oldest(db: Database, uid: str, session: AsyncClientSession | None = None) -> Document | None:
    """The document of the oldest job that is not terminal."""
    return await db["jobs"].find_one({"uid": uid, "open": True}, sort=[("number", UP)], session=session)


async def release(turn: Turn, job_id: str) -> None:
    """See the port."""
    if turn.row["active_job"] != job_id:
        await turn.db["jobs"].update_one({"_id": job_id, "state": "running"}, {"$set": {"state": "queued"}}, session=turn.session)


async def queued(db: Database) -> list[Job]:
    """Jobs of all collections that wait, oldest first."""
    rows = db["jobs"].find({"open": True, "state": "queued"}).sort([("created_at", UP), ("order", UP)])
    return await _jobs(db, await rows.to_list())


async def unattended(db: Database, now: Document) -> list[Job]:
    """Of each collection that nobody holds, the oldest job that is not terminal."""
    oldest = await db["jobs"].aggregate(
        [
            {"$match": {"open": True}},
            {"$project": {"uid": 1, "number": 1}},
            {"$sort": {"uid": UP, "number": UP}},
            {"$group": {"_id": "$uid", "job": {"$first": "$_id"}}},
        ]
    )
    jobs = {row["_id"]: row["job"] async for row in oldest}
    free = {"$or": [{"$eq": ["$holder", None]}, {"$lte": ["$expires_at", now]}]}
    found = db["collections"].find({"_id": {"$in": list(jobs)}, "name": {"$exists": True}, "$expr": free}, {"_id": 1})
    wanted = [jobs[row["_id"]] async for row in found]
    rows = db["jobs"].find({"_id": {"$in": wanted}}).sort([("created_at", UP), ("order", UP)])
    return await _jobs(db, await rows.to_list())


async def job_of(db: Database, row: Document, session: AsyncClientSession | None = None) -> Job:
    """The job of a document."""
    packed: bytes = row["request"]
    if row["parts"]:
        parts = db["job_parts"].find({"job": row["_id"]}, session=session).sort("number", UP)
        packed = b"".join([packed, *[part["part"] async for part in parts]])
    result = None
    if row["result"] is not None:
        result = await unpack(codecs.RESULT, row["result"])
    return Job(
        id=row["_id"],
        collection=row["collection"],
        number=row["number"],
        request=await unpack(codecs.REQUEST, packed),
        principal=row["principal"],
        state=row["state"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        result=result,
    )


async def store_request(turn: Turn, job_id: str, request: ChangeRequest) -> None:
    """Puts a request in the place of a job's."""
    packed = await pack(codecs.REQUEST, request)
    await turn.db["job_parts"].delete_many({"job": job_id}, session=turn.session)
    fields = {"request": packed[:_PART], "parts": await _store_parts(turn, job_id, packed)}
    await turn.db["jobs"].update_one({"_id": job_id}, {"$set": fields}, session=turn.session)


async def _store_parts(turn: Turn, job_id: str, packed: bytes) -> int:
    """Stores what of a request the job's own document has no room for; returns in how many parts."""
    parts = [packed[begin : begin + _PART] for begin in range(_PART, len(packed), _PART)]
    for number, part in enumerate(parts, start=1):
        await turn.db["job_parts"].insert_one({"uid": turn.uid, "job": job_id, "number": number, "part": part}, session=turn.session)
    return len(parts)


async def pack(codec: Codec[T], value: T) -> bytes:
    """A value as compressed JSON. Raises `InvalidInput` for what is not Unicode."""
    return await asyncio.to_thread(lambda: zlib.compress(codec.dump(value).encode(), 1))


async def unpack(codec: Codec[T], packed: bytes) -> T:
    """The reverse of `pack`."""
    if len(packed) < _SMALL:
        return codec.load(zlib.decompress(packed).decode())
    return await asyncio.to_thread(lambda: codec.load(zlib.decompress(packed).decode()))


async def _jobs(db: Database, rows: Iterable[Document]) -> list[Job]:
    return [await job_of(db, row) for row in rows]
