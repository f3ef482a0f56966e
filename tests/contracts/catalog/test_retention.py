"""What every catalog promises about retention and erasure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragstone.domain.errors import Gone, NotFound, Unavailable
from ragstone.domain.jobs import ChangeRequest, Put, Restore
from ragstone.domain.retention import Keep, Purge
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import (
    FAILED,
    UNCHANGED,
    Clock,
    job,
    lease_for,
    publish,
    published,
    ready,
)


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
