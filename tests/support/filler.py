"""`python -m tests.support.filler`: a process that fills spaces over shared stores, told by a line of JSON on stdin. It ends when its stdin does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_bulk_stage import MongoBulkStage
from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.domain.retrieval import Vectors
from ragstone.use_cases import space_builder, space_filler
from ragstone.use_cases.bulk import BulkSettings
from ragstone.use_cases.bulk_shard import work_shard
from ragstone.use_cases.platform import Platform
from tests.fakes.bulk import TaskRunner
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.platform import fake_platform
from tests.servers import mongo
from tests.support import shared_stores

PART = 8


class NotingModel(HashingEmbeddingModel):
    """Notes each passage in a file before it embeds it, and takes its time."""

    def __init__(self, dimension: int, revision: str, notes: Path, seconds: float) -> None:
        super().__init__(dimension, revision=revision)
        self._seconds = seconds  # a text
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        os.write(self._notes, "".join(f"{os.getpid()} {text.splitlines()[-1]}\n" for text in texts).encode())
        await asyncio.sleep(self._seconds * len(texts))
        return await super().embed_passages(texts)


@asynccontextmanager
async def opened(told: dict[str, Any]) -> AsyncIterator[Platform]:
    """A platform over MongoDB and the shared stores, not started. `bulk`: the least number of texts for shards, 0: without."""
    notes = Path(told["notes"])
    own, other = NotingModel(16, "1", notes, 0.0), NotingModel(24, "2", notes, 0.1)
    database = MongoDatabase(lambda: told["mongo"], told["database"])
    index, versions = shared_stores.found(told["stores"])
    stage = MongoBulkStage(database, mongo.dependency())

    async def work(run_id: str, shard: int) -> None:
        await work_shard(stage, run_id, shard, other, texts=4)

    platform = fake_platform(
        catalog=MongoCatalog(database, mongo.dependency()),
        staging=GridFsStaging(database, mongo.dependency()),
        index=index,
        versions=versions,
        embedder=own,
        further=(other,),
        bulk_stage=stage if told["bulk"] else None,
        bulk_runner=TaskRunner(work) if told["bulk"] else None,
        bulk=BulkSettings(shards=2, least=told["bulk"], window=40, part=PART) if told["bulk"] else None,
        holder=f"process {os.getpid()}",
        shared=True,
    )
    try:
        yield platform
    finally:
        await platform.drain(0)
        await database.close()


async def main() -> None:
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    space_builder._TTL = told["ttl"]  # whoever was killed is waited for no longer
    space_filler._TTL, space_filler._CHUNKS, space_filler._DOCUMENTS, space_filler._READ = 25.0, PART, PART, 4
    async with opened(told) as platform:
        if not told["lock"]:  # every process fills at once: the lock only spares work
            platform.builder._catalog = Unlocked(platform.adapters.catalog)
        platform.builder._period = 0.2
        platform.builder.start()
        await asyncio.to_thread(sys.stdin.read)


class Unlocked:
    """A catalog whose locks everybody gets."""

    def __init__(self, catalog: Any) -> None:
        self._catalog = catalog

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    async def hold(self, *_: object) -> bool:
        return True


if __name__ == "__main__":
    asyncio.run(main())
