"""Jobs that are given up: kept with their bytes, replayed, discarded, over the fakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.domain.errors import Gone, NotFound, Unavailable
from ragstone.domain.jobs import Job
from ragstone.domain.uploads import IngestRequest, Upload
from tests.fakes.job_queue import InMemoryJobQueue
from tests.support.world import World, fake_world


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs")
    return world


def put(path: str, text: str) -> IngestRequest:
    return IngestRequest((Upload(path, text.encode(), "text/plain"),))


async def settled(world: World) -> None:
    """The queue has done what it had to do."""
    queue = world.platform.adapters.queue
    assert isinstance(queue, InMemoryJobQueue)
    await queue.settled()


async def given_up(world: World, monkeypatch: pytest.MonkeyPatch, path: str = "a.txt") -> Job:
    """A job that failed because the index was away all the time."""

    async def down(*_: object, **__: object) -> None:
        raise Unavailable("the index is away.")

    with monkeypatch.context() as patched:
        patched.setattr(world.platform.adapters.index, "flush", down)
        job = await world.platform.ingest.submit("docs", put(path, "One."))
        return await world.platform.ingest.wait(job.id, 20)


async def test_a_job_that_is_given_up_keeps_its_bytes_and_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(world, monkeypatch)
    assert job.state == "failed"
    (dead,) = await world.platform.dead_letters.page("docs")
    assert (dead.job.id, dead.letter.code, dead.letter.error, dead.letter.tries) == (job.id, "unavailable", "the index is away.", 5)
    assert await world.platform.adapters.staging.jobs() == [job.id]
    later = await world.platform.ingest.submit("docs", put("b.txt", "Two."))
    assert (await world.platform.ingest.wait(later.id, 20)).state == "published"


async def test_the_bytes_outlive_a_restart_and_a_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(world, monkeypatch)
    world = await world.reopen()
    await world.platform.recovery.tidy()
    assert await world.platform.adapters.staging.jobs() == [job.id]


async def test_a_replay_is_a_new_job_that_can_be_asked_for_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(world, monkeypatch)
    letter = await world.platform.adapters.dead_letters.get(job.id)
    replayed = await world.platform.dead_letters.replay(job.id)
    assert replayed.id != job.id
    assert (await world.platform.ingest.wait(replayed.id, 20)).state == "published"
    assert await world.platform.dead_letters.page() == []
    await settled(world)
    assert await world.platform.adapters.staging.jobs() == []
    with pytest.raises(NotFound):
        await world.platform.dead_letters.replay(job.id)
    await world.platform.adapters.dead_letters.put(letter)  # a crash before the letter was removed
    for put_back in job.request.changes:
        await world.platform.adapters.staging.put(job.id, b"One.")
        assert put_back.kind == "put"
    assert (await world.platform.dead_letters.replay(job.id)).id == replayed.id
    assert await world.platform.adapters.staging.jobs() == []


async def test_a_discarded_job_stays_failed_and_its_bytes_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(world, monkeypatch)
    await world.platform.dead_letters.discard(job.id)
    assert await world.platform.adapters.staging.jobs() == []
    assert (await world.platform.ingest.job(job.id)).state == "failed"
    with pytest.raises(NotFound):
        await world.platform.dead_letters.get(job.id)


async def test_a_job_whose_bytes_are_lost_can_not_be_replayed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(world, monkeypatch)
    await world.platform.adapters.staging.discard(job.id)
    with pytest.raises(Gone, match="send the documents again"):
        await world.platform.dead_letters.replay(job.id)
    assert await world.platform.adapters.staging.jobs() == []


async def test_a_request_that_was_refused_leaves_no_letter(world: World) -> None:
    bad = IngestRequest((Upload("a.txt", b"\xff\xfe broken", "text/plain"),), strict=False)
    job = await world.platform.ingest.submit("docs", bad)
    assert (await world.platform.ingest.wait(job.id, 20)).state == "failed"
    await settled(world)
    assert await world.platform.dead_letters.page() == []
    assert await world.platform.adapters.staging.jobs() == []


async def test_a_worker_that_never_came_back_is_the_reason(world: World) -> None:
    catalog = world.platform.adapters.catalog
    await world.platform.adapters.queue.stop(0)
    job = await world.platform.ingest.submit("docs", put("a.txt", "One."))
    assert await world.platform.dead_letters.give_up("docs", job.id, 7, None)
    failed = await catalog.job(job.id)
    assert failed.result is not None
    assert (failed.state, failed.result.error_code, failed.result.status) == ("failed", "worker-lost", 503)
    assert (await world.platform.dead_letters.get(job.id)).letter.tries == 7


async def test_giving_up_waits_for_another_worker_s_lease(world: World) -> None:
    catalog = world.platform.adapters.catalog
    await world.platform.adapters.queue.stop(0)
    job = await world.platform.ingest.submit("docs", put("a.txt", "One."))
    await catalog.acquire(job.id, "another", 60.0)
    with pytest.raises(Unavailable):
        await world.platform.dead_letters.give_up("docs", job.id, 7, None)
    assert await world.platform.dead_letters.page() == []


async def test_a_purge_takes_the_bytes_of_dead_letters_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.platform.ingest.submit("docs", put("a.txt", "Zero."))
    await world.platform.ingest.wait(first.id, 20)
    await given_up(world, monkeypatch)
    other = await given_up(world, monkeypatch, "b.txt")
    await world.platform.erasure.purge("docs", "a.txt")
    assert [dead.job.id for dead in await world.platform.dead_letters.page()] == [other.id]
    assert await world.platform.adapters.staging.jobs() == [other.id]


async def test_letters_of_a_deleted_collection_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await given_up(world, monkeypatch)
    await world.platform.collections.delete("docs")
    assert await world.platform.dead_letters.page() == []
    assert await world.platform.adapters.dead_letters.jobs() == frozenset()
