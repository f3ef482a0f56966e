"""Several processes fill one space over MongoDB, while documents come in and processes are killed; with and without shards, with and without the lock that spares work."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ragstone.domain.builds import Build
from ragstone.domain.errors import Unavailable
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from tests.support import shared_stores
from tests.support.filler import PART, opened

pytestmark = [pytest.mark.packaged, pytest.mark.long]
_PATIENCE = 240.0  # seconds
_DOCUMENTS, _PROCESSES, _KILLS = 120, 2, 3


@pytest.mark.parametrize(("bulk", "lock"), [(0, True), (0, False), (10, True)], ids=["alone", "all at once", "shards"])
async def test_processes_that_are_killed_fill_a_space_together(mongo_url: str, tmp_path: Path, bulk: int, lock: bool) -> None:
    with shared_stores.serving() as address:
        told = {
            "mongo": mongo_url,
            "database": f"test-{uuid4().hex[:10]}",
            "stores": address,
            "notes": str(tmp_path / "embedded"),
            "bulk": bulk,
            "lock": lock,
            "ttl": 1.0,
        }
        async with opened({**told, "notes": str(tmp_path / "own"), "bulk": 0}) as platform:
            await platform.start()
            await platform.builder.stop()
            await platform.collections.create("docs")
            texts = {f"{number:03}.txt": f"Page {number} of the book." for number in range(_DOCUMENTS)}
            await ingested(platform, texts)
            status = await platform.reembedding.start("docs", model=platform.adapters.further[0].identity.digest)
            fillers = [await started(told) for _ in range(_PROCESSES)]
            dice, kills = random.Random(1), 0
            beside: list[asyncio.Task[None]] = []
            try:
                async with asyncio.timeout(_PATIENCE):
                    while (build := await now(platform, status.space.id)) is None or build.state != "ready":
                        await asyncio.sleep(0.05)
                        if kills < _KILLS and build is not None and build.documents >= (kills + 1) * _DOCUMENTS // (_KILLS + 2):
                            victim = dice.randrange(len(fillers))
                            await ended(fillers[victim])
                            fillers[victim] = await started(told)
                            changed = {f"{kills:03}.txt": f"Page {kills} was written anew.", f"new/{kills}.txt": f"Page {kills} came late."}
                            texts |= changed
                            beside.append(
                                asyncio.create_task(ingested(platform, changed))
                            )  # filling goes on meanwhile, and is not to be missed
                            kills += 1
            finally:
                await asyncio.gather(*beside)
                for filler in fillers:
                    await ended(filler)
            job = await platform.ingest.wait((await platform.reembedding.switch("docs")).id, _PATIENCE)
            assert job.state == "published", job
            collection, snapshot = await platform.snapshots.resolve("docs", None)
            assert snapshot.space_id == status.space.id
            chunks = await platform.adapters.index.visible(
                collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, sorted(texts)
            )
            assert {chunk.path: chunk.text for chunk in chunks} == texts
            assert len(chunks) == len(texts)
    embedded = Counter(line.split(" ", 1)[1] for line in (tmp_path / "embedded").read_text().splitlines())
    assert kills == _KILLS
    again = sum(embedded.values()) - len(embedded)
    if lock:  # a batch, or a part of each shard; and what the ingest changed meanwhile
        assert again <= _KILLS * (2 * PART + 4)


async def now(platform: Platform, space_id: str) -> Build | None:
    """None too while MongoDB waits for the transaction of a process that was killed to run out."""
    with suppress(Unavailable):
        return (await platform.collections.get("docs")).build(space_id)
    return None


async def ingested(platform: Platform, texts: dict[str, str]) -> None:
    """Sent again, as a client does, while the transaction of a process that was killed is in the way."""
    request = IngestRequest(tuple(Upload(path, text.encode(), "text/plain") for path, text in texts.items()))
    key, accepted = uuid4().hex, None
    async with asyncio.timeout(_PATIENCE):
        while accepted is None:
            try:
                accepted = await platform.ingest.submit("docs", request, idempotency_key=key)
            except Unavailable:
                await asyncio.sleep(0.5)
    job = await platform.ingest.wait(accepted.id, _PATIENCE)
    assert job.state == "published", job


async def ended(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()
    assert process.stdin is not None
    process.stdin.close()


async def started(told: dict[str, Any]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.filler", stdin=pipe, env=dict(os.environ))
    assert process.stdin is not None
    process.stdin.write(json.dumps(told).encode() + b"\n")
    await process.stdin.drain()
    return process
