"""Bulk work: shards embed what a job or the build of a space needs, and whoever writes takes what they have staged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import numpy as np
import pytest

from ragstone.domain.access import LOCAL
from ragstone.domain.bulk import PartVectors
from ragstone.domain.documents import checksum
from ragstone.domain.errors import InternalError, InvalidInput, Unavailable
from ragstone.domain.jobs import Job
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import space_filler
from ragstone.use_cases.bulk import BulkEmbedding, BulkSettings
from ragstone.use_cases.bulk_shard import work_shard
from ragstone.use_cases.platform import Platform
from tests.fakes.bulk import InMemoryBulkStage, TaskRunner
from tests.fakes.catalog import InMemoryCatalog
from tests.fakes.platform import fake_platform
from tests.fakes.staging import InMemoryStaging
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore
from tests.support.world import RecordingEmbeddingModel

SETTINGS = BulkSettings(shards=3, least=5, window=10, part=2)


class Bench:
    """Stores that outlive their platforms, the models of the platform and those of the shards."""

    def __init__(self) -> None:
        self.own, self.other = RecordingEmbeddingModel(), RecordingEmbeddingModel(24, revision="2")
        self.shards = {1: RecordingEmbeddingModel(), 2: RecordingEmbeddingModel(24, revision="2")}
        self.stage = InMemoryBulkStage()
        self.catalog, self.versions = InMemoryCatalog(), InMemoryVersionStore()
        self.index, self.staging = InMemoryVectorIndex(), InMemoryStaging()
        self.worked: list[int] = []

    async def work(self, run_id: str, shard: int) -> None:
        self.worked.append(shard)
        model = (await self.stage.run(run_id)).model
        await work_shard(self.stage, run_id, shard, next(known for known in self.shards.values() if known.identity == model))

    def platform(self, runner: TaskRunner | None = None, holder: str = "test", shared: bool = False) -> Platform:
        return fake_platform(
            catalog=self.catalog,
            versions=self.versions,
            index=self.index,
            staging=self.staging,
            embedder=self.own,
            further=(self.other,),
            bulk_stage=self.stage,
            bulk_runner=runner or TaskRunner(self.work),
            bulk=SETTINGS,
            holder=holder,
            shared=shared,
        )

    @asynccontextmanager
    async def running(self, runner: TaskRunner | None = None) -> AsyncIterator[Platform]:
        platform = self.platform(runner)
        await platform.start()
        await platform.builder.stop()  # each test takes the steps itself
        try:
            yield platform
        finally:
            await platform.drain(0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(space_filler, "_DOCUMENTS", 4)
    return Bench()


def texts(count: int, first: int = 0) -> dict[str, str]:
    return {f"{number:03}.txt": f"Page {number} is about ferry number {number}." for number in range(first, first + count)}


async def submitted(platform: Platform, documents: dict[str, str]) -> Job:
    return await platform.ingest.submit(
        "docs", IngestRequest(tuple(Upload(path, text.encode(), "text/plain") for path, text in documents.items()))
    )


async def ingested(platform: Platform, documents: dict[str, str]) -> Job:
    job = await platform.ingest.wait((await submitted(platform, documents)).id, 60)
    assert job.state == "published", job
    async with asyncio.timeout(60):
        while (await platform.ingest.progress(job)).phase != "done":  # noqa: ASYNC110 - whoever worked on it cleans up after that
            await asyncio.sleep(0.01)
    return job


async def stored(platform: Platform) -> list[str]:
    """The texts of the head, of its space."""
    collection, snapshot = await platform.snapshots.resolve("docs", None)
    paths = [info.path for info in (await platform.documents.page("docs", limit=1000))[1]]
    chunks = await platform.adapters.index.visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, paths)
    return [chunk.text for chunk in chunks]


async def test_a_big_job_is_embedded_by_the_shards_alone_and_published_once(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        job = await ingested(platform, texts(20))
        assert job.result is not None
        assert (job.result.position, job.result.stats.chunks, job.result.stats.chunks_embedded) == (1, 20, 20)
        assert await stored(platform) == list(texts(20).values())
        assert bench.own.passages == []
        assert len(bench.shards[1].passages) == len(set(bench.shards[1].passages)) == 20
        assert set(bench.worked) == {0, 1, 2}
        progress = await platform.ingest.progress(job)
        assert [(shard.shard, shard.done == shard.total) for shard in progress.shards] == [(0, True), (1, True), (2, True)]
        assert sum(shard.total for shard in progress.shards) == 20
        assert await bench.stage.runs() == []


async def test_what_shards_embed_is_found_as_what_the_writer_embeds(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(20))
        bulk = (await platform.collections.get("docs")).indexes[0]
        mine = fake_platform(embedder=RecordingEmbeddingModel())
        await mine.start()
        await mine.collections.create("docs")
        await ingested(mine, texts(20))
        alone = (await mine.collections.get("docs")).indexes[0]
        hashes = [chunk.content_hash for chunk in await bench.index.visible(bulk, 10, (), texts(20))]
        ours, theirs = await bench.index.vectors(bulk, hashes), await mine.adapters.index.vectors(alone, hashes)
        assert len(ours) == 20
        assert {hashed: vector.tolist() for hashed, vector in ours.items()} == {
            hashed: vector.tolist() for hashed, vector in theirs.items()
        }
        await mine.drain(0)


async def test_vectors_are_fetched_once_and_while_shards_are_still_at_work(bench: Bench) -> None:
    fetched, come = Counter[str](), asyncio.Event()
    vectors = bench.stage.vectors

    async def counted(run_id: str, without: Collection[str] = ()) -> list[PartVectors]:
        found = await vectors(run_id, without)
        fetched.update(part.id for part in found)
        if fetched:
            come.set()
        return found

    async def work(run_id: str, shard: int) -> None:
        if shard == 2:
            await asyncio.wait_for(come.wait(), 60)
        await bench.work(run_id, shard)

    bench.stage.vectors = counted  # type: ignore[method-assign]
    bulk = BulkEmbedding(bench.stage, TaskRunner(work), SETTINGS, look=0.01)
    found = await bulk.embed("job", space(bench), documents(20), nothing)
    assert found.keys() == {hashed for _, own in documents(20) for hashed in own}
    assert set(fetched.values()) == {1}
    assert len(fetched) >= 10


async def test_staged_vectors_that_cannot_be_right_are_an_error(bench: Bench) -> None:
    async def work(run_id: str, shard: int) -> None:
        for part_id in await bench.stage.waiting(run_id, shard):
            part = await bench.stage.part(run_id, shard, part_id)
            await bench.stage.put(run_id, part, np.full((len(part.texts), 32), np.nan, np.float32))

    bulk = BulkEmbedding(bench.stage, TaskRunner(work), SETTINGS, look=0.01)
    with pytest.raises(InternalError, match="NaN"):
        await bulk.embed("job", space(bench), documents(20), nothing)


def space(bench: Bench) -> EmbeddingSpace:
    return EmbeddingSpace(bench.own.identity, (), ChunkerSettings(), Bm25Settings())


def documents(count: int) -> list[tuple[str, dict[str, str]]]:
    """As bulk work takes them: each a text by its hash."""
    return [(path, {checksum(text.encode()): text}) for path, text in texts(count).items()]


async def nothing(_: object) -> None:
    pass


async def test_a_small_job_starts_no_shard(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(4))
        assert (bench.worked, len(bench.own.passages)) == ([], 4)
        await ingested(platform, texts(6))  # of which four are known
        assert (bench.worked, len(bench.own.passages)) == ([], 6)


async def test_a_shard_that_dies_loses_what_it_was_at_and_nothing_else(bench: Bench) -> None:
    deaths = Counter[int]()
    put = bench.stage.put

    async def dies(run_id: str, part: object, vectors: object) -> None:
        if deaths[part.shard] < 2:  # type: ignore[attr-defined]
            deaths[part.shard] += 1  # type: ignore[attr-defined]
            raise Unavailable("killed")
        await put(run_id, part, vectors)  # type: ignore[arg-type]

    bench.stage.put = dies  # type: ignore[method-assign]
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(20))
    again = Counter(bench.shards[1].passages)
    assert len(again) == 20
    assert sum(again.values()) - 20 <= sum(deaths.values()) * SETTINGS.part
    assert bench.own.passages == []


async def test_shards_that_fail_for_good_hand_the_job_back_and_the_next_try_goes_on(bench: Bench) -> None:
    fails = True

    async def work(run_id: str, shard: int) -> None:
        if fails and shard == 1:
            raise Unavailable("no memory")
        await bench.work(run_id, shard)

    platform = bench.platform(TaskRunner(work, retries=1))
    await platform.collections.create("docs")
    job = await submitted(platform, texts(20))
    with pytest.raises(Unavailable, match="Shard 1 failed 2 times"):
        await platform.write_path.run("docs", job.id)
    assert (await platform.adapters.catalog.job(job.id)).state == "queued"
    assert await platform.adapters.catalog.head("docs") is None
    fails = False
    await platform.write_path.run("docs", job.id)
    assert (await platform.adapters.catalog.job(job.id)).state == "published"
    assert (bench.own.passages, len(bench.shards[1].passages)) == ([], len(set(bench.shards[1].passages)))
    assert await bench.stage.runs() == []


async def test_another_process_takes_up_what_one_that_was_killed_has_staged(bench: Bench) -> None:
    put, done = bench.stage.put, asyncio.Event()
    hang = asyncio.Event()

    async def some(run_id: str, part: object, vectors: object) -> None:
        await put(run_id, part, vectors)  # type: ignore[arg-type]
        if len(await bench.stage.vectors(run_id)) >= 4:  # parts of two
            done.set()
            await hang.wait()

    bench.stage.put = some  # type: ignore[method-assign]
    first = bench.platform(holder="first")
    await first.collections.create("docs")
    job = await submitted(first, texts(20))
    working = asyncio.create_task(first.write_path.run("docs", job.id))
    await done.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    bench.stage.put = put  # type: ignore[method-assign]
    second = bench.platform(holder="second")
    await second.write_path.run("docs", job.id)
    assert (await second.adapters.catalog.job(job.id)).state == "published"
    again = Counter(bench.shards[1].passages)
    assert len(again) == 20
    assert sum(again.values()) - 20 <= 3 * SETTINGS.part


async def test_two_processes_with_the_same_job_embed_once_and_publish_once(bench: Bench) -> None:
    slow = asyncio.Event()

    async def work(run_id: str, shard: int) -> None:
        await slow.wait()
        await bench.work(run_id, shard)

    one, two = bench.platform(TaskRunner(work), "one", shared=True), bench.platform(TaskRunner(work), "two", shared=True)
    await one.collections.create("docs")
    job = await submitted(one, texts(20))
    both = asyncio.gather(one.write_path.run("docs", job.id), two.write_path.run("docs", job.id))
    await asyncio.sleep(0.05)
    slow.set()
    await both
    assert len(await bench.catalog.commits("docs")) == 1
    assert len(bench.shards[1].passages) == 20
    assert bench.own.passages == []


async def test_a_space_is_filled_by_shards_window_by_window(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(50))
        bench.worked.clear()
        status = await platform.reembedding.start("docs", model=bench.other.identity.digest, workers=2)
        while await platform.builder.tend():
            pass
        assert set(bench.worked) == {0, 1}
        assert len(bench.worked) == 2 * 4  # windows of 12: batches of 4 documents, until there are 10 chunks
        assert len(bench.shards[2].passages) == len(set(bench.shards[2].passages)) == 48
        assert len(bench.other.passages) == 2  # too few for shards
        build = (await platform.collections.get("docs")).build(status.space.id)
        assert build is not None
        assert (build.state, build.chunks, build.embedded, build.shards) == ("ready", 50, 50, 2)
        assert await bench.stage.runs() == []
        job = await platform.ingest.wait((await platform.reembedding.switch("docs")).id, 60)
        assert job.state == "published"
        assert await stored(platform) == list(texts(50).values())


async def test_another_process_tells_how_far_the_shards_of_a_build_are(bench: Bench) -> None:
    at_work, seen = asyncio.Event(), asyncio.Event()

    async def held(run_id: str, shard: int) -> None:
        at_work.set()
        await seen.wait()
        await bench.work(run_id, shard)

    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(20))
    async with bench.running(TaskRunner(held)) as platform:
        status = await platform.reembedding.start("docs", model=bench.other.identity.digest, workers=2)
        assert status.build is not None
        assert status.build.job_id is not None
        await platform.builder.tend()  # the index
        filling = asyncio.create_task(platform.builder.tend())
        async with asyncio.timeout(60):
            await at_work.wait()
        replica = bench.platform(holder="other", shared=True)  # it starts nothing
        shown = await replica.jobs.get(status.build.job_id, LOCAL)
        assert shown.progress is not None
        assert (shown.job.state, shown.progress.phase) == ("running", "embedding")
        assert [(shard.shard, shard.done) for shard in shown.progress.shards] == [(0, 0), (1, 0)]
        assert sum(shard.total for shard in shown.progress.shards) == 12  # a window
        seen.set()
        assert await filling
        while await platform.builder.tend():
            pass
        assert (await replica.jobs.get(status.build.job_id, LOCAL)).job.state == "unchanged"


async def test_whoever_takes_over_a_fill_embeds_nothing_that_is_staged(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(50))
        await platform.reembedding.start("docs", model=bench.other.identity.digest)
        for _ in range(2):  # the index, and the first batch of the first window
            await platform.builder.tend()
    assert len(await bench.stage.runs()) == 1
    async with bench.running() as again:
        status = (await again.reembedding.status("docs"))[1]
        assert sum(shard.done for shard in status.shards) == sum(shard.total for shard in status.shards) > 0
        while await again.builder.tend():
            pass
        assert (await again.reembedding.status("docs"))[1].state == "ready"
    embedded = [*bench.shards[2].passages, *bench.other.passages]
    assert len(embedded) == len(set(embedded)) == 50


async def test_documents_that_change_while_shards_embed_are_in_the_space_as_they_are_then(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(30))
        await platform.reembedding.start("docs", model=bench.other.identity.digest)
        await platform.builder.tend()
        work = platform.adapters.bulk_runner
        assert isinstance(work, TaskRunner)
        inner, changed = work._work, False

        async def meanwhile(run_id: str, shard: int) -> None:
            nonlocal changed
            await inner(run_id, shard)
            if not changed:
                changed = True
                await ingested(platform, {"003.txt": "Page 3 is about a lighthouse.", "zz.txt": "A page that came late."})

        work._work = meanwhile
        while await platform.builder.tend():
            pass
        await platform.ingest.wait((await platform.reembedding.switch("docs")).id, 60)
        expected = {**texts(30), "003.txt": "Page 3 is about a lighthouse.", "zz.txt": "A page that came late."}
        assert await stored(platform) == list(expected.values())


async def test_a_purge_takes_texts_from_the_stage_too_and_the_window_begins_anew(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(30))
        await platform.reembedding.start("docs", model=bench.other.identity.digest)
        await platform.builder.tend()
        runner = platform.adapters.bulk_runner
        assert isinstance(runner, TaskRunner)
        inner, purged = runner._work, asyncio.Event()

        async def slow(run_id: str, shard: int) -> None:
            await purged.wait()
            await inner(run_id, shard)

        runner._work = slow
        filling = asyncio.create_task(platform.builder.tend())
        async with asyncio.timeout(60):
            while not await bench.stage.runs():  # noqa: ASYNC110 - it tells nothing
                await asyncio.sleep(0.01)
        await platform.erasure.purge("docs", "003.txt")
        assert await bench.stage.runs() == []
        purged.set()
        await filling
        while await platform.builder.tend():
            pass
        assert not any("ferry number 3." in text for text in bench.shards[2].passages)
        await platform.ingest.wait((await platform.reembedding.switch("docs")).id, 60)
        assert await stored(platform) == [text for path, text in texts(30).items() if path != "003.txt"]


async def test_what_is_staged_for_what_is_over_is_deleted(bench: Bench) -> None:
    async with bench.running() as platform:
        await platform.collections.create("docs")
        await ingested(platform, texts(30))
        await platform.reembedding.start("docs", model=bench.other.identity.digest)
        for _ in range(2):
            await platform.builder.tend()
        assert len(await bench.stage.runs()) == 1
        await platform.recovery.tidy()
        assert len(await bench.stage.runs()) == 1
        await platform.reembedding.abort("docs")
        await platform.recovery.tidy()
        assert await bench.stage.runs() == []


async def test_a_number_of_workers_needs_a_runner(bench: Bench) -> None:
    platform = fake_platform(further=(bench.other,))
    await platform.start()
    await platform.collections.create("docs")
    await ingested(platform, texts(3))
    with pytest.raises(InvalidInput, match="no runner of bulk work"):
        await platform.reembedding.start("docs", model=bench.other.identity.digest, workers=2)
    assert (await platform.collections.get("docs")).builds == ()
    await platform.drain(0)
