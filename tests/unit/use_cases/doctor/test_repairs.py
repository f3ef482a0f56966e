"""Repairs that are cut short, repairs of a pruned history, and repairs beside writers and readers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragstone.domain.commits import OPEN
from ragstone.domain.errors import DataDirectoryError, InternalError, Unavailable
from ragstone.domain.jobs import ChangeRequest, Delete, Job
from ragstone.domain.retention import Keep
from ragstone.domain.retrieval import IndexedChunk
from ragstone.use_cases import retention
from ragstone.use_cases.doctor import mending, stores
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.support.checkup import NAME, change, fill, picture, upload
from tests.support.world import World, embedded_world, fake_world
from tests.unit.use_cases.doctor.test_points import changed, chunks, copy, stored


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    monkeypatch.setattr(stores, "_AGAIN", (0.01, 0.02))
    world = await fake_world(tmp_path)
    await fill(world.platform)
    return world


def hurt(world: World) -> None:
    """Some of everything, of enough documents for several writes."""
    points = stored(world)
    for number, id_ in enumerate(sorted(points)):
        match number % 5:
            case 0:
                del points[id_]
            case 1:
                changed(points, id_, seq_to=4)
            case 2:
                points[id_] = replace(points[id_], vector=points[id_].vector * 0)
            case 3:
                copy(points, id_, path="z.txt")
            case _:
                copy(points, id_, seq_from=4)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_a_repair_that_is_cut_short_at_any_write_is_ended_by_the_next(
    world: World, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "_BATCH", 3)
    before, index = await picture(world.platform), world.platform.adapters.index
    mend = index.mend
    writes = 0
    for fatal in range(1, 100):
        hurt(world)
        writes = 0

        async def dying(*arguments: Any, fatal: int = fatal, **options: Any) -> None:
            nonlocal writes
            writes += 1
            if writes != fatal or done:
                await mend(*arguments, **options)
            if writes == fatal:
                raise asyncio.CancelledError

        monkeypatch.setattr(index, "mend", dying)
        try:
            await world.platform.doctor.run(repair=True)
        except asyncio.CancelledError:
            monkeypatch.setattr(index, "mend", mend)
            assert (await world.platform.doctor.run(repair=True)).healthy
        else:
            break
        assert (await world.platform.doctor.run()).findings == ()
        assert await picture(world.platform) == before
    assert writes > 4


async def test_a_repair_that_fails_is_a_finding_that_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hurt(world)

    async def down(*_: Any, **__: Any) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(world.platform.adapters.index, "mend", down)
    report = await world.platform.doctor.run(repair=True)
    assert not report.healthy
    assert "not now" in [finding.what for finding in report.findings]
    monkeypatch.undo()
    assert (await world.platform.doctor.run(repair=True)).healthy


async def shown(world: World) -> dict[int, list[IndexedChunk]]:
    """What is visible at each kept commit, without what depends on which of the forgotten commits brought it."""
    index, catalog = world.platform.adapters.index, world.platform.adapters.catalog
    assert isinstance(index, InMemoryVectorIndex)
    found: dict[int, list[IndexedChunk]] = {}
    collection = await catalog.collection(NAME)
    for commit in await catalog.commits(NAME):
        if commit.pruned_at is None:
            points = index._indexes[collection.index_name(commit.space_id)].snapshot(commit.seq, commit.gaps)
            chunks = [replace(point.chunk, id="", seq_from=0, seq_to=0, commit_id="", checksum="") for point in points]
            found[commit.position] = sorted(chunks, key=lambda chunk: (chunk.path, chunk.start))
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_a_pruned_history_is_mended_too(world: World, seed: int) -> None:
    dice = random.Random(seed)
    tags = dice.sample(range(1, 7), dice.randint(0, 3))
    for position in tags:
        await world.platform.history.tag(NAME, f"v{position}", f"#{position}")
    await world.platform.retention.prune(NAME, Keep(last=dice.randint(1, 2)))
    assert (await world.platform.doctor.run()).findings == ()
    before, points = await shown(world), stored(world)
    assert before
    for _ in range(dice.randint(1, 5)):
        id_ = dice.choice(sorted(points))
        match dice.randrange(4):
            case 0:
                del points[id_]
            case 1:
                changed(points, id_, seq_to=dice.choice([4, 7, OPEN]))
            case 2:
                points[id_] = replace(points[id_], vector=points[id_].vector * 0)
            case _:
                copy(points, id_, path="z.txt")
    assert (await world.platform.doctor.run(repair=True)).healthy
    assert (await world.platform.doctor.run()).findings == ()
    assert await shown(world) == before


async def test_points_of_forgotten_commits_are_mended_to_the_letter(world: World) -> None:
    """They began or ended with commits that are not kept; what they say of them stays."""
    await world.platform.history.tag(NAME, "v2", "#2")
    await world.platform.retention.prune(NAME, Keep(last=2))
    points = stored(world)
    before = chunks(points)
    kept = {commit.seq for commit in await world.platform.adapters.catalog.commits(NAME) if commit.pruned_at is None}
    assert any(chunk.seq_from not in kept for chunk in before.values())
    assert any(chunk.seq_to not in {*kept, OPEN} for chunk in before.values())
    for id_ in points:
        points[id_] = replace(points[id_], vector=points[id_].vector * 0)
    assert (await world.platform.doctor.run(repair=True)).healthy
    assert chunks(points) == before


async def test_what_an_aborted_attempt_wrote_is_left_to_recovery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, index, points = world.platform.adapters.catalog, world.platform.adapters.index, stored(world)
    await catalog.accept(Job("j" * 26, NAME, 0, ChangeRequest((Delete("d.txt"),)), "local", "queued", 0.0))
    lease = await catalog.acquire("j" * 26, "someone", 0.0)
    mine = next(id_ for id_, point in points.items() if point.chunk.path == "a.txt" and point.chunk.seq_to == OPEN)

    async def broken(*_: Any) -> None:
        raise InternalError("not now")

    monkeypatch.setattr(index, "erase_attempts", broken)
    await world.platform.adapters.queue.enqueue(NAME, "j" * 26)
    assert (await world.platform.ingest.wait("j" * 26, 10)).state == "published"
    await change(world.platform, upload("e.txt", "later"))
    before = await picture(world.platform)
    copy(points, mine, seq_from=lease.attempt)
    changed(points, mine, seq_to=lease.attempt)
    assert lease.attempt in await catalog.gaps(NAME)
    assert {finding.kind for finding in (await world.platform.doctor.run(repair=True)).findings} == {"remains"}
    assert points[mine].chunk.seq_to == lease.attempt
    monkeypatch.setattr(index, "erase_attempts", InMemoryVectorIndex.erase_attempts.__get__(index))
    assert (await world.platform.doctor.run(repair=True)).healthy
    assert points[mine].chunk.seq_to == OPEN
    assert (await world.platform.doctor.run()).findings == ()
    assert await picture(world.platform) == before


async def test_beside_writers_nothing_is_taken_for_damage_and_repairs_hold_up_nobody(tmp_path: Path) -> None:
    world = await embedded_world(tmp_path)
    await fill(world.platform)
    enough = asyncio.Event()
    writing = asyncio.create_task(write(world, enough))
    reports = [await world.platform.doctor.run(repair=repair) for repair in (False, True, False)]
    enough.set()
    await writing
    reports.append(await world.platform.doctor.run())
    await world.end(world.platform)
    assert [report.findings for report in reports] == [(), (), (), ()]
    assert reports[-1].commits > reports[0].commits


async def write(world: World, enough: asyncio.Event) -> None:
    number = 0
    while number < 4 or not enough.is_set():
        paths = tuple(f"{number % 3}-{other}.txt" for other in range(4))
        uploads = [upload(path, f"text {number}", "lamp dusk") for path in paths[: 2 + number % 2]]
        job = await change(world.platform, *uploads, deletes=("b.txt",) if number == 3 else ())
        assert job.state == "published"
        number += 1


@pytest.mark.parametrize("build", [fake_world, embedded_world])
async def test_what_was_pruned_and_erased_is_no_damage(
    build: Callable[[Path], Awaitable[World]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    world = await build(tmp_path)
    platform = world.platform
    await fill(platform)
    await platform.erasure.purge(NAME, "b.txt")
    await platform.history.tag(NAME, "v2", "#2")
    await platform.retention.prune(NAME, Keep(last=3))
    assert (await platform.doctor.run(repair=True)).findings == ()
    before = [await chunks_at(world, position) for position in (2, 7, 8)]
    await platform.adapters.index.drop(await index_name(world))
    assert (await platform.doctor.run(repair=True)).healthy
    assert (await platform.doctor.run()).findings == ()
    assert [await chunks_at(world, position) for position in (2, 7, 8)] == before
    assert not [path for chunks in before for path, _, _ in chunks if path == "b.txt"]
    await world.end(platform)


async def index_name(world: World) -> str:
    collection = await world.platform.collections.get(NAME)
    return collection.index_name(collection.space_id)


async def chunks_at(world: World, position: int) -> list[tuple[str, int, str]]:
    commit = await world.platform.adapters.catalog.commit_at_position(NAME, position)
    paths = [f"{letter}.txt" for letter in "abcdz"]
    chunks = await world.platform.adapters.index.visible(await index_name(world), commit.seq, commit.gaps, paths)
    return [(chunk.path, chunk.start, chunk.text) for chunk in chunks]


async def test_a_lost_index_is_seen_by_nobody_until_it_is_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "_BATCH", 3)
    before, index, name = await picture(world.platform), world.platform.adapters.index, await index_name(world)
    await index.drop(name)
    mend, written = index.mend, 0

    async def dying(to: str, *arguments: Any, **options: Any) -> None:
        nonlocal written
        written += 1
        assert to != name
        assert not await index.exists(name)
        if written == 3:
            raise asyncio.CancelledError
        await mend(to, *arguments, **options)

    monkeypatch.setattr(index, "mend", dying)
    with pytest.raises(asyncio.CancelledError):
        await world.platform.doctor.run(repair=True)
    assert {finding.kind for finding in (await world.platform.doctor.run()).findings} == {"lost-index", "orphan-collection"}
    assert (await world.platform.doctor.run(repair=True)).healthy
    assert await index.names() == [name]
    assert await picture(world.platform) == before


async def test_an_index_is_not_made_anew_from_a_damaged_version_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name, index = await index_name(world), world.platform.adapters.index
    head = await world.platform.adapters.catalog.head(NAME)

    async def damaged(*_: Any) -> Any:
        raise DataDirectoryError("The index is damaged.")

    async def unreadable(repo: str, commits: Collection[str]) -> list[str]:
        return [head.id] if head else []

    monkeypatch.setattr(index, "scan", damaged)
    monkeypatch.setattr(world.platform.adapters.versions, "verify", unreadable)
    report = await world.platform.doctor.run(repair=True)
    assert {finding.kind: finding.repairable for finding in report.findings} == {"broken-index": False, "unreadable-commit": False}
    assert await index.names() == [name]
