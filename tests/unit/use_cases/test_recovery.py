"""What a start cleans up, over the fakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.domain.errors import Unavailable
from ragstone.domain.jobs import Job
from ragstone.domain.uploads import IngestRequest, Upload
from tests.support.world import World, fake_world


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs")
    return world


async def ingest(world: World, text: str) -> Job:
    job = await world.platform.ingest.submit("docs", IngestRequest((Upload("a.txt", text.encode(), "text/plain"),)))
    return await world.platform.ingest.wait(job.id, 20)


async def test_a_start_drops_the_branches_of_published_attempts_that_main_has_passed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = world.platform.adapters.versions
    collection = await world.platform.collections.get("docs")

    async def down(repo: str, commit: str, attempt: int | None = None) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(versions, "advance", down)
    await ingest(world, "One.")
    monkeypatch.undo()
    newest = await ingest(world, "Two.")
    assert newest.result is not None
    assert await versions.attempts(collection.uid) == [1]
    world = await world.reopen()
    assert await versions.attempts(collection.uid) == []
    assert await versions.main(collection.uid) == newest.result.commit_id


async def test_a_start_brings_main_forward_before_it_drops_a_branch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = world.platform.adapters.versions
    collection = await world.platform.collections.get("docs")
    calls: list[str] = []
    advance, drop = versions.advance, versions.drop_attempts

    async def down(repo: str, commit: str, attempt: int | None = None) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(versions, "advance", down)
    await ingest(world, "One.")
    await ingest(world, "Two.")
    monkeypatch.undo()

    async def advancing(repo: str, commit: str, attempt: int | None = None) -> None:
        calls.append("advance")
        await advance(repo, commit, attempt)

    async def dropping(repo: str, attempts: list[int]) -> None:
        calls.append(f"drop {list(attempts)}")
        await drop(repo, attempts)

    monkeypatch.setattr(versions, "advance", advancing)
    monkeypatch.setattr(versions, "drop_attempts", dropping)
    world = await world.reopen()
    assert calls == ["advance", "drop [1]"]
    assert await versions.attempts(collection.uid) == []


async def test_a_start_drops_branches_by_what_became_of_their_attempts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, versions = world.platform.adapters.catalog, world.platform.adapters.versions
    await ingest(world, "One.")
    assert (await ingest(world, "One.")).state == "unchanged"  # attempt 2
    await world.platform.adapters.queue.stop()
    waiting = await world.platform.ingest.submit("docs", IngestRequest((Upload("a.txt", b"Two.", "text/plain"),)))
    lease = await catalog.acquire(waiting.id, "killed", 60)
    for attempt in (2, lease.attempt):
        await versions.stage(lease.collection.uid, attempt, lease.head_id, [], ["a.txt"], author="", message="", metadata={})
    assert [job.id for job in await world.platform.recovery.start()] == [waiting.id]
    assert await versions.attempts(lease.collection.uid) == [lease.attempt]  # cleaned up when its job has ended


async def test_a_lost_index_is_not_replaced_by_an_empty_one(world: World) -> None:
    await ingest(world, "One.")
    index, collection = world.platform.adapters.index, await world.platform.collections.get("docs")
    name = collection.index_name(collection.space_id)
    await index.drop(name)
    world = await world.reopen()
    await world.platform.recovery.tidy()
    assert not await index.exists(name)


async def test_one_damaged_collection_does_not_keep_the_platform_from_starting(world: World) -> None:
    await ingest(world, "One.")
    collection = await world.platform.collections.get("docs")
    await world.platform.adapters.versions.delete(collection.uid)
    await world.platform.collections.create("other")
    world = await world.reopen()
    await world.platform.recovery.tidy()
    assert [found.name for found in await world.platform.collections.all()] == ["docs", "other"]
