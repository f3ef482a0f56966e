"""Points that were damaged in any way, over the fakes: the doctor finds it, and makes every commit what it was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragstone.domain.commits import OPEN
from ragstone.domain.documents import content_hash
from ragstone.domain.findings import CheckProgress, CheckReport, FindingKind
from ragstone.domain.ids import chunk_id
from ragstone.domain.retrieval import IndexedChunk, Point
from ragstone.use_cases.doctor import doctor
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.support.checkup import NAME, change, fill, picture, upload
from tests.support.world import World, fake_world

Points = dict[str, Point]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await fill(world.platform)
    return world


def stored(world: World) -> Points:
    index = world.platform.adapters.index
    assert isinstance(index, InMemoryVectorIndex)
    ((_, held),) = index._indexes.items()
    return held.points


def chunks(points: Points) -> dict[str, IndexedChunk]:
    return {id_: point.chunk for id_, point in points.items()}


def changed(points: Points, id_: str, **fields: object) -> None:
    points[id_] = replace(points[id_], chunk=replace(points[id_].chunk, **fields))  # type: ignore[arg-type]


def copy(points: Points, id_: str, **fields: object) -> None:
    """A second point, with the id that its writer would have given it."""
    chunk: IndexedChunk = replace(points[id_].chunk, **fields)  # type: ignore[arg-type]
    chunk = replace(chunk, content_hash=content_hash(chunk.heading_path, chunk.text))
    chunk = replace(chunk, id=chunk_id(chunk.path, chunk.content_hash, chunk.occurrence, chunk.seq_from))
    points[chunk.id] = Point(chunk, points[id_].vector)


async def check(world: World, *, repair: bool = False) -> CheckReport:
    return await world.platform.doctor.run(repair=repair)


async def test_a_healthy_platform_has_no_findings(world: World) -> None:
    report = await check(world)
    assert report.findings == ()
    assert report.healthy
    assert (report.collections, report.commits) == (1, 7)
    assert report.points == len(stored(world))
    written = chunks(stored(world))
    assert (await check(world, repair=True)).findings == ()
    assert chunks(stored(world)) == written


Damage = Callable[[Points, str], object]
DAMAGES: dict[str, tuple[Damage, set[FindingKind]]] = {
    "deleted": (lambda points, id_: points.pop(id_), {"missing-points"}),
    "text": (lambda points, id_: changed(points, id_, text="something else"), {"malformed-points", "missing-points"}),
    "zeros": (lambda points, id_: points.update({id_: replace(points[id_], vector=points[id_].vector * 0)}), {"malformed-points"}),
    "place": (lambda points, id_: changed(points, id_, start=7000, end=7003), {"missing-points", "stale-points"}),
    "metadata": (lambda points, id_: changed(points, id_, metadata={"team": "nobody"}), {"missing-points", "stale-points"}),
    "checksum": (lambda points, id_: changed(points, id_, checksum="0" * 64), {"malformed-points"}),
    "commit": (lambda points, id_: changed(points, id_, commit_id="0" * 40), {"malformed-points"}),
    "ghost": (lambda points, id_: copy(points, id_, seq_from=4), {"ghost-points"}),
    "orphan": (lambda points, id_: copy(points, id_, path="z.txt"), {"orphan-points"}),
    "stale": (lambda points, id_: copy(points, id_, text="was never there"), {"stale-points"}),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_to_a_point_is_named_and_mended(world: World, name: str) -> None:
    before, (damage, kinds) = await picture(world.platform), DAMAGES[name]
    points = stored(world)
    undamaged = chunks(points)
    (id_,) = [id_ for id_, point in points.items() if point.chunk.path == "a.txt" and point.chunk.seq_from == 1 and point.chunk.start == 0]
    damage(points, id_)
    report = await check(world)
    assert {finding.kind for finding in report.findings} == kinds
    assert not report.healthy
    repaired = await check(world, repair=True)
    assert repaired.healthy
    assert {finding.kind for finding in repaired.findings} == kinds
    assert all(finding.repaired for finding in repaired.findings)
    assert await picture(world.platform) == before
    assert (await check(world)).findings == ()
    assert chunks(points) == undamaged


@pytest.mark.parametrize(
    ("seq_to", "kinds"),
    [
        (4, {"ghost-points"}),
        (3, {"missing-points"}),
        (2, {"missing-points"}),
        (OPEN, {"stale-points"}),
        (1, {"ghost-points", "missing-points"}),
    ],
)
async def test_a_wrong_end_is_set_right(world: World, seq_to: int, kinds: set[FindingKind]) -> None:
    """`ferry ten` began with commit 2 (seq 2), and ended with the commit of seq 5, or later. Attempt 4 failed."""
    before, points = await picture(world.platform), stored(world)
    undamaged = chunks(points)
    path_points = sorted(
        (p.chunk.start, p.chunk.seq_from, p.chunk.id) for p in points.values() if p.chunk.path == "b.txt" and p.chunk.seq_to != OPEN
    )
    id_ = path_points[0][2]
    assert points[id_].chunk.seq_to == 3
    if seq_to == 3:
        seq_to = 2
    changed(points, id_, seq_to=seq_to)
    report = await check(world, repair=True)
    found = {finding.kind for finding in report.findings}
    assert kinds <= found | {"orphan-points", "stale-points"}
    assert report.healthy
    assert await picture(world.platform) == before
    assert chunks(points) == undamaged


async def test_two_points_of_one_passage_become_one(world: World) -> None:
    before, points = await picture(world.platform), stored(world)
    undamaged = chunks(points)
    first = next(id_ for id_, point in points.items() if point.chunk.path == "c.txt" and point.chunk.seq_from == 2)
    copy(points, first, seq_from=3, commit_id=(await commits(world))[3])
    assert {finding.kind for finding in (await check(world)).findings} == {"overlapping-points"}
    assert (await check(world, repair=True)).healthy
    assert await picture(world.platform) == before
    assert chunks(points) == undamaged


async def commits(world: World) -> dict[int, str]:
    return {commit.seq: commit.id for commit in await world.platform.adapters.catalog.commits(NAME)}


@pytest.mark.parametrize("seed", range(25))
async def test_any_mixture_of_damage_is_mended_in_one_go(world: World, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ROUNDS", 2)  # the second only looks
    dice = random.Random(seed)
    before, points = await picture(world.platform), stored(world)
    ids = await commits(world)
    for _ in range(dice.randint(1, 12)):
        id_ = dice.choice(sorted(points))
        seq = dice.choice(sorted(ids))
        match dice.randrange(7):
            case 0:
                del points[id_]
            case 1:
                changed(points, id_, seq_to=dice.choice([*range(1, 9), OPEN]))
            case 2:
                points[id_] = replace(points[id_], vector=np.zeros_like(points[id_].vector))
            case 3:
                copy(points, id_, seq_from=seq, commit_id=ids[seq])
            case 4:
                copy(points, id_, path=dice.choice(["a.txt", "z.txt"]), seq_from=seq, commit_id=ids[seq])
            case 5:
                changed(points, id_, text="edited")
            case _:
                copy(points, id_, seq_from=4)
    assert (await check(world, repair=True)).healthy
    assert (await check(world)).findings == ()
    assert await picture(world.platform) == before


async def test_points_of_attempts_that_run_or_wait_for_their_cleaning_are_left_alone(world: World) -> None:
    catalog, points = world.platform.adapters.catalog, stored(world)
    id_ = sorted(points)[0]
    copy(points, id_, seq_from=99)
    changed(points, id_, seq_to=100)
    known = chunks(points)
    assert (await check(world, repair=True)).findings == ()
    assert chunks(points) == known
    assert await catalog.aborted(NAME) == []


async def test_a_repair_beside_a_writer_leaves_what_the_writer_publishes_right(world: World) -> None:
    points = stored(world)
    for id_ in [id_ for id_, point in points.items() if point.chunk.path == "a.txt"]:
        del points[id_]
    texts = [upload("a.txt", "ferry ten", f"new {number}") for number in range(8)]
    reports = await asyncio.gather(check(world, repair=True), *(change(world.platform, text) for text in texts))
    assert isinstance(reports[0], CheckReport)
    assert (await check(world, repair=True)).healthy
    assert (await check(world)).findings == ()


async def test_the_watcher_is_told_how_far_it_is_and_gets_the_report(world: World) -> None:
    seen = [step async for step in world.platform.doctor.watch(collection=NAME)]
    assert isinstance(seen[-1], CheckReport)
    assert all(isinstance(step, CheckProgress) for step in seen[:-1])
