"""Named locks, cursors, and how far jobs are, in the MongoDB catalog: one command each."""

from __future__ import annotations

from pymongo import ReturnDocument
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ragstone.adapters import codecs
from ragstone.adapters.mongo import literal
from ragstone.adapters.mongo_schema import Database, Document
from ragstone.domain.jobs import Progress


async def hold(db: Database, lock: str, holder: str, ttl: float, now: Document) -> bool:
    """See the port. A lock that is not there yet sorts before every time, so it is free."""
    may = {"$or": [{"$eq": ["$holder", literal(holder)]}, {"$lte": ["$expires_at", now]}]}
    update = {
        "holder": {"$cond": [may, literal(holder), "$holder"]},
        "expires_at": {"$cond": [may, {"$add": [now, ttl]}, "$expires_at"]},
    }
    row = await db["locks"].find_one_and_update({"_id": lock}, [{"$set": update}], upsert=True, return_document=ReturnDocument.AFTER)
    return row is not None and bool(row["holder"] == holder)


async def let_go(db: Database, lock: str, holder: str) -> None:
    """See the port."""
    await db["locks"].delete_one({"_id": lock, "holder": holder})


async def cursor(db: Database, name: str) -> int:
    """See the port."""
    row = await db["cursors"].find_one({"_id": name})
    return int(row["value"]) if row is not None else 0


async def move_cursor(db: Database, name: str, value: int) -> None:
    """See the port."""
    await db["cursors"].update_one({"_id": name}, {"$max": {"value": value}}, upsert=True)


async def report(db: Database, job_id: str, progress: Progress) -> None:
    """See the port. It is told again in a moment, so it need not be durable."""
    row = await db["jobs"].find_one({"_id": job_id, "open": True}, {"uid": 1})
    if row is not None:
        quick = db["job_progress"].with_options(write_concern=WriteConcern(1))
        await quick.update_one({"_id": job_id}, {"$set": {"uid": row["uid"], "progress": codecs.PROGRESS.dump(progress)}}, upsert=True)


async def progress(db: Database, job_id: str) -> Progress | None:
    """See the port. A report that came after the job's end does not count."""
    if await db["jobs"].find_one({"_id": job_id, "open": True}, {"_id": 1}) is None:
        return None
    row = await db["job_progress"].with_options(read_concern=ReadConcern("local")).find_one({"_id": job_id})
    return codecs.PROGRESS.load(row["progress"]) if row is not None else None
