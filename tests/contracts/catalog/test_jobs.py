"""What every catalog promises about jobs."""

from __future__ import annotations

import asyncio

import pytest

from ragstone.domain.bulk import ShardProgress
from ragstone.domain.errors import Conflict, IdempotencyMismatch, LeaseLost, NotFound
from ragstone.domain.jobs import ChangeRequest, Delete, DocumentFailure, Job, Move, Progress, Put, Restore
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import FAILED, SPACE, Clock, job, lease_for, publish, published


async def test_a_job_comes_back_exactly(catalog: Catalog, clock: Clock) -> None:
    changes = (
        Put("a/ü", "text/plain", "f" * 64, 9, {"n": 1, "x": 1.0, "b": True, "tags": ("a", "b"), "none": (), "s": "1"}),
        Delete("b", prefix=True),
        Move("c", "d"),
        Restore("0" * 40),
    )
    request = ChangeRequest(changes, True, "a/", True, "1" * 40, "Ada", "why\nnot", (DocumentFailure("z", "too-large", "no", 413),))
    clock.now = 5.5
    accepted = await catalog.accept(Job("j", "docs", 0, request, "ada", "queued", 0.0))
    assert accepted == Job("j", "docs", 1, request, "ada", "queued", 5.5)
    read = await catalog.job("j")
    assert read == accepted
    put = read.request.changes[0]
    assert isinstance(put, Put)
    assert [type(value) for value in put.metadata.values()] == [int, float, bool, tuple, tuple, str]
    with pytest.raises(NotFound):
        await catalog.job("absent")
    with pytest.raises(Conflict):
        await catalog.accept(Job("j", "docs", 0, request, "ada", "queued", 0.0))


async def test_jobs_are_numbered_within_their_collection(catalog: Catalog) -> None:
    await catalog.create_collection("other", "english", "", SPACE)
    numbers = [(await catalog.accept(job(i, name))).number for i, name in enumerate(["docs", "other", "docs", "docs", "other"])]
    assert numbers == [1, 1, 2, 3, 2]
    assert await catalog.pending("docs") == 3


async def test_an_idempotency_key_gives_the_job_written_then(catalog: Catalog) -> None:
    first = await catalog.accept(job(1), idempotency_key="k", body_digest="x")
    assert await catalog.accept(job(2), idempotency_key="k", body_digest="x") == first
    with pytest.raises(IdempotencyMismatch):
        await catalog.accept(job(3), idempotency_key="k", body_digest="y")
    assert (await catalog.accept(job(4, principal="bob"), idempotency_key="k", body_digest="y")).number == 2
    await catalog.create_collection("other", "english", "", SPACE)
    assert (await catalog.accept(job(5, "other"), idempotency_key="k", body_digest="y")).id == "job-0005"
    assert [each.id for each in await catalog.jobs("docs")] == ["job-0004", "job-0001"]
    lease = await catalog.acquire("job-0001", "h", 30)
    await publish(catalog, lease)
    assert (await catalog.accept(job(6), idempotency_key="k", body_digest="x")).state == "published"


async def test_the_same_key_many_times_at_once_makes_one_job(catalog: Catalog) -> None:
    accepted = await asyncio.gather(*(catalog.accept(job(i), idempotency_key="k", body_digest="x") for i in range(20)))
    assert len({each.id for each in accepted}) == 1
    assert await catalog.pending("docs") == 1


async def test_jobs_are_paged_newest_first(catalog: Catalog) -> None:
    await catalog.create_collection("other", "english", "", SPACE)
    for i in range(7):
        await catalog.accept(job(i, "other" if i == 3 else "docs"))
    first = await catalog.jobs("docs", limit=4)
    second = await catalog.jobs("docs", before=first[-1].id, limit=4)
    assert [each.id for each in first + second] == [f"job-{i:04}" for i in (6, 5, 4, 2, 1, 0)]
    assert [each.id for each in await catalog.jobs(limit=5)] == [f"job-{i:04}" for i in (6, 5, 4, 3, 2)]


async def test_orphans_are_queued_again_oldest_first(catalog: Catalog) -> None:
    await catalog.create_collection("other", "english", "", SPACE)
    await catalog.accept(job(9, "other"))
    await published(catalog, 1)
    late = await lease_for(catalog, 5, "dead")
    await catalog.accept(job(2))
    await catalog.acquire("job-0009", "dead", 30)
    orphans = await catalog.requeue_orphans()
    assert [each.id for each in orphans] == ["job-0009", "job-0005", "job-0002"]
    assert {each.state for each in orphans} == {"queued"}
    with pytest.raises(LeaseLost):
        await publish(catalog, late)
    lease = await catalog.acquire("job-0005", "alive", 30)
    assert (lease.attempt, lease.gaps, lease.head_seq) == (3, frozenset({2}), 1)


async def test_orphans_are_the_jobs_that_nobody_works_on(catalog: Catalog, clock: Clock) -> None:
    assert await catalog.orphans() == []
    await catalog.create_collection("other", "english", "", SPACE)
    for number in (1, 2):
        await catalog.accept(job(number))
    await catalog.accept(job(3, "other"))
    assert [one.id for one in await catalog.orphans()] == ["job-0001", "job-0003"]
    lease = await catalog.acquire("job-0001", "h", 30.0)
    assert [one.id for one in await catalog.orphans()] == ["job-0003"]
    clock.now += 31
    assert [one.id for one in await catalog.orphans()] == ["job-0001", "job-0003"]
    assert (await catalog.renew(lease)).attempt == lease.attempt  # nothing was aborted


async def test_progress_is_told_until_the_job_ends(catalog: Catalog) -> None:
    lease = await lease_for(catalog, 1)
    assert await catalog.progress("job-0001") is None
    await catalog.report("job-0001", Progress("parsing", documents=1, documents_total=3))
    told = Progress(
        "embedding", 3, 3, chunks=4, chunks_total=9, embedded=4, rate=2.5, seconds_left=2.0, shards=(ShardProgress(0, 3, 4, 2.5, None),)
    )
    await catalog.report("job-0001", told)
    assert await catalog.progress("job-0001") == told
    await catalog.fail(lease, FAILED)
    assert await catalog.progress("job-0001") is None
    await catalog.report("job-9999", told)
    assert await catalog.progress("job-9999") is None
