"""What every catalog promises about collections."""

from __future__ import annotations

import pytest

from ragstone.domain.errors import Conflict, LeaseLost, NotFound
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import BUILD, FAILED, OTHER_SPACE, SPACE, Clock, job, lease_for, publish, published


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
