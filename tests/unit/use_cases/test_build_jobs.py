"""Builds of spaces among the jobs; over the fakes and over the embedded adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.domain.access import LOCAL, Principal, Scope
from ragstone.domain.building import PAST
from ragstone.domain.builds import SpaceStatus
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Job, Progress
from ragstone.domain.uploads import IngestRequest, JobProgress, Upload
from ragstone.use_cases import space_filler
from ragstone.use_cases.jobs import ShownJob
from tests.fakes.catalog import InMemoryCatalog
from tests.support.world import World, embedded_world, fake_world

READER = Principal("reader", Scope.READ)


@pytest.fixture(params=[fake_world, embedded_world])
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("ragstone.use_cases.platform.GRACE", 0.0)
    monkeypatch.setattr(space_filler, "_DOCUMENTS", 2)
    world: World = await request.param(tmp_path)
    await world.platform.builder.stop()  # each test takes the steps itself
    await world.platform.collections.create("docs")
    await ingest(world, "docs", a="Alpha ferry.", b="Beta lamp.", c="Beta lamp.")
    yield world
    await world.end(world.platform)


async def ingest(world: World, name: str, **texts: str) -> Job:
    uploads = tuple(Upload(f"{path}.txt", text.encode(), "text/plain") for path, text in texts.items())
    job = await world.platform.ingest.wait((await world.platform.ingest.submit(name, IngestRequest(uploads))).id, 60)
    assert job.state == "published", job
    return job


async def started(world: World, name: str = "docs") -> str:
    """The id of the job."""
    build = (await world.platform.reembedding.start(name, model=world.other.identity.digest)).build
    assert build is not None
    assert build.job_id is not None
    return build.job_id


async def finished(world: World) -> None:
    while await world.platform.builder.tend():
        pass


async def given_up(world: World) -> None:
    """And its index is deleted."""
    await world.platform.reembedding.abort("docs")
    await world.platform.builder.tend()
    assert (await world.platform.collections.get("docs")).builds == ()


async def told(world: World, job_id: str) -> tuple[Job, Progress]:
    shown = await world.platform.jobs.get(job_id, LOCAL)
    assert shown.progress is not None
    return shown.job, shown.progress


async def status(world: World) -> SpaceStatus:
    """Of the space that is built, by its own route."""
    return (await world.platform.reembedding.status("docs"))[1]


async def listed(world: World, name: str | None = None, *, before: str | None = None, limit: int = 50) -> list[ShownJob]:
    return await world.platform.jobs.page(name, LOCAL, before=before, limit=limit)


async def test_a_build_is_told_from_its_start_to_its_end(world: World) -> None:
    job_id = await started(world)
    assert await started(world) == job_id  # it goes on
    job, progress = await told(world, job_id)
    assert (job.id, job.collection, job.number, job.state, job.principal, job.finished_at) == (job_id, "docs", 0, "queued", "local", None)
    assert (job.space_id, job.result, progress) == ((await status(world)).space.id, None, Progress(documents_total=3))
    await world.platform.builder.tend()  # the index
    await world.platform.builder.tend()  # a and b
    job, progress = await told(world, job_id)
    own = await status(world)
    assert (job.state, progress.phase) == ("running", "embedding")
    assert (progress.documents, progress.documents_total, progress.chunks, progress.embedded, progress.reused) == (2, 3, 2, 2, 0)
    assert (progress.rate, progress.seconds_left) == (own.rate, own.seconds_left)
    assert progress.rate > 0
    assert progress.seconds_left is not None
    await finished(world)
    job, progress = await told(world, job_id)
    assert job.state == "unchanged"
    assert job.result is not None
    assert (job.result.outcome, job.result.commit_id, job.result.error) == ("unchanged", None, None)
    assert (job.result.stats.chunks_embedded, job.result.stats.chunks_reused) == (2, 1)
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at > 0
    assert (progress.phase, progress.documents, progress.documents_total, progress.seconds_left) == ("done", 3, 3, 0.0)
    assert (progress.chunks, progress.chunks_total, progress.rate > 0) == (3, 3, True)


async def test_a_build_that_is_given_up_has_failed_and_is_told_when_nothing_else_is_left_of_it(world: World) -> None:
    job_id = await started(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    await world.platform.reembedding.abort("docs")
    before = await told(world, job_id)
    assert before[0].state == "failed"
    assert before[0].finished_at is not None
    assert before[0].result is not None
    assert (before[0].result.error_code, before[0].result.status) == ("gone", 410)
    assert "given up before it was ready" in (before[0].result.error or "")
    await world.platform.builder.tend()
    assert (await world.platform.collections.get("docs")).builds == ()
    assert await told(world, job_id) == before
    world.platform = (await world.reopen()).platform
    await world.platform.builder.stop()
    assert await told(world, job_id) == before
    again = await started(world)  # the same space
    assert again != job_id
    await finished(world)
    assert [(await told(world, one))[0].state for one in (job_id, again)] == ["failed", "unchanged"]
    assert (await world.platform.doctor.run()).findings == ()


async def test_a_restart_goes_on_with_the_same_job(world: World) -> None:
    job_id = await started(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    before = await told(world, job_id)
    world.platform = (await world.reopen()).platform
    await world.platform.builder.stop()
    assert await told(world, job_id) == before
    await finished(world)
    assert (await told(world, job_id))[0].state == "unchanged"


async def test_what_becomes_of_the_space_later_does_not_change_how_its_build_ended(world: World) -> None:
    job_id = await started(world)
    await finished(world)
    before = await told(world, job_id)
    await given_up(world)
    assert await told(world, job_id) == before


async def test_a_first_space_that_is_dropped_is_no_job(world: World) -> None:
    first = (await world.platform.collections.get("docs")).space_id
    job_id = await started(world)
    await finished(world)
    await world.platform.ingest.wait((await world.platform.reembedding.switch("docs")).id, 60)
    dropped = await world.platform.reembedding.drop("docs", first, force=True)
    assert dropped.build is not None
    assert dropped.build.job_id is None
    with pytest.raises(NotFound):
        await world.platform.jobs.get(dropped.build.id, LOCAL)
    assert [shown.job.id for shown in await listed(world) if shown.job.space_id] == [job_id]
    await world.platform.builder.tend()
    assert (await world.platform.collections.get("docs")).past_builds == ()


async def test_builds_are_listed_among_the_jobs(world: World) -> None:
    ingested = {shown.job.id for shown in await listed(world)}
    first = await started(world)
    await given_up(world)
    ingested.add((await ingest(world, "docs", d="Delta quay.")).id)
    await world.platform.collections.create("other")
    elsewhere = (await ingest(world, "other", a="Alpha.")).id
    here, there = await started(world), await started(world, "other")
    every = sorted((*ingested, first, elsewhere, here, there), reverse=True)  # ids are in order of time
    assert [shown.job.id for shown in await listed(world)] == every
    assert [shown.job.id for shown in await listed(world, "other")] == [there, elsewhere]
    assert {shown.job.id for shown in await listed(world) if shown.progress is not None} == {first, here, there}
    for start in range(0, len(every) + 1, 2):
        page = await listed(world, before=every[start - 1] if start else None, limit=2)
        assert [shown.job.id for shown in page] == every[start : start + 2]
    await world.platform.collections.delete("other")
    assert {shown.job.id for shown in await listed(world)} == {*ingested, first, here}
    with pytest.raises(NotFound):
        await world.platform.jobs.get(there, LOCAL)


async def test_jobs_are_listed_while_a_collection_is_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await started(world)

    async def deleted(name: str) -> None:
        raise NotFound("there is no such collection any more.")

    monkeypatch.setattr(world.platform.adapters.catalog, "head", deleted)
    assert job_id in [shown.job.id for shown in await listed(world)]


async def test_only_who_may_see_the_whole_collection_sees_its_builds(world: World) -> None:
    job_id = await started(world)
    starter = Principal("local", Scope.READ)  # who began it, and was admin then
    assert (await world.platform.jobs.get(job_id, READER)).job.id == job_id
    await world.platform.visibility.change("docs", {"b.txt": ["staff"]})
    for principal in (READER, starter, Principal("nobody")):
        with pytest.raises(NotFound) as refused:
            await world.platform.jobs.get(job_id, principal)
        assert refused.value.message == f"there is no job {job_id!r}."
    assert job_id not in [shown.job.id for shown in await world.platform.jobs.page(None, starter)]
    assert job_id not in [shown.job.id for shown in await world.platform.jobs.page("docs", starter)]
    insider = Principal("insider", Scope.READ, groups=frozenset({"staff"}))
    assert job_id in [shown.job.id for shown in await world.platform.jobs.page("docs", insider)]


async def test_a_watcher_is_told_of_every_change_and_of_the_end(world: World) -> None:
    job_id = await started(world)
    steps: list[JobProgress] = []
    async with asyncio.timeout(60):
        async for step in world.platform.jobs.builds.watch(job_id):
            steps.append(step)
            await world.platform.builder.tend()
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    assert [step.progress.phase for step in steps] == ["queued", "embedding", "embedding", "done"]
    assert [step.progress.documents for step in steps] == [0, 0, 2, 3]


async def test_a_watcher_is_let_go_when_the_process_ends(world: World) -> None:
    job_id = await started(world)
    async with asyncio.timeout(60):
        async for step in world.platform.jobs.builds.watch(job_id):
            assert not step.finished
            world.platform.ingest.end_waits()


async def test_a_collection_remembers_its_last_builds(world: World) -> None:
    gone = []
    for _ in range(PAST + 1):
        gone.append(await started(world))
        await given_up(world)
    assert [build.id for build in (await world.platform.collections.get("docs")).past_builds] == gone[1:]
    with pytest.raises(NotFound):
        await world.platform.jobs.get(gone[0], LOCAL)
    assert (await told(world, gone[1]))[0].state == "failed"


async def test_no_document_is_named_by_a_build_that_is_over(world: World) -> None:
    await started(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    await given_up(world)
    [past] = (await world.platform.collections.get("docs")).past_builds
    assert (past.documents, past.after) == (2, "")


async def test_a_build_that_ended_before_builds_were_jobs_is_no_job_and_stays_readable(tmp_path: Path) -> None:
    world = await fake_world(tmp_path)
    await world.platform.builder.stop()
    await world.platform.collections.create("docs")
    await ingest(world, "docs", a="Alpha ferry.")
    job_id = await started(world)
    await finished(world)
    catalog = world.platform.adapters.catalog
    assert isinstance(catalog, InMemoryCatalog)
    state = catalog._state("docs")
    state.collection = replace(state.collection, builds=tuple(replace(build, ended_at=None) for build in state.collection.builds))
    with pytest.raises(NotFound):
        await world.platform.jobs.get(job_id, LOCAL)
    assert [shown.job.space_id for shown in await listed(world)] == [None]
    own = await status(world)
    assert own.build is not None
    assert (own.state, own.build.id, own.build.job_id) == ("ready", job_id, None)
    await world.end(world.platform)
