"""Stage of bulk work in MongoDB, which processes of many machines share: a document a run, and a document a part, with its texts, then with its vectors."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict

import numpy as np
from bson import Binary
from pydantic import TypeAdapter
from pymongo import DeleteOne, UpdateOne

from ragstone.adapters.mongo import MongoAdapter
from ragstone.adapters.mongo_schema import Database, Document
from ragstone.domain.bulk import BulkPart, BulkRun, PartVectors
from ragstone.domain.errors import NotFound
from ragstone.domain.retrieval import Vectors

_RUN = TypeAdapter(BulkRun)
_RUNS, _PARTS = "bulk_runs", "bulk_parts"
_WRITES = 64  # parts in one request: some megabytes


class MongoBulkStage(MongoAdapter):
    """Implements `BulkStage`. A part's `texts` are there as long as it waits, its `vectors` (float32, little-endian, row by row) from then on."""

    async def order(self, run: BulkRun, parts: Sequence[BulkPart]) -> None:
        async def about(db: Database) -> None:
            known = await db[_RUNS].find_one({"_id": run.id})
            if known is not None and known["run"]["model"] != asdict(run.model):
                await db[_PARTS].delete_many({"run": run.id})
            await db[_RUNS].replace_one({"_id": run.id}, {"_id": run.id, "run": asdict(run)}, upsert=True)

        await self._call(about)
        wanted = {_id(run.id, part.shard, part.id): part for part in parts}
        waiting = await self._call(lambda db: _ids(db, {"run": run.id, "done": False}))
        writes: list[DeleteOne | UpdateOne] = [DeleteOne({"_id": name, "done": False}) for name in waiting if name not in wanted]
        writes += [UpdateOne({"_id": name}, {"$setOnInsert": _fields(run.id, part)}, upsert=True) for name, part in wanted.items()]
        for start in range(0, len(writes), _WRITES):
            batch = writes[start : start + _WRITES]
            await self._call(lambda db, batch=batch: db[_PARTS].bulk_write(batch, ordered=False))  # type: ignore[misc]

    async def run(self, run_id: str) -> BulkRun:
        found = await self._call(lambda db: db[_RUNS].find_one({"_id": run_id}))
        if found is None:
            raise NotFound(f"there is no bulk work {run_id[:80]!r}.")
        return _RUN.validate_python(found["run"])

    async def runs(self) -> list[str]:
        return sorted(await self._call(lambda db: _ids_of(db, _RUNS, {})))

    async def waiting(self, run_id: str, shard: int) -> list[str]:
        names = await self._call(lambda db: _ids(db, {"run": run_id, "shard": shard, "done": False}))
        return sorted(map(_part, names))

    async def part(self, run_id: str, shard: int, part_id: str) -> BulkPart:
        found = await self._call(lambda db: db[_PARTS].find_one({"_id": _id(run_id, shard, part_id), "done": False}))
        if found is None:
            raise NotFound(f"no part {part_id[:64]!r} of shard {shard} waits.")
        return BulkPart(shard, dict(zip(found["hashes"], json.loads(found["texts"]), strict=True)))

    async def put(self, run_id: str, part: BulkPart, vectors: Vectors) -> None:
        held = Binary(np.ascontiguousarray(vectors, "<f4").tobytes())
        whole = {**_fields(run_id, part), "done": True, "vectors": held}
        del whole["texts"]

        async def work(db: Database) -> bool:
            if await db[_RUNS].find_one({"_id": run_id}, {"_id": 1}) is None:
                return False
            await db[_PARTS].replace_one({"_id": _id(run_id, part.shard, part.id)}, whole, upsert=True)
            if await db[_RUNS].find_one({"_id": run_id}, {"_id": 1}) is not None:
                return True
            await db[_PARTS].delete_many({"run": run_id})  # discarded meanwhile: what came after that goes too
            return False

        if not await self._call(work):
            raise NotFound("the bulk work is over.")

    async def vectors(self, run_id: str, without: Collection[str] = ()) -> list[PartVectors]:
        async def work(db: Database) -> list[PartVectors]:
            ids = {name: part for name in await _ids(db, {"run": run_id, "done": True}) if (part := _part(name)) not in without}
            found = []
            async for row in db[_PARTS].find({"_id": {"$in": list(ids)}, "done": True}, {"hashes": 1, "vectors": 1}):
                rows = np.frombuffer(row["vectors"], "<f4").astype(np.float32).reshape(len(row["hashes"]), -1)
                found.append(PartVectors(ids[row["_id"]], row["hashes"], rows))
            return found

        return await self._call(work)

    async def progress(self, run_id: str) -> list[tuple[int, int]]:
        async def work(db: Database) -> list[tuple[int, int]]:
            run = await db[_RUNS].find_one({"_id": run_id})
            counts = [[0, 0] for _ in range(run["run"]["shards"] if run is not None else 0)]
            async for row in db[_PARTS].find({"run": run_id}, {"shard": 1, "count": 1, "done": 1}):
                if row["shard"] < len(counts):  # there were more of them once
                    counts[row["shard"]][0] += row["count"] if row["done"] else 0
                    counts[row["shard"]][1] += row["count"]
            return [(done, total) for done, total in counts]

        return await self._call(work)

    async def discard(self, run_id: str) -> None:
        await self._call(lambda db: db[_RUNS].delete_one({"_id": run_id}))
        await self._delete_all(_PARTS, {"run": run_id})


async def _ids(db: Database, wanted: Document) -> list[str]:
    return await _ids_of(db, _PARTS, wanted)


async def _ids_of(db: Database, collection: str, wanted: Document) -> list[str]:
    return [row["_id"] async for row in db[collection].find(wanted, {"_id": 1})]


def _id(run_id: str, shard: int, part_id: str) -> str:
    return f"{run_id}/{shard:05}/{part_id}"


def _part(name: str) -> str:
    """The part's own id, of what `_id` gives."""
    return name.rsplit("/", 1)[1]


def _fields(run_id: str, part: BulkPart) -> Document:
    return {
        "run": run_id,
        "shard": part.shard,
        "done": False,
        "count": len(part.texts),
        "hashes": list(part.texts),
        "texts": json.dumps(list(part.texts.values())),  # lone surrogates, which some PDFs yield, survive
    }
