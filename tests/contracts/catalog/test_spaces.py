"""What every catalog promises about spaces that come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragstone.domain.builds import Build
from ragstone.domain.commits import Commit
from ragstone.domain.errors import Busy, Conflict, LeaseLost, NotFound
from ragstone.domain.retention import Keep
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import (
    BUILD,
    FAILED,
    OTHER_SPACE,
    SPACE,
    THIRD_SPACE,
    Clock,
    filling,
    lease_for,
    publish,
    published,
    ready,
    record,
)


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
