"""Writers that stop, lose their lease, and wake up after others have published: what they then write must change no read, and the doctor removes it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragstone.adapters.failpoints import Failpoint, Failpoints
from ragstone.domain.errors import RagstoneError
from ragstone.domain.filters import Filter
from tests.crash.oracle import COLLECTION, QUESTIONS, commits, picture, points
from tests.crash.results import ZombieResult
from tests.crash.running import run_writer
from tests.crash.script import HISTORY, Client, Step, text
from tests.crash.world import CrashWorld, opened

# Where each of them stops: before its batch of points, after it, before it closes others' points, before it makes its branch, before it publishes.
_STOPS = ("index.insert.before", "index.insert.after", "index.close_points.before", "versions.stage.before", "catalog.publish.before")
_LATER = 2  # commits that are published, besides the stopped job itself, before the writer wakes up


async def run(directory: Path) -> ZombieResult:
    """One late writer after the other in one collection, then the doctor."""
    paused, go = asyncio.Event(), asyncio.Event()

    async def pause(_: str) -> None:
        paused.set()
        await go.wait()

    reads = changed = 0
    async with opened(directory, failpoints=Failpoints(pause=pause)) as world:
        await world.platform.collections.create(COLLECTION)
        for step in HISTORY[:3]:
            await Client(step).done(world)
        await world.platform.adapters.queue.stop()
        await world.platform.sweeper.stop()  # on a slow machine its turn would come while a late writer waits, which it takes to be gone
        for number, stop in enumerate(_STOPS):
            paused.clear()
            go.clear()
            world.failpoints.arm(Failpoint(stop, "pause"))
            late = asyncio.create_task(_late(world, number))
            await paused.wait()
            world.clock.move(61)
            for later in range(_LATER + 1):  # the stopped job is the first that is published
                await run_writer(world.writer("B"), await Client(_step(f"later-{number}-{later}", later)).accepted(world))
            before = await _reads(world)
            go.set()
            await late
            after = await _reads(world)
            reads += len(after)
            changed += sum(one != other for one, other in zip(before, after, strict=True))
        return await _examined(world, reads, changed)


async def _late(world: CrashWorld, number: int) -> None:
    job = await Client(_step(f"stopped-{number}", 9)).accepted(world)
    with suppress(RagstoneError):  # it has lost its lease, and is told so when it wants to publish
        await world.writer(f"late {number}", world.platform.adapters).run(COLLECTION, job)


def _step(name: str, hour: int) -> Step:
    return Step(
        name,
        {"ferry.txt": text("ferry", f"The ferry leaves at {hour} by {name}.", "Bring a warm coat."), f"{name}.txt": text(name, "Lamp.")},
    )


async def _reads(world: CrashWorld) -> list[Any]:
    """What each commit shows, and what is found at it, scores and ids included; and at the head as the head is read."""
    collection = await world.bare.catalog.collection(COLLECTION)
    index = world.bare.index
    found: list[Any] = [*await picture(world)]
    for commit in await commits(world.bare):
        name = collection.index_name(commit.space_id)
        infos = await world.bare.versions.documents(collection.uid, commit.id)
        found.append(await index.visible(name, commit.seq, commit.gaps, [info.path for info in infos]))
        found.append(await index.count_visible(name, commit.seq, commit.gaps))
        for question in QUESTIONS:
            vector = (await world.bare.embedder.embed_queries([question]))[0]
            found += [
                await index.search(name, commit.seq, commit.gaps, vector=vector, text=question, filter=Filter(), limit=8, exact=exact)
                for exact in (True, False)
            ]
    return found


async def _examined(world: CrashWorld, reads: int, changed: int) -> ZombieResult:
    aborted = set(await world.bare.catalog.aborted(COLLECTION))
    remains = await _remains(world, aborted)
    seen = await world.platform.doctor.run()
    told = sum(finding.count for finding in seen.findings if finding.kind == "remains")
    repaired = await world.platform.doctor.run(repair=True)
    left = await _remains(world, aborted)
    last = await world.platform.doctor.run()
    notes = [f"{one.kind}: {one.what}" for report in (seen, repaired) for one in report.findings if one.kind != "remains"]
    notes += [f"{one.kind} is left: {one.what}" for one in last.findings]
    return ZombieResult(reads, changed, len(remains), min(told, len(remains)), len(remains - left), tuple(notes))


async def _remains(world: CrashWorld, attempts: set[int]) -> set[int]:
    """Those of the attempts that have points or a branch."""
    collection = await world.bare.catalog.collection(COLLECTION)
    branches = set(await world.bare.versions.attempts(collection.uid))
    stored = await points(world.bare, collection.index_name(collection.space_id))
    return attempts & (branches | {seq for point in stored for seq in (point.seq_from, point.seq_to) if seq is not None})
