"""What a running platform finds by itself: jobs without a message, remains of what ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ragstone.domain.collections import Collection
from ragstone.domain.errors import Unavailable
from ragstone.domain.jobs import Delete
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.sweeper import Sweeper
from tests.support.world import World, fake_world

A = Upload("a.txt", b"The ferry leaves at nine.", "text/plain")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs")
    return world


async def test_a_job_that_an_unexpected_error_dropped_is_taken_up_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(job_id: str, holder: str, ttl: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.platform.adapters.catalog, "acquire", broken)
    job = await world.platform.ingest.submit("docs", IngestRequest((A,)))
    assert (await world.platform.ingest.wait(job.id, 0.05)).state == "queued"
    monkeypatch.undo()
    await world.platform.sweeper.sweep()
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def test_remains_of_what_ended_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = world.platform.adapters

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    for store, method in ((adapters.versions, "advance"), (adapters.staging, "discard")):
        monkeypatch.setattr(store, method, broken)
    job = await world.platform.ingest.submit("docs", IngestRequest((A,)))
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"
    bad = await world.platform.ingest.submit("docs", IngestRequest(deletes=(Delete("no.txt"),)))
    assert (await world.platform.ingest.wait(bad.id, 20)).state == "failed"
    monkeypatch.undo()
    collection = await world.platform.collections.get("docs")
    head = await adapters.catalog.head("docs")
    assert head is not None
    await adapters.staging.put("not-accepted-yet", b"bytes")
    assert await adapters.versions.main(collection.uid) is None
    await world.platform.sweeper.sweep()
    assert await adapters.versions.main(collection.uid) == head.id
    assert await adapters.versions.attempts(collection.uid) == []
    assert await adapters.catalog.aborted("docs") == []
    assert await adapters.staging.jobs() == ["not-accepted-yet"]


async def test_it_goes_on_after_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    enough = asyncio.Event()

    async def down() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            enough.set()
        raise Unavailable("not now")

    monkeypatch.setattr(world.platform.recovery, "tidy", down)
    sweeper = Sweeper(
        world.platform.adapters.catalog,
        world.platform.adapters.queue,
        world.platform.recovery,
        world.platform.visibility,
        "test",
        period=0.001,
    )
    sweeper.start()
    await asyncio.wait_for(enough.wait(), 60)
    await sweeper.stop()
    assert turns >= 3


async def test_stores_of_a_collection_that_was_half_created_are_made(world: World) -> None:
    adapters = world.platform.adapters
    (docs,) = await adapters.catalog.collections()
    await adapters.catalog.create_collection("more", "english", "", docs.spaces[0])
    await world.platform.sweeper.sweep()
    job = await world.platform.ingest.submit("more", IngestRequest((A,)))
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def test_stores_of_a_collection_that_is_deleted_meanwhile_are_not_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = world.platform.adapters
    (docs,) = stale = await adapters.catalog.collections()
    collections = adapters.catalog.collections
    await world.platform.collections.delete("docs")

    async def seen_before() -> list[Collection]:
        monkeypatch.setattr(adapters.catalog, "collections", collections)
        return stale

    async def no_head(name: str) -> None:
        return None

    monkeypatch.setattr(adapters.catalog, "collections", seen_before)
    monkeypatch.setattr(adapters.catalog, "head", no_head)
    await world.platform.recovery.tidy()
    assert not await adapters.index.exists(docs.index_name(docs.space_id))
    assert await adapters.catalog.collections() == []
