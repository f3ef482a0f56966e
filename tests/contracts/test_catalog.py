"""What every catalog promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.domain.builds import Build
from ragstone.domain.bulk import ShardProgress
from ragstone.domain.collections import Lease
from ragstone.domain.commits import Commit, CommitStats
from ragstone.domain.errors import Busy, Conflict, Gone, IdempotencyMismatch, InternalError, InvalidInput, LeaseLost, NotFound, Unavailable
from ragstone.domain.jobs import ChangeRequest, Delete, DocumentFailure, Job, JobResult, Move, Progress, Put, Restore
from ragstone.domain.retention import Keep, Purge
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity
from ragstone.ports.catalog import Catalog
from tests.fakes.catalog import InMemoryCatalog
from tests.servers import mongo

SPACE = EmbeddingSpace(ModelIdentity("model", "r1", "d" * 64, 3, "mean", 256), ("text/1",), ChunkerSettings(), Bm25Settings())
THIRD_SPACE = replace(SPACE, model=replace(SPACE.model, revision="r3"))
OTHER_SPACE = replace(SPACE, model=replace(SPACE.model, revision="r2"))
BUILD = Build("build-1", OTHER_SPACE, "ada", "preparing")
UNCHANGED = JobResult("unchanged", None, None, None)
FAILED = JobResult(
    "failed", None, None, None, failures=(DocumentFailure("a", "too-large", "no", 413),), error_code="x", error="y", status=422
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "memory", pytest.param("mongo", marks=pytest.mark.packaged)])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Catalog]:
    async with AsyncExitStack() as stack:
        adapter: Catalog
        match request.param:
            case "sqlite":
                adapter = SqliteCatalog(tmp_path / "ragstone.db", clock)
            case "memory":
                adapter = InMemoryCatalog(clock)
            case _:
                database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
                adapter = MongoCatalog(database, mongo.dependency(), clock)
        await adapter.create_collection("docs", "english", "about", SPACE)
        yield adapter
        await adapter.close()


def job(number: int, collection: str = "docs", principal: str = "ada") -> Job:
    return Job(f"job-{number:04}", collection, 0, ChangeRequest((Put(f"p{number}", "text/plain", "0" * 64, 3),)), principal, "queued", 0.0)


async def lease_for(catalog: Catalog, number: int, holder: str = "h", ttl: float = 30.0) -> Lease:
    await catalog.accept(job(number))
    return await catalog.acquire(f"job-{number:04}", holder, ttl)


def record(lease: Lease, commit_id: str | None = None) -> tuple[Commit, JobResult]:
    commit_id = commit_id or f"{lease.attempt:040x}"
    space = lease.collection.space_id
    stats = CommitStats(documents_added=1, chunks_embedded=2)
    commit = Commit("docs", lease.attempt, 0, commit_id, lease.head_id, space, frozenset(), lease.job_id, "Ada", "why", 0.0, stats)
    return commit, JobResult("published", commit_id, lease.attempt, None, stats)


async def publish(catalog: Catalog, lease: Lease, commit_id: str | None = None) -> Commit:
    return await catalog.publish(lease, *record(lease, commit_id))


async def published(catalog: Catalog, number: int, commit_id: str | None = None) -> Commit:
    return await publish(catalog, await lease_for(catalog, number), commit_id)


# Collections


async def test_collections_are_kept_by_name(catalog: Catalog, clock: Clock) -> None:
    clock.now = 2000.0
    made = await catalog.create_collection("b", "german", "über", OTHER_SPACE)
    assert made == await catalog.collection("b")
    assert (made.language, made.description, made.created_at, made.spaces, made.spaces_version) == (
        "german",
        "über",
        2000.0,
        (OTHER_SPACE,),
        1,
    )
    assert made.space_id == OTHER_SPACE.id
    await catalog.create_collection("a", "english", "", SPACE)
    assert [each.name for each in await catalog.collections()] == ["a", "b", "docs"]
    with pytest.raises(Conflict):
        await catalog.create_collection("a", "english", "", SPACE)
    with pytest.raises(NotFound):
        await catalog.collection("c")


async def test_a_deleted_collection_leaves_nothing_behind(catalog: Catalog) -> None:
    commit = await published(catalog, 1)
    await catalog.tag("docs", "v1", commit.id)
    held = await lease_for(catalog, 2)
    deleted = await catalog.delete_collection("docs")
    again = await catalog.create_collection("docs", "english", "", SPACE)
    assert again.uid != deleted.uid
    assert await catalog.head("docs") is None
    assert await catalog.tags("docs") == []
    assert await catalog.jobs("docs") == []
    assert await catalog.next_job("docs") is None
    with pytest.raises(NotFound):
        await catalog.job("job-0001")
    with pytest.raises(NotFound):
        await catalog.attempt("docs", 1)
    first = await lease_for(catalog, 3)
    assert (first.attempt, first.head_seq) == (1, 0)
    for late in (catalog.renew(held), catalog.fail(held, FAILED), publish(catalog, held)):
        with pytest.raises(LeaseLost):
            await late
    await catalog.abort(held)
    assert await catalog.attempt("docs", 1) == "active"
    with pytest.raises(NotFound):
        await catalog.delete_collection("absent")


async def test_every_call_on_an_unknown_collection_is_not_found(catalog: Catalog) -> None:
    calls = [
        catalog.accept(job(1, "absent")),
        catalog.jobs("absent"),
        catalog.pending("absent"),
        catalog.attempt("absent", 1),
        catalog.aborted("absent"),
        catalog.retire("absent", [1]),
        catalog.next_job("absent"),
        catalog.head("absent"),
        catalog.commit("absent", "0" * 40),
        catalog.commit_at_position("absent", 1),
        catalog.commit_at_time("absent", 1.0),
        catalog.commits("absent"),
        catalog.tag("absent", "t", "0" * 40),
        catalog.untag("absent", "t"),
        catalog.tags("absent"),
        catalog.add_space("absent", SPACE),
        catalog.begin_build("absent", BUILD),
        catalog.acquire_fill("absent", "h", 30.0),
        catalog.drop_space("absent", SPACE.id, "ada"),
        catalog.forget_space("absent", SPACE.id),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call


async def test_a_space_is_registered_once(catalog: Catalog) -> None:
    changed = await catalog.add_space("docs", OTHER_SPACE)
    assert (changed.spaces, changed.spaces_version, changed.space_id) == ((SPACE, OTHER_SPACE), 2, SPACE.id)
    assert await catalog.add_space("docs", OTHER_SPACE) == changed == await catalog.collection("docs")


# Jobs


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


# Leases and attempts


async def test_a_live_lease_keeps_others_out_until_it_expires(catalog: Catalog, clock: Clock) -> None:
    first = await lease_for(catalog, 1, "one", ttl=30)
    with pytest.raises(Busy) as refused:
        await catalog.acquire("job-0001", "two", 30)
    assert refused.value.retry_after == pytest.approx(30)
    clock.now += 20
    renewed = await catalog.renew(first)
    assert renewed.expires_at == clock.now + 30
    clock.now += 29
    with pytest.raises(Busy):
        await catalog.acquire("job-0001", "two", 30)
    clock.now += 1
    second = await catalog.acquire("job-0001", "two", 30)
    assert (second.attempt, second.gaps) == (2, frozenset({1}))
    assert await catalog.attempt("docs", 1) == "aborted"
    for late in (catalog.renew(renewed), publish(catalog, first), catalog.fail(first, FAILED), catalog.finish_unchanged(first, UNCHANGED)):
        with pytest.raises(LeaseLost):
            await late
    await catalog.abort(first)
    assert await catalog.attempt("docs", 2) == "active"
    assert (await catalog.job("job-0001")).state == "running"


async def test_of_holders_that_race_one_gets_the_lease(catalog: Catalog) -> None:
    await catalog.accept(job(1))
    outcomes = await asyncio.gather(*(catalog.acquire("job-0001", f"holder {i}", 30) for i in range(8)), return_exceptions=True)
    leases = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
    assert len(leases) == 1
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 7
    assert leases[0].attempt == 1


async def test_jobs_take_the_lease_in_the_order_of_their_numbers(catalog: Catalog, clock: Clock) -> None:
    await catalog.create_collection("other", "english", "", SPACE)
    for each in (job(3), job(2), job(1), job(4, "other")):
        await catalog.accept(each)  # numbers 1, 2, 3 by order of acceptance, not of ids

    async def only(job_id: str, *later: str) -> Lease:
        next_job = await catalog.next_job("docs")
        assert next_job == await catalog.job(job_id)
        for each in later:
            with pytest.raises(Busy):
                await catalog.acquire(each, "h", 30)
        assert await catalog.next_job("docs") == next_job
        return await catalog.acquire(job_id, "h", 30)

    lease = await only("job-0003", "job-0002", "job-0001")
    clock.now += 100
    with pytest.raises(Busy):  # an expired lease is for another try at its own job
        await catalog.acquire("job-0002", "two", 30)
    await catalog.abort(lease)
    await catalog.release("job-0003")
    await publish(catalog, await only("job-0003", "job-0002", "job-0001"))
    await catalog.finish_unchanged(await only("job-0002", "job-0001"), UNCHANGED)
    await catalog.fail(await only("job-0001"), FAILED)
    for done in ("job-0003", "job-0002", "job-0001"):
        with pytest.raises(Conflict):
            await catalog.acquire(done, "h", 30)
    assert await catalog.next_job("docs") is None
    assert (await catalog.acquire("job-0004", "h", 30)).attempt == 1  # collections do not wait for each other
    with pytest.raises(NotFound):  # four leases were given: refusals took no number
        await catalog.attempt("docs", 5)


async def test_a_finished_job_is_finished_whatever_else_waits(catalog: Catalog) -> None:
    await published(catalog, 1)
    await catalog.accept(job(2))
    await catalog.accept(job(3))
    with pytest.raises(Conflict):
        await catalog.acquire("job-0001", "h", 30)


async def test_an_expired_lease_that_nobody_took_still_publishes(catalog: Catalog, clock: Clock) -> None:
    lease = await lease_for(catalog, 1, ttl=1)
    clock.now += 100
    assert (await publish(catalog, lease)).seq == 1


async def test_the_same_holder_starts_anew_at_once(catalog: Catalog) -> None:
    first = await lease_for(catalog, 1)
    second = await catalog.acquire("job-0001", "h", 30)
    assert (first.attempt, second.attempt, second.gaps) == (1, 2, frozenset({1}))
    with pytest.raises(LeaseLost):
        await publish(catalog, first)
    assert (await publish(catalog, second)).gaps == {1}


async def test_a_finished_job_is_not_taken_again(catalog: Catalog) -> None:
    await published(catalog, 1)
    with pytest.raises(Conflict):
        await catalog.acquire("job-0001", "h", 30)
    with pytest.raises(NotFound):
        await catalog.acquire("absent", "h", 30)


async def test_publishing_after_an_abort_loses(catalog: Catalog) -> None:
    lease = await lease_for(catalog, 1)
    await catalog.abort(lease)
    await catalog.abort(lease)
    with pytest.raises(LeaseLost):
        await publish(catalog, lease)
    assert await catalog.head("docs") is None
    assert (await catalog.job("job-0001")).state == "running"
    await catalog.release("job-0001")
    assert (await catalog.job("job-0001")).state == "queued"
    assert (await catalog.acquire("job-0001", "another", 30)).attempt == 2


async def test_publishing_twice_loses_but_the_attempt_tells(catalog: Catalog) -> None:
    lease = await lease_for(catalog, 1)
    commit = await publish(catalog, lease)
    with pytest.raises(LeaseLost):
        await publish(catalog, lease)
    await catalog.abort(lease)
    assert await catalog.attempt("docs", lease.attempt) == "published"
    assert await catalog.head("docs") == commit
    with pytest.raises(NotFound):
        await catalog.attempt("docs", 99)


async def test_publishing_with_changed_spaces_loses(catalog: Catalog) -> None:
    lease = await lease_for(catalog, 1)
    await catalog.add_space("docs", OTHER_SPACE)
    with pytest.raises(LeaseLost):
        await publish(catalog, lease)
    assert await catalog.head("docs") is None
    assert (await catalog.job("job-0001")).state == "running"
    assert await catalog.attempt("docs", 1) == "active"


async def test_publishing_over_another_head_than_the_leases_loses(catalog: Catalog) -> None:
    first = await published(catalog, 1)
    lease = await lease_for(catalog, 2)
    for forged in (replace(lease, head_id="f" * 40), replace(lease, head_seq=7), replace(lease, head_id=None, head_seq=0)):
        with pytest.raises(LeaseLost):
            await publish(catalog, forged)
    assert await catalog.head("docs") == first
    assert (await publish(catalog, lease)).position == 2


async def test_a_commit_record_of_another_attempt_is_refused(catalog: Catalog) -> None:
    lease = await lease_for(catalog, 1)
    commit, result = record(lease)
    for wrong in (replace(commit, seq=9), replace(commit, collection="x"), replace(commit, job_id="x")):
        with pytest.raises(InternalError):
            await catalog.publish(lease, wrong, result)
    assert await catalog.head("docs") is None


async def test_a_published_job_knows_its_result(catalog: Catalog, clock: Clock) -> None:
    lease = await lease_for(catalog, 1)
    clock.now = 1234.5
    commit = await publish(catalog, lease)
    expected, result = record(lease)
    assert commit == replace(expected, position=1, created_at=1234.5)
    done = await catalog.job("job-0001")
    assert (done.state, done.finished_at, done.result) == ("published", 1234.5, replace(result, position=1))
    assert await catalog.pending("docs") == 0


async def test_unchanged_and_failed_jobs_are_done_and_free_the_lease(catalog: Catalog) -> None:
    await catalog.finish_unchanged(await lease_for(catalog, 1, "one"), UNCHANGED)
    await catalog.fail(await lease_for(catalog, 2, "two"), FAILED)
    jobs = [await catalog.job(f"job-{i:04}") for i in (1, 2)]
    assert [each.state for each in jobs] == ["unchanged", "failed"]
    assert [each.result for each in jobs] == [UNCHANGED, FAILED]
    assert [await catalog.attempt("docs", i) for i in (1, 2)] == ["unchanged", "aborted"]
    assert (await lease_for(catalog, 3, "three")).gaps == {2}
    assert await catalog.head("docs") is None


async def test_gaps_are_the_aborted_attempts_and_positions_have_none(catalog: Catalog) -> None:
    await published(catalog, 1)  # attempt 1
    await catalog.abort(await lease_for(catalog, 2))  # 2
    await catalog.abort(await catalog.acquire("job-0002", "h", 30))  # 3
    second = await publish(catalog, await catalog.acquire("job-0002", "h", 30))  # 4
    await catalog.finish_unchanged(await lease_for(catalog, 3), UNCHANGED)  # 5
    await catalog.fail(await lease_for(catalog, 4), FAILED)  # 6
    third = await published(catalog, 5)  # 7
    assert (second.seq, second.position, second.gaps) == (4, 2, frozenset({2, 3}))
    assert (third.seq, third.position, third.gaps) == (7, 3, frozenset({2, 3, 6}))
    assert [commit.seq for commit in await catalog.commits("docs")] == [7, 4, 1]


async def test_retired_gaps_are_forgotten_by_later_commits_only(catalog: Catalog) -> None:
    await catalog.fail(await lease_for(catalog, 1), FAILED)
    await catalog.fail(await lease_for(catalog, 2), FAILED)
    third = await published(catalog, 3)
    running = await lease_for(catalog, 4)
    assert await catalog.aborted("docs") == [1, 2]
    await catalog.retire("docs", [1, third.seq, running.attempt, 99])
    await catalog.retire("docs", [1])
    assert await catalog.aborted("docs") == [2]
    assert await catalog.attempt("docs", running.attempt) == "active"
    assert (await publish(catalog, running)).gaps == {2}
    assert (await catalog.commit("docs", third.id)).gaps == {1, 2}
    assert (await lease_for(catalog, 5)).gaps == {2}


async def test_only_attempts_of_finished_jobs_may_be_cleaned_up(catalog: Catalog) -> None:
    await catalog.abort(await lease_for(catalog, 1))
    assert await catalog.aborted("docs") == []
    await publish(catalog, await catalog.acquire("job-0001", "h", 30))
    assert await catalog.aborted("docs") == [1]


async def test_release_leaves_jobs_that_run_wait_or_are_done(catalog: Catalog) -> None:
    await published(catalog, 1)
    await lease_for(catalog, 2)
    await catalog.accept(job(3))
    for i in (1, 2, 3):
        await catalog.release(f"job-{i:04}")
    assert [(await catalog.job(f"job-{i:04}")).state for i in (1, 2, 3)] == ["published", "running", "queued"]
    with pytest.raises(NotFound):
        await catalog.release("absent")


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


# Commits and tags


async def test_a_commit_is_found_by_id_prefix_position_and_time(catalog: Catalog, clock: Clock) -> None:
    ids = ["aaaaaaa" + "0" * 33, "aaaaaab" + "0" * 33, "aaaaaab" + "1" * 33]
    commits = []
    for number, commit_id in enumerate(ids, start=1):
        clock.now = 1000.0 + 10 * number
        commits.append(await published(catalog, number, commit_id=commit_id))
    assert [await catalog.commit("docs", commit_id) for commit_id in ids] == commits
    assert await catalog.commit("docs", "aaaaaaa") == commits[0]
    assert await catalog.commit("docs", "aaaaaab0") == commits[1]
    for ambiguous in ("aaaaaab", "aaaaaa"):
        with pytest.raises(InvalidInput):
            await catalog.commit("docs", ambiguous)
    for unknown in ("aaaaaac", "f" * 40, "aaaaaab0x", "%%%%%%%"):
        with pytest.raises(NotFound):
            await catalog.commit("docs", unknown)
    assert [await catalog.commit_at_position("docs", position) for position in (1, 2, 3)] == commits
    for position in (0, 4, -1):
        with pytest.raises(NotFound):
            await catalog.commit_at_position("docs", position)
    assert await catalog.commit_at_time("docs", 1010.0) == commits[0]
    assert await catalog.commit_at_time("docs", 1029.9) == commits[1]
    assert await catalog.commit_at_time("docs", 1e12) == commits[2]
    with pytest.raises(NotFound):
        await catalog.commit_at_time("docs", 1009.9)


async def test_of_commits_that_share_an_id_the_latest_is_meant(catalog: Catalog) -> None:
    await published(catalog, 1, commit_id="a" * 40)
    await published(catalog, 2, commit_id="b" * 40)
    third = await published(catalog, 3, commit_id="a" * 40)
    assert await catalog.commit("docs", "a" * 40) == third
    assert await catalog.commit("docs", "a" * 7) == third


async def test_a_clock_that_goes_back_does_not_reorder_history(catalog: Catalog, clock: Clock) -> None:
    first = await published(catalog, 1)
    clock.now -= 500
    second = await published(catalog, 2)
    assert second.created_at == first.created_at
    assert await catalog.commit_at_time("docs", first.created_at) == second


async def test_commits_are_paged_newest_first(catalog: Catalog) -> None:
    for number in range(1, 6):
        await published(catalog, number)
    first = await catalog.commits("docs", limit=2)
    second = await catalog.commits("docs", before=first[-1].seq, limit=9)
    assert [commit.seq for commit in first + second] == [5, 4, 3, 2, 1]
    assert await catalog.head("docs") == first[0]
    assert first[0].parent_id == first[1].id


async def test_tags_are_fixed_names(catalog: Catalog, clock: Clock) -> None:
    first, second = await published(catalog, 1), await published(catalog, 2)
    clock.now = 3000.0
    tag = await catalog.tag("docs", "v1", first.id)
    assert (tag.name, tag.commit_id, tag.seq, tag.created_at) == ("v1", first.id, 1, 3000.0)
    clock.now = 4000.0
    assert await catalog.tag("docs", "v1", first.id) == tag
    with pytest.raises(Conflict):
        await catalog.tag("docs", "v1", second.id)
    await catalog.tag("docs", "a", second.id)
    assert [each.name for each in await catalog.tags("docs")] == ["a", "v1"]
    await catalog.untag("docs", "v1")
    await catalog.tag("docs", "v1", second.id)
    assert [each.name for each in await catalog.tags("docs")] == ["v1", "a"]
    for wrong in (catalog.untag("docs", "absent"), catalog.tag("docs", "v2", "f" * 40)):
        with pytest.raises(NotFound):
            await wrong


# Retention and erasure


async def test_pruning_keeps_the_newest_and_the_head(catalog: Catalog, clock: Clock) -> None:
    commits = [await published(catalog, number) for number in range(1, 6)]
    plan = await catalog.prune("docs", Keep(last=2), dry_run=True)
    assert [commit.seq for commit in plan.kept] == [4, 5]
    assert [commit.seq for commit in plan.pruned] == [1, 2, 3]
    assert await catalog.commit("docs", commits[0].id) == commits[0]  # only asked
    clock.now = 5000.0
    assert [commit.pruned_at for commit in (await catalog.prune("docs", Keep(last=2))).pruned] == [5000.0] * 3
    assert (await catalog.prune("docs", Keep(last=1))).pruned[0].seq == 4
    assert (await catalog.prune("docs", Keep())).kept == ((await catalog.head("docs")),)
    assert (await published(catalog, 6)).position == 6


async def test_a_pruned_commit_is_listed_and_gone_otherwise(catalog: Catalog, clock: Clock) -> None:
    first = await published(catalog, 1)
    clock.now = 2000.0
    second = await published(catalog, 2)
    clock.now = 3000.0
    await catalog.prune("docs", Keep(last=1))
    assert [(commit.id, commit.pruned_at) for commit in await catalog.commits("docs")] == [(second.id, None), (first.id, 3000.0)]
    with pytest.raises(Gone, match="#1"):
        await catalog.commit("docs", first.id)
    with pytest.raises(Gone):
        await catalog.commit_at_position("docs", 1)
    with pytest.raises(Gone):
        await catalog.commit_at_time("docs", 1500.0)
    with pytest.raises(Gone):
        await catalog.tag("docs", "old", first.id)
    assert await catalog.commit_at_time("docs", 2000.0) == second


async def test_pruning_by_age_keeps_what_was_the_head_then(catalog: Catalog, clock: Clock) -> None:
    for number in range(1, 5):
        clock.now = 1000.0 * number
        await published(catalog, number)
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(since=2500.0), dry_run=True)).kept] == [2, 3, 4]
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(since=3000.0), dry_run=True)).kept] == [2, 3, 4]
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(since=9000.0), dry_run=True)).kept] == [4]
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(last=3, since=9000.0), dry_run=True)).kept] == [2, 3, 4]


async def test_tags_and_waiting_rollbacks_keep_their_commits(catalog: Catalog) -> None:
    commits = [await published(catalog, number) for number in range(1, 5)]
    await catalog.tag("docs", "v1", commits[0].id)
    back = replace(job(9), request=ChangeRequest((Restore(commits[1].id),)))
    await catalog.accept(back)
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(last=1))).kept] == [1, 2, 4]
    lease = await catalog.acquire(back.id, "h", 30.0)
    assert (await catalog.prune("docs", Keep(last=1))).pruned == ()
    await catalog.finish_unchanged(lease, UNCHANGED)
    assert [commit.seq for commit in (await catalog.prune("docs", Keep(last=1))).pruned] == [2]


async def test_of_commits_with_one_id_a_kept_one_counts(catalog: Catalog) -> None:
    await published(catalog, 1, "a" * 40)
    await published(catalog, 2, "b" * 40)
    last = await published(catalog, 3, "a" * 40)
    await catalog.prune("docs", Keep(last=1))
    assert await catalog.commit("docs", "a" * 40) == last
    await published(catalog, 4, "c" * 40)
    await catalog.prune("docs", Keep(last=1))
    with pytest.raises(Gone):
        await catalog.commit("docs", "a" * 7)


async def test_gaps_are_aborted_attempts_until_they_are_retired(catalog: Catalog) -> None:
    held = await lease_for(catalog, 1)
    assert await catalog.gaps("docs") == frozenset()
    await catalog.fail(held, FAILED)
    assert await catalog.gaps("docs") == {1}
    await catalog.retire("docs", [1])
    assert await catalog.gaps("docs") == frozenset()


def purge(number: int, path: str) -> Purge:
    return Purge(f"purge-{number}", "docs", path, 1, "ada", "a letter", "begun", 1000.0)


async def test_a_purge_is_begun_once_and_remembered(catalog: Catalog) -> None:
    first = await catalog.begin_purge(purge(1, "a"))
    assert await catalog.begin_purge(purge(2, "a")) == first == purge(1, "a")
    done = replace(first, state="done", done_at=1001.0, points=3, same_content=("b",))
    await catalog.finish_purge(done)
    again = await catalog.begin_purge(purge(3, "a"))
    other = await catalog.begin_purge(purge(4, "b"))
    assert await catalog.purges("docs") == [other, again, done]
    assert await catalog.purges("docs", "a") == [again, done]
    with pytest.raises(NotFound):
        await catalog.finish_purge(purge(9, "z"))


async def test_a_purge_takes_metadata_out_of_finished_jobs(catalog: Catalog) -> None:
    puts = tuple(Put(path, "text/plain", "0" * 64, 3, {"owner": "Eve"}) for path in ("a", "b"))
    for number in (1, 2):
        await catalog.accept(replace(job(number), request=ChangeRequest(puts)))
    await catalog.finish_unchanged(await catalog.acquire("job-0001", "h", 30.0), UNCHANGED)
    await catalog.begin_purge(purge(1, "a"))
    assert (await catalog.job("job-0001")).request.changes == (replace(puts[0], metadata={}), puts[1])
    assert (await catalog.job("job-0002")).request.changes == puts


async def test_a_compacted_catalog_reads_as_before(catalog: Catalog) -> None:
    commit = await published(catalog, 1)
    await catalog.compact()
    assert await catalog.head("docs") == commit


async def test_every_attempt_is_known_with_its_state(catalog: Catalog) -> None:
    await published(catalog, 1)
    await catalog.fail(await lease_for(catalog, 2), FAILED)
    await catalog.retire("docs", [2])
    await catalog.fail(await lease_for(catalog, 3), FAILED)
    await catalog.finish_unchanged(await lease_for(catalog, 4), UNCHANGED)
    await lease_for(catalog, 5)
    assert await catalog.attempts("docs") == {1: "published", 2: "retired", 3: "aborted", 4: "unchanged", 5: "active"}
    with pytest.raises(NotFound):
        await catalog.attempts("absent")


async def test_a_catalog_that_is_whole_has_nothing_to_tell(catalog: Catalog) -> None:
    await ready(catalog)
    assert await catalog.check() == []


async def test_a_rollback_is_not_published_while_a_purge_is_begun(catalog: Catalog) -> None:
    first = await published(catalog, 1)
    begun = await catalog.begin_purge(purge(1, "a"))
    await catalog.accept(replace(job(2), request=ChangeRequest((Restore(first.id),))))
    lease = await catalog.acquire("job-0002", "h", 30.0)
    with pytest.raises(Unavailable):
        await publish(catalog, lease)
    assert await catalog.attempt("docs", lease.attempt) == "active"
    await catalog.finish_purge(replace(begun, state="done"))
    assert (await publish(catalog, lease)).position == 2
    await catalog.begin_purge(purge(2, "a"))
    assert (await published(catalog, 3)).position == 3


async def test_an_attempt_that_another_aborted_is_cleaned_up_only_when_its_holder_is_surely_gone(catalog: Catalog, clock: Clock) -> None:
    lost = await lease_for(catalog, 1, holder="slow", ttl=30.0)
    clock.now += 31
    lease = await catalog.acquire("job-0001", "other", 30.0)
    await catalog.fail(lease, FAILED)
    assert await catalog.aborted("docs") == [lost.attempt, lease.attempt]
    assert await catalog.aborted("docs", gone_after=100.0) == [lease.attempt]
    clock.now += 100
    assert await catalog.aborted("docs", gone_after=100.0) == [lost.attempt, lease.attempt]


async def test_a_holder_that_gives_up_late_is_gone_at_once(catalog: Catalog, clock: Clock) -> None:
    lost = await lease_for(catalog, 1, holder="slow", ttl=30.0)
    clock.now += 31
    lease = await catalog.acquire("job-0001", "other", 30.0)
    await catalog.fail(lease, FAILED)
    await catalog.abort(lost)
    assert lost.attempt in await catalog.aborted("docs", gone_after=100.0)


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


async def test_commits_since_come_oldest_first_and_pruned_ones_too(catalog: Catalog) -> None:
    published = []
    for number in (1, 2, 3):
        lease = await lease_for(catalog, number)
        commit, result = record(lease)
        published.append((await catalog.publish(lease, commit, result)).seq)
    await catalog.prune("docs", Keep(last=1))
    assert [commit.seq for commit in await catalog.commits_since("docs", 0)] == published
    assert [commit.seq for commit in await catalog.commits_since("docs", published[0], 1)] == published[1:2]
    assert await catalog.commits_since("docs", published[-1]) == []


async def test_a_lock_has_one_holder_until_it_lets_go_or_its_time_is_over(catalog: Catalog, clock: Clock) -> None:
    assert await catalog.hold("janitor", "a", 10.0)
    assert not await catalog.hold("janitor", "b", 10.0)
    assert await catalog.hold("another", "b", 10.0)
    clock.now += 9
    assert await catalog.hold("janitor", "a", 10.0)  # for longer
    clock.now += 9
    assert not await catalog.hold("janitor", "b", 10.0)
    await catalog.let_go("janitor", "b")  # not the holder
    assert not await catalog.hold("janitor", "b", 10.0)
    clock.now += 2
    assert await catalog.hold("janitor", "b", 10.0)
    assert not await catalog.hold("janitor", "a", 10.0)
    await catalog.let_go("janitor", "b")
    await catalog.let_go("janitor", "b")
    assert await catalog.hold("janitor", "a", 10.0)


async def test_a_lock_that_many_ask_for_goes_to_one(catalog: Catalog) -> None:
    got = await asyncio.gather(*(catalog.hold("janitor", f"h{number}", 10.0) for number in range(8)))
    assert got.count(True) == 1


async def test_a_cursor_never_moves_back(catalog: Catalog) -> None:
    assert await catalog.cursor("events:x") == 0
    await catalog.move_cursor("events:x", 7)
    await catalog.move_cursor("events:x", 5)
    assert await catalog.cursor("events:x") == 7
    assert await catalog.cursor("events:y") == 0


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


# Spaces that come and go


async def filling(catalog: Catalog) -> Build:
    """A collection with a commit, whose second space is being filled."""
    await published(catalog, 1)
    await catalog.begin_build("docs", BUILD)
    build = (await catalog.add_space("docs", OTHER_SPACE)).unfinished
    assert build is not None
    return build


async def ready(catalog: Catalog) -> int:
    """The same, filled: the attempt that did it."""
    build = await filling(catalog)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.finish_fill(lease, replace(build, state="ready"))
    return lease.attempt


async def switched(catalog: Catalog, number: int, space_id: str, commit_id: str | None = None) -> Commit:
    lease = await lease_for(catalog, number)
    commit, result = record(lease, commit_id)
    return await catalog.publish(lease, replace(commit, space_id=space_id), result)


async def test_a_build_is_begun_once_and_ingests_write_it_only_when_it_is_registered(catalog: Catalog, clock: Clock) -> None:
    begun = await catalog.begin_build("docs", BUILD)
    assert (begun.spaces, begun.spaces_version) == ((SPACE,), 1)
    assert begun.builds == (replace(BUILD, started_at=clock.now),)
    clock.now += 5
    assert await catalog.begin_build("docs", replace(BUILD, id="build-2")) == begun == await catalog.collection("docs")
    registered = await catalog.add_space("docs", OTHER_SPACE)
    assert (registered.spaces, registered.spaces_version) == ((SPACE, OTHER_SPACE), 2)
    assert registered.builds == (replace(begun.builds[0], state="filling"),)
    assert not registered.complete(OTHER_SPACE.id)
    assert await catalog.add_space("docs", OTHER_SPACE) == registered
    assert await catalog.begin_build("docs", BUILD) == registered
    assert [one.builds for one in await catalog.collections()] == [registered.builds]
    with pytest.raises(Conflict):
        await catalog.begin_build("docs", Build("b", SPACE, "ada", "preparing"))
    with pytest.raises(Conflict):
        await catalog.begin_build("docs", Build("b", THIRD_SPACE, "ada", "preparing"))
    assert await catalog.collection("docs") == registered


async def test_filling_takes_the_lease_for_no_job(catalog: Catalog, clock: Clock) -> None:
    await published(catalog, 1)
    with pytest.raises(Conflict):
        await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.begin_build("docs", BUILD)
    with pytest.raises(Conflict):
        await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.add_space("docs", OTHER_SPACE)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    assert (lease.attempt, lease.job_id, lease.head_seq, lease.gaps) == (2, BUILD.id, 1, frozenset())
    assert lease.collection == await catalog.collection("docs")
    assert await catalog.attempt("docs", 2) == "active"
    with pytest.raises(Busy):
        await lease_for(catalog, 2, holder="other")
    with pytest.raises(Busy):
        await catalog.acquire_fill("docs", "third", 30.0)
    clock.now += 20
    assert (await catalog.renew(lease)).expires_at == clock.now + 30
    await catalog.abort(lease)
    assert await catalog.attempts("docs") == {1: "published", 2: "aborted"}
    assert await catalog.gaps("docs") == {2}
    assert await catalog.aborted("docs") == [2]
    assert (await catalog.acquire("job-0002", "other", 30.0)).gaps == {2}
    with pytest.raises(Busy):
        await catalog.acquire_fill("docs", "h", 30.0)


async def test_a_filler_that_was_killed_is_taken_over_when_its_lease_is_over(catalog: Catalog, clock: Clock) -> None:
    build = await filling(catalog)
    late = await catalog.acquire_fill("docs", "h", 30.0)
    clock.now += 31
    lease = await catalog.acquire_fill("docs", "other", 30.0)
    assert (lease.attempt, lease.gaps) == (3, frozenset({2}))
    assert await catalog.aborted("docs", gone_after=60.0) == []
    with pytest.raises(LeaseLost):
        await catalog.finish_fill(late, replace(build, after="z"))
    assert (await catalog.collection("docs")).unfinished == build
    await catalog.finish_fill(lease, replace(build, after="b"))
    assert await catalog.attempts("docs") == {1: "published", 2: "aborted", 3: "filled"}
    assert await catalog.gaps("docs") == {2}


async def test_what_was_filled_is_recorded_with_the_attempt(catalog: Catalog, clock: Clock) -> None:
    build = await filling(catalog)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    done = replace(build, after="p é", documents=3, chunks=7, embedded=5, reused=2, seconds=1.5)
    changed = await catalog.finish_fill(lease, done)
    assert changed == await catalog.collection("docs")
    assert (changed.builds, changed.spaces_version) == ((done,), 2)
    with pytest.raises(LeaseLost):
        await catalog.finish_fill(lease, done)
    await catalog.abort(lease)
    assert await catalog.attempt("docs", lease.attempt) == "filled"
    assert (await catalog.gaps("docs"), await catalog.aborted("docs")) == (frozenset(), [])
    assert (await published(catalog, 2)).gaps == frozenset()
    second = await catalog.acquire_fill("docs", "h", 30.0)
    ended = await catalog.finish_fill(second, replace(done, state="ready"))
    assert ended.builds == (replace(done, state="ready", since=second.attempt, ended_at=clock.now),)
    assert ended.complete(OTHER_SPACE.id)
    assert ended.unfinished is None


async def test_what_was_filled_counts_only_for_the_build_head_and_spaces_of_the_lease(catalog: Catalog) -> None:
    build = await filling(catalog)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    for forged in (replace(lease, head_id="f" * 40), replace(lease, head_seq=7)):
        with pytest.raises(LeaseLost):
            await catalog.finish_fill(forged, build)
    with pytest.raises(LeaseLost):
        await catalog.finish_fill(lease, replace(build, id="another"))
    await catalog.drop_space("docs", OTHER_SPACE.id, "ada")
    with pytest.raises(LeaseLost):
        await catalog.finish_fill(lease, build)
    assert await catalog.attempt("docs", lease.attempt) == "active"


async def test_reads_go_to_another_space_only_when_it_is_complete(catalog: Catalog) -> None:
    build = await filling(catalog)
    lease = await lease_for(catalog, 2)
    commit, result = record(lease)
    for space_id in (OTHER_SPACE.id, THIRD_SPACE.id):
        with pytest.raises(Conflict):
            await catalog.publish(lease, replace(commit, space_id=space_id), result)
    await catalog.fail(lease, FAILED)
    fill = await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.finish_fill(fill, replace(build, state="ready"))
    same = (await catalog.head("docs")).id  # type: ignore[union-attr]
    stored = await switched(catalog, 3, OTHER_SPACE.id, same)
    assert (stored.space_id, stored.position) == (OTHER_SPACE.id, 2)
    assert await catalog.head("docs") == stored == await catalog.commit("docs", same)
    assert (await switched(catalog, 4, SPACE.id)).space_id == SPACE.id


async def test_a_space_that_a_kept_commit_needs_is_not_dropped(catalog: Catalog, clock: Clock) -> None:
    await ready(catalog)
    with pytest.raises(Conflict):
        await catalog.drop_space("docs", SPACE.id, "ada")
    with pytest.raises(NotFound):
        await catalog.drop_space("docs", THIRD_SPACE.id, "ada")
    await switched(catalog, 2, OTHER_SPACE.id)
    before = await catalog.collection("docs")
    with pytest.raises(Conflict):
        await catalog.drop_space("docs", SPACE.id, "ada")
    assert await catalog.collection("docs") == before
    await catalog.prune("docs", Keep(last=1))
    dropped = await catalog.drop_space("docs", SPACE.id, "ada")
    assert (dropped.spaces, dropped.spaces_version) == ((OTHER_SPACE,), before.spaces_version + 1)
    gone = dropped.build(SPACE.id)
    assert gone is not None
    assert (gone.state, gone.principal, gone.dropped_at) == ("dropped", "ada", clock.now)
    assert await catalog.drop_space("docs", SPACE.id, "bob") == dropped == await catalog.collection("docs")
    with pytest.raises(Conflict):
        await catalog.drop_space("docs", OTHER_SPACE.id, "ada")


async def test_a_kept_commit_holds_its_space_for_a_time_after_the_switch(catalog: Catalog, clock: Clock) -> None:
    await ready(catalog)
    kept = (await catalog.head("docs")).seq  # type: ignore[union-attr]
    await switched(catalog, 2, OTHER_SPACE.id)
    clock.now += 50.0
    await switched(catalog, 3, SPACE.id)
    await switched(catalog, 4, OTHER_SPACE.id)  # from here on it counts
    clock.now += 99.0
    before = await catalog.collection("docs")
    for keep in (None, 100.0):
        with pytest.raises(Conflict, match=r"^2 commits"):
            await catalog.drop_space("docs", SPACE.id, "ada", keep)
    with pytest.raises(Conflict):
        await catalog.drop_space("docs", OTHER_SPACE.id, "ada", 0.0)
    assert await catalog.collection("docs") == before
    assert before.holds(SPACE.id, kept)
    clock.now += 1.0
    dropped = await catalog.drop_space("docs", SPACE.id, "ada", 100.0)
    assert (dropped.spaces, dropped.spaces_version) == ((OTHER_SPACE,), before.spaces_version + 1)
    assert not dropped.holds(SPACE.id, kept)
    assert [commit.pruned_at for commit in await catalog.commits("docs")] == [None] * 4


async def test_a_space_that_was_dropped_by_force_and_built_again_holds_nothing_of_before(catalog: Catalog, clock: Clock) -> None:
    await ready(catalog)
    kept = (await catalog.head("docs")).seq  # type: ignore[union-attr]
    await switched(catalog, 2, OTHER_SPACE.id)
    await catalog.drop_space("docs", SPACE.id, "ada", 0.0)
    await catalog.forget_space("docs", SPACE.id)
    again = replace(BUILD, id="build-2", space=SPACE)
    await catalog.begin_build("docs", again)
    await catalog.add_space("docs", SPACE)
    filling = (await catalog.collection("docs")).build(SPACE.id)
    assert filling is not None
    assert not (await catalog.collection("docs")).holds(SPACE.id, kept)
    fill = await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.finish_fill(fill, replace(filling, state="ready"))
    built = await catalog.collection("docs")
    assert (built.complete(SPACE.id), built.holds(SPACE.id, kept)) == (True, False)
    back = await switched(catalog, 3, SPACE.id)
    assert (await catalog.collection("docs")).holds(SPACE.id, back.seq)
    await switched(catalog, 4, OTHER_SPACE.id)
    with pytest.raises(Conflict, match=r"^1 commits"):  # what could not be read before does not hold it
        await catalog.drop_space("docs", SPACE.id, "ada")


async def test_a_dropped_space_comes_back_only_when_it_is_forgotten(catalog: Catalog) -> None:
    await filling(catalog)
    await catalog.forget_space("docs", OTHER_SPACE.id)
    assert (await catalog.collection("docs")).unfinished is not None
    dropped = await catalog.drop_space("docs", OTHER_SPACE.id, "ada")
    assert (dropped.spaces, dropped.spaces_version, dropped.unfinished) == ((SPACE,), 3, None)
    with pytest.raises(Busy):
        await catalog.begin_build("docs", replace(BUILD, id="build-2"))
    with pytest.raises(Conflict):
        await catalog.add_space("docs", OTHER_SPACE)
    await catalog.forget_space("docs", OTHER_SPACE.id)
    await catalog.forget_space("docs", OTHER_SPACE.id)
    assert (await catalog.collection("docs")).builds == ()
    again = await catalog.begin_build("docs", replace(BUILD, id="build-2"))
    assert [build.id for build in again.builds] == ["build-2"]
    await catalog.drop_space("docs", OTHER_SPACE.id, "ada")
    assert (await catalog.collection("docs")).spaces_version == 3  # it was not registered


async def test_builds_are_remembered_when_their_space_is_forgotten(catalog: Catalog, clock: Clock) -> None:
    build = await filling(catalog)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    build = (await catalog.finish_fill(lease, replace(build, after="b", documents=2))).builds[0]
    assert build.ended_at is None
    clock.now += 5.0
    dropped = await catalog.drop_space("docs", OTHER_SPACE.id, "bob")
    gone = replace(build, state="dropped", dropped_at=clock.now, ended_at=clock.now)
    assert (dropped.builds, dropped.past_builds) == ((gone,), ())
    clock.now += 5.0
    await catalog.forget_space("docs", OTHER_SPACE.id)
    await catalog.forget_space("docs", OTHER_SPACE.id)
    known = await catalog.collection("docs")
    assert (known.builds, known.past_builds) == ((), (replace(gone, after=""),))
    assert (known.build(OTHER_SPACE.id), known.unfinished, known.oldest(OTHER_SPACE.id)) == (None, None, 0)
    await catalog.begin_build("docs", replace(BUILD, id="build-2"))
    await catalog.add_space("docs", OTHER_SPACE)
    second = (await catalog.collection("docs")).unfinished
    assert second is not None
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    done = (await catalog.finish_fill(lease, replace(second, state="ready"))).builds[0]
    ended_at, clock.now = clock.now, clock.now + 5.0
    await catalog.drop_space("docs", OTHER_SPACE.id, "bob")
    await catalog.forget_space("docs", OTHER_SPACE.id)
    past = (await catalog.collection("docs")).past_builds
    assert past == (*known.past_builds, replace(done, state="dropped", dropped_at=clock.now))
    assert past[1].ended_at == ended_at
    assert [one.past_builds for one in await catalog.collections()] == [past]


async def test_a_first_space_that_goes_is_not_remembered_as_a_build(catalog: Catalog) -> None:
    await ready(catalog)
    await switched(catalog, 2, OTHER_SPACE.id)
    await catalog.drop_space("docs", SPACE.id, "ada", 0.0)
    await catalog.forget_space("docs", SPACE.id)
    assert (await catalog.collection("docs")).past_builds == ()


async def test_an_ingest_that_began_before_a_space_came_or_went_is_not_published(catalog: Catalog) -> None:
    await published(catalog, 1)
    lease = await lease_for(catalog, 2)
    await catalog.begin_build("docs", BUILD)
    await catalog.add_space("docs", OTHER_SPACE)
    with pytest.raises(LeaseLost):
        await publish(catalog, lease)
    lease = await catalog.acquire("job-0002", "h", 30.0)
    await catalog.drop_space("docs", OTHER_SPACE.id, "ada")
    with pytest.raises(LeaseLost):
        await publish(catalog, lease)


async def test_a_restart_takes_the_lease_from_a_filler(catalog: Catalog) -> None:
    build = await filling(catalog)
    await catalog.acquire_fill("docs", "h", 30.0)
    assert await catalog.requeue_orphans() == []
    assert await catalog.attempts("docs") == {1: "published", 2: "aborted"}
    lease = await catalog.acquire_fill("docs", "other", 30.0)
    await catalog.retire("docs", [2])
    await catalog.finish_fill(lease, build)
    assert await catalog.attempts("docs") == {1: "published", 2: "retired", 3: "filled"}
