"""What every catalog promises about commits and tags."""

from __future__ import annotations

import pytest

from ragstone.domain.errors import Conflict, InvalidInput, NotFound
from ragstone.domain.retention import Keep
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import Clock, lease_for, published, record


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
