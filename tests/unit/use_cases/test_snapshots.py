"""What a process reads that did not itself publish the head, over the fakes and over the embedded adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.domain.access import LOCAL
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.domain.uploads import IngestRequest, Upload
from tests.support.world import World, embedded_world, fake_world


@pytest.fixture(params=[fake_world, embedded_world])
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Its reads learn of no commit by themselves, as where another process's worker publishes it; and a head lasts for the whole test."""
    world: World = await request.param(tmp_path)
    await world.platform.collections.create("docs")
    assert (await ingested(world, "a.txt")).state == "published"
    monkeypatch.setattr("ragstone.use_cases.snapshots.HEAD_TTL", 3600.0)
    monkeypatch.setattr(world.platform.snapshots, "published", lambda collection, commit: None)
    assert await position(world) == 1
    yield world
    await world.end(world.platform)


async def ingested(world: World, path: str) -> Job:
    return await world.platform.ingest.wait((await submitted(world, path)).id, 20)


async def submitted(world: World, path: str) -> Job:
    return await world.platform.ingest.submit("docs", IngestRequest((Upload(path, b"Alpha.", "text/plain"),)))


async def position(world: World) -> int:
    _, snapshot = await world.platform.snapshots.resolve("docs")
    return snapshot.position


async def published_unseen(world: World) -> Job:
    """Waited for at the catalog: nobody has told this process's reads."""
    job = await submitted(world, "b.txt")
    while (await world.platform.adapters.catalog.job(job.id)).state not in TERMINAL:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.01)
    assert await position(world) == 1
    return job


async def test_who_waited_for_a_job_reads_its_commit(world: World) -> None:
    await ingested(world, "b.txt")
    assert await position(world) == 2


async def test_who_watched_a_job_reads_its_commit(world: World) -> None:
    job = await published_unseen(world)
    assert [step.finished async for step in world.platform.ingest.watch(job.id)] == [True]
    assert await position(world) == 2


async def test_who_asked_for_a_job_reads_its_commit(world: World) -> None:
    job = await published_unseen(world)
    await world.platform.jobs.get(job.id, LOCAL)
    assert await position(world) == 2


async def test_an_earlier_job_makes_nobody_ask_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await ingested(world, "b.txt")
    await ingested(world, "c.txt")
    assert await position(world) == 3

    async def never(name: str) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(world.platform.adapters.catalog, "head", never)
    await world.platform.jobs.get(first.id, LOCAL)
    assert await position(world) == 3
