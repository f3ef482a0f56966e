"""The write path over the fakes: what it publishes, what it refuses, and what it leaves behind when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragstone.domain.documents import ExtractedText
from ragstone.domain.errors import InternalError, LeaseLost, NotFound, StorageFull, Unavailable
from ragstone.domain.jobs import Delete, Job, JobResult, Move
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.ingest import Refused
from ragstone.use_cases.query import Question
from tests.support.world import World, fake_world

A = Upload("a.txt", b"The ferry leaves at nine.", "text/plain")
B = Upload("b.txt", b"The lamp is lit at dusk.", "text/plain")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs")
    return world


async def run(world: World, request: IngestRequest) -> Job:
    job = await world.platform.ingest.submit("docs", request)
    return await world.platform.ingest.wait(job.id, 20)


def result(job: Job) -> JobResult:
    assert job.result is not None
    return job.result


async def test_a_published_chunk_carries_its_commit_and_checksum(world: World) -> None:
    job = await run(world, IngestRequest((A,)))
    _, chunks = await world.platform.documents.chunks("docs", "a.txt")
    _, document = await world.platform.documents.get("docs", "a.txt")
    assert [chunk.commit_id for chunk in chunks] == [result(job).commit_id]
    assert [chunk.checksum for chunk in chunks] == [document.info.checksum]


async def test_unchanged_content_makes_no_commit(world: World) -> None:
    first = await run(world, IngestRequest((A, B)))
    again = await run(world, IngestRequest((B, A)))
    assert (again.state, result(again).commit_id) == ("unchanged", result(first).commit_id)
    assert len(await world.platform.history.log("docs")) == 1


async def test_one_bad_document_does_not_stop_the_others(world: World) -> None:
    job = await run(world, IngestRequest((A, Upload("../x", b"x"), Upload("empty.txt", b""), Upload("bad.txt", b"\xff\xfe", "text/plain"))))
    assert job.state == "published"
    assert sorted(failure.path for failure in result(job).failures) == ["../x", "bad.txt", "empty.txt"]
    assert result(job).stats.documents == 1


async def test_a_bad_record_of_json_lines_does_not_stop_the_others(world: World) -> None:
    lines = b'{"_id": "1", "text": "One."}\n{"_id": "2", "text": "Two.", "bad key": 1}\nnot json\n{"_id": "4", "text": "Four."}\n'
    job = await run(world, IngestRequest((Upload("papers.jsonl", lines),)))
    _, page = await world.platform.documents.page("docs")
    assert [info.path for info in page] == ["papers/1", "papers/4"]
    assert [failure.path for failure in result(job).failures] == ["papers.jsonl:3", "papers/2"]


async def test_strict_publishes_nothing_when_one_document_is_bad(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await run(world, IngestRequest((A, Upload("empty.txt", b"")), strict=True))
    assert refused.value.field == "empty.txt"
    job = await run(world, IngestRequest((A, Upload("bad.txt", b"\xff\xfe", "text/plain")), strict=True))
    assert (job.state, result(job).status) == ("failed", 422)
    assert await world.platform.adapters.catalog.head("docs") is None
    assert await world.platform.adapters.staging.jobs() == []


async def test_a_job_whose_every_change_fails_fails_with_the_first_reason(world: World) -> None:
    job = await run(world, IngestRequest(deletes=(Delete("no.txt"),)))
    assert (job.state, result(job).status, result(job).error_code) == ("failed", 404, "not-found")


async def test_mirror_removes_what_is_not_named_but_not_what_could_not_be_read(world: World) -> None:
    await run(world, IngestRequest((A, B, Upload("c.txt", b"Third.", "text/plain"))))
    await run(world, IngestRequest((A, Upload("b.txt", b"\xff\xfe", "text/plain")), mirror=True))
    _, page = await world.platform.documents.page("docs")
    assert [info.path for info in page] == ["a.txt", "b.txt"]


async def test_mirror_prefix_touches_nothing_else(world: World) -> None:
    await run(world, IngestRequest((A, Upload("x/1.txt", b"One.", "text/plain"), Upload("x/2.txt", b"Two.", "text/plain"))))
    await run(world, IngestRequest((Upload("x/2.txt", b"Two.", "text/plain"),), mirror=True, mirror_prefix="x/"))
    _, page = await world.platform.documents.page("docs")
    assert [info.path for info in page] == ["a.txt", "x/2.txt"]


async def test_a_plan_tells_what_the_ingest_then_does(world: World) -> None:
    await run(world, IngestRequest((A, B)))
    request = IngestRequest(
        (Upload("a.txt", b"The ferry leaves at ten.", "text/plain"), Upload("c.txt", B.content, "text/plain")), mirror=True
    )
    plan = await world.platform.ingest.plan("docs", request)
    assert (plan.added, plan.changed, plan.removed) == (("c.txt",), ("a.txt",), ("b.txt",))
    assert len(await world.platform.history.log("docs")) == 1
    stats = result(await run(world, request)).stats
    assert (plan.chunks_added, plan.chunks_removed, plan.chunks_to_embed) == (
        stats.chunks_added,
        stats.chunks_removed,
        stats.chunks_embedded,
    )
    assert plan.chunks_to_embed == 1  # the text of b.txt was embedded before


async def test_a_chunk_that_only_moved_keeps_its_vector(world: World) -> None:
    await run(world, IngestRequest((Upload("a.txt", b"First part.\n\nSecond part.", "text/plain"),)))
    embedded = world.embedder.embedded_texts
    job = await run(world, IngestRequest(moves=(Move("a.txt", "b.txt"),)))
    assert (result(job).stats.chunks_embedded, world.embedder.embedded_texts) == (0, embedded)


async def test_the_same_idempotency_key_gives_the_same_job(world: World) -> None:
    ingest = world.platform.ingest
    first = await ingest.submit("docs", IngestRequest((A,)), idempotency_key="k")
    await ingest.wait(first.id, 20)
    again = await ingest.submit("docs", IngestRequest((A,)), idempotency_key="k")
    assert again.id == first.id
    assert len(await world.platform.history.log("docs")) == 1
    assert await world.platform.adapters.staging.jobs() == []


@pytest.mark.parametrize("bad", [np.full((1, 32), np.nan, np.float32), np.zeros((1, 31), np.float32), np.zeros((2, 32), np.float32)])
async def test_bad_vectors_publish_nothing(world: World, bad: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def embed(texts: object) -> Vectors:
        return bad

    monkeypatch.setattr(world.embedder, "embed_passages", embed)
    job = await run(world, IngestRequest((A,)))
    assert (job.state, result(job).error_code, result(job).status) == ("failed", "internal-error", 500)
    assert await world.platform.adapters.catalog.head("docs") is None


@pytest.mark.parametrize("error", [StorageFull("no space"), InternalError("broken")])
async def test_a_failed_write_leaves_nothing_that_a_later_commit_shows(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = world.platform.adapters.index
    insert = index.insert

    async def half(name: str, points: object) -> None:
        await insert(name, points)  # type: ignore[arg-type]
        raise error

    monkeypatch.setattr(index, "insert", half)
    failed = await run(world, IngestRequest((A,)))
    monkeypatch.undo()
    assert failed.state == "failed"
    await run(world, IngestRequest((B,)))
    collection, snapshot = await world.platform.snapshots.resolve("docs")
    name = collection.index_name(snapshot.space_id)
    assert await index.count_visible(name, snapshot.seq, snapshot.gaps) == 1
    assert await index.opened(name, 1) == 0  # erased
    assert await world.platform.adapters.catalog.aborted("docs") == []


async def test_a_passing_failure_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    index = world.platform.adapters.index
    close, calls = index.flush, []

    async def flaky(name: str) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise Unavailable("not now")
        await close(name)

    monkeypatch.setattr(index, "flush", flaky)
    job = await run(world, IngestRequest((A,)))
    assert (job.state, result(job).stats.documents) == ("published", 1)
    assert world.embedder.embedded_texts == 1  # the first try's vector was reused


async def test_an_unknown_outcome_of_publishing_is_looked_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = world.platform.adapters.catalog
    publish = catalog.publish

    async def reply_lost(*arguments: object) -> object:
        await publish(*arguments)  # type: ignore[arg-type]
        raise Unavailable("reply lost")

    monkeypatch.setattr(catalog, "publish", reply_lost)
    job = await run(world, IngestRequest((A,)))
    assert job.state == "published"
    assert len(await world.platform.history.log("docs")) == 1


async def test_a_lost_lease_publishes_nothing_and_the_job_runs_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = world.platform.adapters.catalog
    publish, calls = catalog.publish, []

    async def overtaken(lease: object, *rest: object) -> object:
        calls.append(lease)
        if len(calls) == 1:
            await catalog.abort(lease)  # type: ignore[arg-type]
            raise LeaseLost("overtaken")
        return await publish(lease, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog, "publish", overtaken)
    job = await run(world, IngestRequest((A,)))
    assert (job.state, len(calls)) == ("published", 2)
    assert len(await world.platform.history.log("docs")) == 1


async def test_two_writers_at_once_lose_nothing(world: World) -> None:
    ingest = world.platform.ingest
    uploads = [Upload(f"{n}.txt", f"Text number {n}.".encode(), "text/plain") for n in range(12)]
    jobs = await asyncio.gather(*(ingest.submit("docs", IngestRequest((upload,))) for upload in uploads))
    for job in jobs:
        assert (await ingest.wait(job.id, 20)).state == "published"
    _, page = await world.platform.documents.page("docs")
    assert len(page) == 12
    assert [commit.position for commit in await world.platform.history.log("docs")] == list(range(12, 0, -1))


async def test_limits(world: World) -> None:
    with pytest.raises(Refused, match=r"big\.txt") as refused:
        await run(world, IngestRequest((Upload("big.txt", b"x" * (50 * 2**20 + 1), "text/plain"),)))
    assert refused.value.status == 413
    with pytest.raises(NotFound):
        await world.platform.ingest.submit("nothing", IngestRequest((A,)))


@pytest.fixture
def accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the jobs accepted from now on. None is delivered: the test hands them to the worker with `deliver`."""
    ids: list[str] = []

    async def enqueue(collection: str, job_id: str) -> None:
        ids.append(job_id)

    monkeypatch.setattr(world.platform.adapters.queue, "enqueue", enqueue)
    return ids


