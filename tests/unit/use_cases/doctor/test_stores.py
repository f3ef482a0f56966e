"""What the doctor says of branches, commits, jobs, staged bytes and space, over the fakes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.domain.errors import DataDirectoryError, InternalError
from ragstone.domain.findings import CheckReport, Finding, FindingKind
from ragstone.domain.ids import made_at, new_id
from ragstone.domain.jobs import ChangeRequest, Delete, Job, Put
from ragstone.domain.retention import Keep, Purge
from ragstone.domain.uploads import Upload
from ragstone.use_cases import retention
from ragstone.use_cases.doctor import stores
from tests.fakes.storage import FixedStorage
from tests.fakes.version_store import InMemoryVersionStore
from tests.support.checkup import NAME, change, fill, picture
from tests.support.world import World, fake_world


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(stores, "_AGAIN", (0.01, 0.02))
    world = await fake_world(tmp_path)
    await fill(world.platform)
    return world


async def check(world: World, *, repair: bool = False) -> CheckReport:
    return await world.platform.doctor.run(repair=repair)


async def found(world: World, kind: FindingKind) -> Finding:
    """The one finding there is."""
    (finding,) = (await check(world)).findings
    assert finding.kind == kind
    return finding


async def mended(world: World, kind: FindingKind) -> None:
    await found(world, kind)
    (finding,) = (await check(world, repair=True)).findings
    assert (finding.kind, finding.repaired) == (kind, True)
    assert (await check(world)).findings == ()


async def uid(world: World) -> str:
    return (await world.platform.collections.get(NAME)).uid


def versions_of(world: World) -> InMemoryVersionStore:
    versions = world.platform.adapters.versions
    assert isinstance(versions, InMemoryVersionStore)
    return versions


async def test_a_lost_main_is_set_to_the_head(world: World) -> None:
    versions_of(world)._repositories[await uid(world)].main = None
    await mended(world, "lost-main")
    head = await world.platform.adapters.catalog.head(NAME)
    assert head is not None
    assert await world.platform.adapters.versions.main(await uid(world)) == head.id


async def test_a_main_that_is_behind_is_brought_forward(world: World) -> None:
    first = await world.platform.adapters.catalog.commit_at_position(NAME, 2)
    versions_of(world)._repositories[await uid(world)].main = first.id
    await mended(world, "main-behind")


async def test_a_main_with_commits_of_others_is_left_to_people(world: World) -> None:
    versions, head = world.platform.adapters.versions, await world.platform.adapters.catalog.head(NAME)
    assert head is not None
    theirs = await versions.stage(await uid(world), 99, head.id, [], ["a.txt"], author="x", message="x", metadata={})
    assert theirs is not None
    await versions.advance(await uid(world), theirs, 99)
    report = await check(world, repair=True)
    assert [(finding.kind, finding.repairable, finding.repaired) for finding in report.findings] == [("foreign-main", False, False)]
    assert await versions.main(await uid(world)) == theirs


async def test_branches_of_ended_and_unknown_attempts_go_and_that_of_a_running_one_stays(world: World) -> None:
    catalog, versions = world.platform.adapters.catalog, world.platform.adapters.versions
    await catalog.accept(Job("j" * 26, NAME, 0, ChangeRequest((Delete("a.txt"),)), "local", "queued", 0.0))
    lease = await catalog.acquire("j" * 26, "someone", 60.0)
    for attempt in (1, 77, lease.attempt):
        await versions.stage(await uid(world), attempt, lease.head_id, [], ["a.txt"], author="x", message="x", metadata={})
    assert (await found(world, "orphan-branch")).count == 2
    assert (await check(world, repair=True)).healthy
    assert await versions.attempts(await uid(world)) == [lease.attempt]


async def test_a_lost_commit_is_told_and_the_others_are_still_checked(world: World) -> None:
    second = await world.platform.adapters.catalog.commit_at_position(NAME, 2)
    del versions_of(world)._repositories[await uid(world)].trees[second.id]
    before = await world.platform.adapters.index.scan(await index_name(world))
    finding = await found(world, "unreadable-commit")
    assert "#2" in finding.what
    assert not finding.repairable
    assert not (await check(world, repair=True)).healthy
    assert await world.platform.adapters.index.scan(await index_name(world)) == before, (
        "no point was touched for a commit that can't be read"
    )


async def test_a_lost_version_store_is_told(world: World) -> None:
    await world.platform.adapters.versions.delete(await uid(world))
    before = await world.platform.adapters.index.scan(await index_name(world))
    assert not (await found(world, "lost-versions")).repairable
    await check(world, repair=True)
    assert await world.platform.adapters.index.scan(await index_name(world)) == before


async def index_name(world: World) -> str:
    collection = await world.platform.collections.get(NAME)
    return collection.index_name(collection.space_id)


async def test_a_lost_index_is_made_anew_from_the_version_store(world: World) -> None:
    before = await picture(world.platform)
    await world.platform.adapters.index.drop(await index_name(world))
    await mended(world, "lost-index")
    assert await picture(world.platform) == before


async def test_a_lost_index_comes_back_for_the_commits_that_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    await world.platform.history.tag(NAME, "v2", "#2")
    await world.platform.retention.prune(NAME, Keep(last=2))
    assert (await check(world)).findings == ()
    chunks = {position: await visible(world, position) for position in (2, 6, 7)}
    await world.platform.adapters.index.drop(await index_name(world))
    await mended(world, "lost-index")
    assert {position: await visible(world, position) for position in (2, 6, 7)} == chunks


async def visible(world: World, position: int) -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = []
    for path in ("a.txt", "b.txt", "c.txt", "d.txt"):
        commit = await world.platform.adapters.catalog.commit_at_position(NAME, position)
        chunks = await world.platform.adapters.index.visible(await index_name(world), commit.seq, commit.gaps, [path])
        found += [(path, chunk.start, chunk.text) for chunk in chunks]
    return found


async def test_a_job_that_nobody_has_is_queued_again(world: World) -> None:
    catalog = world.platform.adapters.catalog
    await catalog.accept(Job("j" * 26, NAME, 0, ChangeRequest((Delete("d.txt"),)), "local", "queued", 0.0))
    assert (await found(world, "stuck-job")).repairable
    assert (await check(world, repair=True)).healthy
    assert (await world.platform.ingest.wait("j" * 26, 10)).state == "published"
    assert (await check(world)).findings == ()


async def test_a_job_whose_bytes_are_gone_is_told(world: World) -> None:
    put = Put("new.txt", "text/plain", "0" * 64, 3)
    await world.platform.adapters.catalog.accept(Job("j" * 26, NAME, 0, ChangeRequest((put,)), "local", "queued", 0.0))
    kinds = {finding.kind: finding.repairable for finding in (await check(world)).findings}
    assert kinds == {"lost-bytes": False, "stuck-job": True}


async def test_bytes_of_ended_jobs_and_of_none_go_and_fresh_ones_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = world.platform.adapters.staging
    (ended, *_) = await world.platform.adapters.catalog.jobs(NAME)
    fresh = new_id()
    for owner in (ended.id, "0" * 26, "not-made-by-us", fresh):
        await staging.put(owner, b"bytes")
    monkeypatch.setattr(stores, "_ENDING", -1.0)
    assert {finding.kind for finding in (await check(world)).findings} == {"leftover-bytes"}
    assert (await check(world, repair=True)).healthy
    assert await staging.jobs() == [fresh]


async def test_what_a_failed_attempt_left_is_no_alarm_and_is_cleaned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(index: str, attempts: object) -> None:
        raise InternalError("not now")

    monkeypatch.setattr(world.platform.adapters.index, "erase_attempts", down)
    await change(world.platform, Upload("bad.txt", b"\xff\xfe", "text/plain"))
    assert (await check(world)).healthy
    monkeypatch.undo()
    monkeypatch.setattr(stores, "_AGAIN", (0.01, 0.02))
    assert (await found(world, "remains")).severity == "info"
    await mended(world, "remains")


async def test_an_erasure_that_was_cut_short_is_ended(world: World) -> None:
    head = await world.platform.adapters.catalog.head(NAME)
    assert head is not None
    await world.platform.adapters.catalog.begin_purge(Purge(new_id(), NAME, "b.txt", head.seq, "local", "", "begun", time.time()))
    assert (await found(world, "purge-unfinished")).what == "b.txt"
    assert (await check(world, repair=True)).healthy
    assert [purge.state for purge in await world.platform.adapters.catalog.purges(NAME)] == ["done"]
    assert (await check(world)).findings == ()


async def test_what_is_left_of_a_deleted_collection_goes(world: World) -> None:
    gone = await world.platform.collections.create("gone")
    await world.platform.adapters.catalog.delete_collection("gone")
    report = await check(world)
    assert [(finding.kind, finding.what) for finding in report.findings] == [
        ("orphan-collection", f"index {gone.index_name(gone.space_id)}"),
        ("orphan-collection", f"versions {gone.uid}"),
    ]
    assert (await check(world, repair=True)).healthy
    assert await world.platform.adapters.index.names() == [await index_name(world)]
    assert await world.platform.adapters.versions.repositories() == [await uid(world)]
    assert (await check(world)).findings == ()


@pytest.mark.parametrize(("free", "severity"), [(99, "error"), (150, "warning"), (401, None)])
async def test_little_space_is_told(world: World, free: int, severity: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.platform.doctor._stores, "_storage", FixedStorage(free, 100))
    assert [finding.severity for finding in (await check(world)).findings] == ([severity] if severity else [])


async def test_a_catalog_that_can_not_be_read_is_a_finding_and_no_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def damaged(*_: object, **__: object) -> object:
        raise DataDirectoryError("the catalog's database is damaged; restore the data directory from a backup.")

    monkeypatch.setattr(world.platform.adapters.catalog, "commits", damaged)
    assert not (await found(world, "damaged-collection")).repairable
    monkeypatch.setattr(world.platform.adapters.catalog, "collections", damaged)
    assert not (await found(world, "damaged-catalog")).repairable


async def test_another_model_is_told_and_nothing_is_written_with_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(world.embedder.identity, digest="f" * 64)
    monkeypatch.setattr(world.embedder, "_identity", other)
    world.embedder.passages.clear()
    assert not (await found(world, "other-model")).repairable
    assert not (await check(world, repair=True)).healthy
    assert world.embedder.passages == []


def test_the_time_of_an_id_is_known() -> None:
    assert made_at(new_id()) == pytest.approx(time.time(), abs=5)
    assert made_at("not-made-by-us") is None
