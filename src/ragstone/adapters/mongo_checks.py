"""What is wrong inside the MongoDB catalog's own storage: indexes, and documents that say the same thing twice."""

from __future__ import annotations

from ragstone.adapters.mongo_schema import DOWN, Database, Document, missing_indexes

_FAULTS = 20  # told


async def faults(db: Database) -> list[str]:
    """A sentence each."""
    found = await missing_indexes(db)
    async for row in db["collections"].find({"name": {"$exists": True}}):
        found += await _of_collection(db, row["_id"])
        if len(found) >= _FAULTS:
            break
    return found[:_FAULTS]


async def _of_collection(db: Database, uid: str) -> list[str]:
    """What is said twice is written in one transaction; two reads may still lie on both sides of one, so a difference is looked at again."""
    first = await _differences(db, uid)
    return [fault for fault in await _differences(db, uid) if fault in first] if first else []


async def _differences(db: Database, uid: str) -> list[str]:
    row = await db["collections"].find_one({"_id": uid, "name": {"$exists": True}})
    if row is None:
        return []
    name: str = row["name"]
    newest: Document | None = await db["commits"].find_one({"uid": uid}, sort=[("seq", DOWN)])
    active = [attempt["number"] async for attempt in db["attempts"].find({"uid": uid, "state": "active"}, {"number": 1})]
    jobs = set(await db["jobs"].distinct("_id", {"uid": uid}))
    jobless = [
        job for job in await db["attempts"].distinct("job_id", {"uid": uid}) if job is not None and job not in jobs
    ]  # None: it filled a space
    faults = []
    if (newest or {}).get("seq") != (row["head"] or {}).get("seq"):
        faults.append(f"the head of collection {name!r} is not its newest commit")
    if active != ([row["active"]] if row["active"] is not None else []):
        faults.append(f"collection {name!r} has active attempts that do not hold its lease")
    if jobless:
        faults.append(f"{len(jobless)} jobs of attempts of collection {name!r} are not there")
    return faults