async def deliver(world: World, *job_ids: str) -> None:
    for job_id in job_ids:
        await world.platform.write_path.run("docs", job_id)


async def outcomes(world: World, job_ids: list[str]) -> list[tuple[str, int | None]]:
    """State and position of each job."""
    jobs = [await world.platform.adapters.catalog.job(job_id) for job_id in job_ids]
    return [(job.state, job.result.position if job.result else None) for job in jobs]


async def texts(world: World) -> dict[str, str]:
    _, page = await world.platform.documents.page("docs")
    return {info.path: (await world.platform.documents.get("docs", info.path))[1].extracted.text for info in page}


def put(path: str, text: str) -> IngestRequest:
    return IngestRequest((Upload(path, text.encode(), "text/plain"),))


async def test_jobs_delivered_out_of_order_end_in_the_order_accepted(world: World, accepted: list[str]) -> None:
    ingest = world.platform.ingest
    await ingest.submit("docs", put("a.txt", "Old."))
    await ingest.submit("docs", put("a.txt", "New."))
    await ingest.submit("docs", put("a.txt", "Newest."))
    first, second, third = accepted
    await deliver(world, second)
    assert await outcomes(world, accepted) == [("published", 1), ("published", 2), ("queued", None)]
    assert await world.platform.adapters.staging.jobs() == [third]
    assert [(await ingest.progress(await ingest.job(job_id))).phase for job_id in accepted] == ["done", "done", "queued"]
    await deliver(world, first, second)
    assert (await outcomes(world, accepted))[2] == ("queued", None)
    assert await texts(world) == {"a.txt": "New."}
    await deliver(world, third)
    assert await texts(world) == {"a.txt": "Newest."}


