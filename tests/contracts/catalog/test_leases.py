"""What every catalog promises about leases and attempts: of several that want to write, one does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ragstone.domain.collections import Lease
from ragstone.domain.errors import Busy, Conflict, InternalError, LeaseLost, NotFound
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import FAILED, OTHER_SPACE, SPACE, UNCHANGED, Clock, job, lease_for, publish, published, record


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
