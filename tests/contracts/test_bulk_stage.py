"""What every stage of bulk work promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.adapters.mongo_bulk_stage import MongoBulkStage
from ragstone.domain.bulk import BulkPart, BulkRun
from ragstone.domain.documents import checksum
from ragstone.domain.errors import NotFound
from ragstone.domain.retrieval import Vectors
from ragstone.ports.bulk_stage import BulkStage
from tests.fakes.bulk import InMemoryBulkStage
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.servers import mongo

MODEL = HashingEmbeddingModel(4).identity
RUN = BulkRun("01job_space", MODEL, 3, 1000.0)


@pytest.fixture(params=["files", "memory", pytest.param("mongo", marks=pytest.mark.packaged)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BulkStage]:
    match request.param:
        case "files":
            yield FileBulkStage(tmp_path / "bulk")
        case "memory":
            yield InMemoryBulkStage()
        case _:
            async with mongo.database(request.getfixturevalue("mongo_url")) as database:
                yield MongoBulkStage(database, mongo.dependency())


def part(shard: int, *texts: str) -> BulkPart:
    return BulkPart(shard, {checksum(text.encode("utf-8", "surrogatepass")): text for text in texts})


def rows(part: BulkPart) -> Vectors:
    return np.array([[len(text), part.shard, 0.25, -1.0] for text in part.texts.values()], np.float32)


async def staged(stage: BulkStage, run_id: str = RUN.id) -> dict[str, list[float]]:
    return {hashed: row.tolist() for part in await stage.vectors(run_id) for hashed, row in zip(part.hashes, part.rows, strict=True)}


async def test_texts_go_out_and_vectors_come_back(stage: BulkStage) -> None:
    first, second, other = part(0, "a", "é\ud800b", ""), part(0, "ccc"), part(2, "dddd")
    await stage.order(RUN, [first, second, other])
    assert (await stage.run(RUN.id), await stage.runs()) == (RUN, [RUN.id])
    assert await stage.waiting(RUN.id, 0) == sorted([first.id, second.id])
    assert (await stage.waiting(RUN.id, 1), await stage.waiting(RUN.id, 2)) == ([], [other.id])
    assert await stage.progress(RUN.id) == [(0, 4), (0, 0), (0, 1)]
    assert await stage.part(RUN.id, 0, first.id) == first
    await stage.put(RUN.id, first, rows(first))
    assert await stage.waiting(RUN.id, 0) == [second.id]
    with pytest.raises(NotFound):
        await stage.part(RUN.id, 0, first.id)
    assert await stage.progress(RUN.id) == [(3, 4), (0, 0), (0, 1)]
    assert await staged(stage) == dict(zip(first.texts, rows(first).tolist(), strict=True))
    (found,) = await stage.vectors(RUN.id)
    assert (found.id, found.rows.dtype.name, found.rows.shape) == (first.id, "float32", (3, 4))
    await stage.put(RUN.id, other, rows(other))
    assert [each.id for each in await stage.vectors(RUN.id, {first.id})] == [other.id]
    assert await stage.vectors(RUN.id, [other.id, first.id, second.id]) == []


async def test_what_is_put_again_changes_nothing(stage: BulkStage) -> None:
    one = part(1, "a", "b")
    await stage.order(RUN, [one])
    await asyncio.gather(*(stage.put(RUN.id, one, rows(one)) for _ in range(5)))
    assert await staged(stage) == dict(zip(one.texts, rows(one).tolist(), strict=True))
    assert await stage.progress(RUN.id) == [(0, 0), (2, 2), (0, 0)]


async def test_an_order_takes_the_place_of_the_one_before_and_keeps_its_vectors(stage: BulkStage) -> None:
    done, kept, gone, fresh = part(0, "a"), part(1, "b"), part(1, "c"), part(2, "d")
    await stage.order(RUN, [done, kept, gone])
    await stage.put(RUN.id, done, rows(done))
    again = replace(RUN, started_at=2000.0)
    await stage.order(again, [done, kept, fresh])
    assert await stage.run(RUN.id) == again
    assert [await stage.waiting(RUN.id, shard) for shard in range(3)] == [[], [kept.id], [fresh.id]]
    with pytest.raises(NotFound):
        await stage.part(RUN.id, 1, gone.id)
    with pytest.raises(NotFound):
        await stage.part(RUN.id, 0, done.id)
    await stage.put(RUN.id, gone, rows(gone))  # a shard was at it
    assert set(await staged(stage)) == {*done.texts, *gone.texts}
    assert await stage.progress(RUN.id) == [(1, 1), (1, 2), (0, 1)]


async def test_vectors_of_another_model_go_first(stage: BulkStage) -> None:
    one = part(0, "a")
    await stage.order(RUN, [one])
    await stage.put(RUN.id, one, rows(one))
    await stage.order(replace(RUN, model=replace(MODEL, revision="other")), [one])
    assert await staged(stage) == {}
    assert await stage.waiting(RUN.id, 0) == [one.id]


async def test_fewer_shards_than_before(stage: BulkStage) -> None:
    first, last = part(0, "a"), part(2, "b")
    await stage.order(RUN, [first, last])
    await stage.put(RUN.id, last, rows(last))
    await stage.order(replace(RUN, shards=1), [first])
    assert await stage.progress(RUN.id) == [(0, 1)]
    assert set(await staged(stage)) == set(last.texts)


async def test_what_is_discarded_is_not_there(stage: BulkStage) -> None:
    one, other = part(0, "a"), replace(RUN, id="02job_space")
    for run in (RUN, other):
        await stage.order(run, [one])
        await stage.put(run.id, one, rows(one))
    await stage.discard(RUN.id)
    await stage.discard(RUN.id)
    assert await stage.runs() == [other.id]
    with pytest.raises(NotFound):
        await stage.run(RUN.id)
    with pytest.raises(NotFound):
        await stage.part(RUN.id, 0, one.id)
    with pytest.raises(NotFound):
        await stage.put(RUN.id, one, rows(one))
    assert (await staged(stage), await stage.progress(RUN.id), await stage.waiting(RUN.id, 0)) == ({}, [], [])
    assert set(await staged(stage, other.id)) == set(one.texts)