async def test_an_older_put_never_lands_over_a_newer_one_that_would_change_nothing(world: World, accepted: list[str]) -> None:
    for text in ("One.", "Two.", "One."):
        await world.platform.ingest.submit("docs", put("a.txt", text))
    await deliver(world, accepted[0], accepted[2], accepted[1])
    assert await texts(world) == {"a.txt": "One."}
    assert await outcomes(world, accepted) == [("published", 1), ("published", 2), ("published", 3)]


async def test_a_rollback_delivered_early_waits_for_what_is_older(world: World, accepted: list[str]) -> None:
    ingest = world.platform.ingest
    await ingest.submit("docs", put("a.txt", "One."))
    await deliver(world, *accepted)
    await ingest.submit("docs", put("b.txt", "Two."))
    await world.platform.history.rollback("docs", "#1")
    await deliver(world, accepted[2], accepted[1])
    assert await outcomes(world, accepted) == [("published", 1), ("published", 2), ("published", 3)]
    assert await texts(world) == {"a.txt": "One."}


async def test_a_move_delivered_early_moves_what_an_older_job_put(world: World, accepted: list[str]) -> None:
    ingest = world.platform.ingest
    await ingest.submit("docs", put("a.txt", "One."))
    await ingest.submit("docs", IngestRequest(moves=(Move("a.txt", "b.txt"),)))
    await ingest.submit("docs", put("a.txt", "Two."))
    await deliver(world, accepted[1], accepted[2], accepted[0])
    assert await outcomes(world, accepted) == [("published", 1), ("published", 2), ("published", 3)]
    assert await texts(world) == {"a.txt": "Two.", "b.txt": "One."}


