"""Kills of a process that fills a space, while a writer and a reader of its own are at work."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragstone.domain.commits import Snapshot
from ragstone.domain.errors import RagstoneError
from ragstone.domain.retrieval import Vectors
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import space_filler
from tests.crash.oracle import COLLECTION, Expected, findings, keys
from tests.crash.processes import Child, Tell, fork
from tests.crash.results import RefillResult
from tests.crash.script import Client, Step, text
from tests.crash.world import OTHER, CrashWorld, opened, scratch, soon

_DOCUMENTS = 300
_PATHS = tuple(f"book/{number:03}.txt" for number in range(_DOCUMENTS))
_LIVES = (0.3, 0.9)  # seconds that a process lives once it fills
_BATCH = 32  # chunks: small, so that what a kill costs is far less than what is filled
_SECONDS_A_TEXT = 0.006  # that the model takes: a kill shall find it at work


def run(seed: int, kills: int, told: Callable[[str], None] = lambda _: None) -> RefillResult:
    """This process must have no threads."""
    began, dice = time.monotonic(), random.Random(seed)
    space_filler._CHUNKS = _BATCH  # here and in every fork
    embedded: list[str] = []
    reads, notes = 0, list[str]()
    with scratch() as work:
        directory = work / "data"
        _, status = fork(lambda _: asyncio.run(_begin(directory))).wait()
        if status:
            raise RuntimeError("the collection to fill could not be made")
        for life in range(kills + 1):
            child = fork(lambda tell, life=life: asyncio.run(_live(directory, life, tell)))  # type: ignore[misc]
            lines, status = _lived(child, None if life == kills else dice.uniform(*_LIVES))
            embedded += [line[1] for line in lines if line[0] == "embedded"]
            reads += sum(line[0] == "read" for line in lines)
            notes += [line[1] for line in lines if line[0] == "note"]
            if status != (0 if life == kills else -signal.SIGKILL):
                notes.append(f"process {life} ended with {status}")
            told(f"process {life}: {len(embedded)} texts so far")
    again = len(embedded) - len(set(embedded))
    return RefillResult(seed, kills, len(set(embedded)), again, batch(), reads, tuple(notes), time.monotonic() - began)


def batch() -> int:
    """The most texts that a killed process may have embedded in vain: a batch, and the document that was being ingested."""
    return space_filler._CHUNKS + space_filler._READ * 3 + 3


def _lived(child: Child, seconds: float | None) -> tuple[list[Any], int]:
    """What a process told, and how it ended. `seconds` after it has begun to fill it is killed, unless None."""
    lines: list[Any] = []
    until: float | None = None
    while not child.ended:
        lines += child.read(0.02)
        if seconds is not None and until is None and any(line[0] == "embedded" for line in lines):
            until = time.monotonic() + seconds
        if until is not None and time.monotonic() >= until:
            child.kill()
            until = None
    rest, status = child.wait()
    return lines + rest, status


async def _begin(directory: Path) -> None:
    async with opened(directory) as world:
        await world.platform.collections.create(COLLECTION)
        puts = {path: text(path, f"Page {number} of the book.", f"It has {number} words.") for number, path in enumerate(_PATHS)}
        await Client(Step("begin", puts)).done(world)


async def _live(directory: Path, life: int, tell: Tell) -> None:
    """Fills until it is killed; the last one until the space is read, and whole."""
    async with opened(directory, start=False) as world:
        _record(world, tell)
        await world.platform.start()
        over = asyncio.Event()
        beside = [asyncio.create_task(_write(world, life, over)), asyncio.create_task(_read(world, tell, over))]
        await Client(Step(f"switch-{life}", space="switch")).done(world)
        over.set()
        await asyncio.gather(*beside)
        left: list[str] = []

        async def clean() -> bool:
            await world.platform.sweeper.sweep()
            left[:] = await findings(world.bare)
            return not left

        if not await soon(clean):
            for note in left:
                tell(["note", note])


def _record(world: CrashWorld, tell: Tell) -> None:
    """Every text that the other model embeds is told before its vector is anybody's."""
    model = world.bare.further[0]
    original = model.embed_passages

    async def embed(texts: Sequence[str]) -> Vectors:
        vectors = await original(texts)
        await asyncio.sleep(_SECONDS_A_TEXT * len(texts))
        for each in texts:
            tell(["embedded", hashlib.sha256(each.encode()).hexdigest()])
        return vectors

    model.embed_passages = embed  # type: ignore[method-assign]


async def _write(world: CrashWorld, life: int, over: asyncio.Event) -> None:
    """Changes a document of the book again and again."""
    number = 0
    while not over.is_set():
        number += 1
        path = _PATHS[(37 * number + life) % _DOCUMENTS]
        upload = Upload(path, text(path, f"Edition {life}.{number}.", "It is revised.").encode(), "text/plain")
        with suppress(RagstoneError):
            job = await world.platform.ingest.submit(COLLECTION, IngestRequest((upload,), message=f"{life}.{number}"))
            await world.platform.ingest.wait(job.id, 20)
        await asyncio.sleep(0.05)


async def _read(world: CrashWorld, tell: Tell, over: asyncio.Event) -> None:
    """The head, again and again: its space's index shows exactly what its documents have."""
    expected, index = Expected(world.bare), world.bare.index
    while not over.is_set():
        collection, snapshot = await world.platform.snapshots.resolve(COLLECTION)
        if problem := await _mixed(world, collection.index_name(snapshot.space_id), snapshot, expected):
            tell(["note", problem])
        vectors = collection.space(snapshot.space_id).model
        dimension = 24 if vectors.revision == OTHER else 32
        if vectors.dimension != dimension or not await index.exists(collection.index_name(snapshot.space_id)):
            tell(["note", f"a read of {snapshot.commit_id} goes to an index of another model"])
        tell(["read"])
        await asyncio.sleep(0.02)


async def _mixed(world: CrashWorld, name: str, snapshot: Snapshot, expected: Expected) -> str | None:
    collection = await world.bare.catalog.collection(COLLECTION)
    infos = await world.bare.versions.documents(collection.uid, snapshot.commit_id, limit=10_000)
    wanted = await expected.of(collection, snapshot.commit_id, infos)
    shown = await world.bare.index.visible(name, snapshot.seq, snapshot.gaps, [info.path for info in infos])
    if keys(shown) == wanted and len(shown) == len(wanted) == await world.bare.index.count_visible(name, snapshot.seq, snapshot.gaps):
        return None
    return f"a read of #{snapshot.position} shows {len(shown)} chunks, its documents have {len(wanted)}"