async def test_a_job_waits_for_an_older_one_that_is_tried_again(world: World, accepted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    await world.platform.ingest.submit("docs", put("a.txt", "One."))
    await world.platform.ingest.submit("docs", put("a.txt", "Two."))

    async def down(name: str) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(world.platform.adapters.index, "flush", down)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await deliver(world, accepted[1])
        assert await outcomes(world, accepted) == [("queued", None), ("queued", None)]
    ended = await world.platform.dead_letters.give_up("docs", accepted[1], 5, Unavailable("not now"))
    assert not ended, "the older one is given up, the newer one begins anew"
    assert await outcomes(world, accepted) == [("failed", None), ("queued", None)]
    monkeypatch.undo()
    await deliver(world, accepted[1])
    assert await outcomes(world, accepted) == [("failed", None), ("published", 1)]


async def test_a_job_that_ends_elsewhere_meanwhile_is_done(world: World, accepted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = world.platform.adapters.catalog
    await world.platform.ingest.submit("docs", put("a.txt", "One."))
    acquire = catalog.acquire

    async def late(job_id: str, holder: str, ttl: float) -> object:
        await catalog.finish_unchanged(await acquire(job_id, "another", ttl), JobResult("unchanged", None, None, None))
        return await acquire(job_id, holder, ttl)

    monkeypatch.setattr(catalog, "acquire", late)
    await deliver(world, *accepted)
    assert await outcomes(world, accepted) == [("unchanged", None)]
    assert await world.platform.adapters.staging.jobs() == []


async def test_a_question_is_refused_when_another_model_is_loaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(world, IngestRequest((A,)))
    other = replace(world.embedder.identity, digest="0" * 64)  # of the same dimension: nothing else would notice
    monkeypatch.setattr(world.embedder, "_identity", other)
    with pytest.raises(Unavailable, match="digest"):
        await world.platform.query.search(Question("docs", "When does the ferry leave?"))
    job = await run(world, IngestRequest((B,)))
    assert (job.state, result(job).status) == ("failed", 503)


async def test_a_job_whose_queueing_fails_is_accepted_and_swept_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(collection: str, job_id: str) -> None:
        raise Unavailable("no broker")

    monkeypatch.setattr(world.platform.adapters.queue, "enqueue", down)
    job = await world.platform.ingest.submit("docs", IngestRequest((A,)))
    monkeypatch.undo()
    assert job.state == "queued"
    await world.platform.sweeper.sweep()
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_unknown_outcome_of_accepting_is_looked_up(world: World, monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    accept = world.platform.adapters.catalog.accept

    async def lost(job: Job, *, idempotency_key: str | None = None, body_digest: str = "") -> Job:
        await accept(job, idempotency_key=idempotency_key, body_digest=body_digest)
        raise Unavailable("no reply")

    monkeypatch.setattr(world.platform.adapters.catalog, "accept", lost)
    job = await world.platform.ingest.submit("docs", IngestRequest((A,)), idempotency_key=key)
    monkeypatch.undo()
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def test_bytes_of_a_job_that_was_not_accepted_are_discarded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(job: Job, *, idempotency_key: str | None = None, body_digest: str = "") -> Job:
        raise Unavailable("no catalog")

    monkeypatch.setattr(world.platform.adapters.catalog, "accept", down)
    with pytest.raises(Unavailable):
        await world.platform.ingest.submit("docs", IngestRequest((A,)))
    assert await world.platform.adapters.staging.jobs() == []


async def test_no_bytes_come_after_those_of_a_failed_request_were_discarded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = world.platform.adapters.staging
    put, refused = staging.put, asyncio.Event()

    async def slow(job: str, content: bytes) -> str:
        if content == A.content:
            refused.set()
            raise StorageFull("no space.")
        await refused.wait()
        return await put(job, content)

    monkeypatch.setattr(staging, "put", slow)
    with pytest.raises(StorageFull):
        await world.platform.ingest.submit("docs", IngestRequest((A, B)))
    assert await staging.jobs() == []


async def test_an_unexpected_error_while_parsing_fails_the_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(path: str, media_type: str, content: bytes) -> ExtractedText:
        raise ZeroDivisionError

    monkeypatch.setattr(world.platform.adapters.parser, "parse", broken)
    job = await run(world, IngestRequest((A,)))
    assert (job.state, result(job).error_code) == ("failed", "internal-error")
    monkeypatch.undo()
    assert (await run(world, IngestRequest((A,)))).state == "published"


async def test_half_a_collection_is_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(index: str, space: EmbeddingSpace) -> None:
        raise Unavailable("no index")

    monkeypatch.setattr(world.platform.adapters.index, "create", down)
    with pytest.raises(Unavailable):
        await world.platform.collections.create("more")
    monkeypatch.undo()
    (docs,) = await world.platform.collections.all()
    assert await world.platform.adapters.versions.repositories() == [docs.uid]
    await world.platform.collections.create("more")
