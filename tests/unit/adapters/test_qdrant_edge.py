"""What the contract does not say of Qdrant Edge: crashes, the disk, one owner, and HNSW built beside running reads and writes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_edge import EdgeShard

from ragstone.adapters import qdrant_edge_optimiser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.domain.errors import DataDirectoryError, InternalError, InvalidInput, NotFound, StorageFull, Unavailable
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate, Point
from ragstone.domain.spaces import Bm25Settings, EmbeddingSpace
from tests.support.points import DIMENSION, point, space, unit

NAME = "kb-1-space"
WORDS = ["quartz", "basalt", "granite", "gneiss", "marble", "slate", "chalk", "flint"]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[QdrantEdgeIndex]:
    index = QdrantEdgeIndex(tmp_path / "index", optimise_after=100)
    await index.create(NAME, space())
    yield index
    await index.aclose()


def some(count: int, seq: int) -> list[Point]:
    rng = np.random.default_rng(seq)
    return [
        point(f"{seq}-{i}.md", " ".join(rng.choice(WORDS, 9)), tuple(rng.normal(size=DIMENSION)), seq_from=seq, metadata={"n": i})
        for i in range(count)
    ]


async def ask(index: QdrantEdgeIndex, seq: int) -> list[list[Candidate]]:
    rng = np.random.default_rng(99)
    questions = [(unit(*rng.normal(size=DIMENSION)), " ".join(rng.choice(WORDS, 4))) for _ in range(10)]
    return [await index.search(NAME, seq, (), vector=v, text=t, filter=Filter(), limit=10, exact=True) for v, t in questions]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def generations(tmp_path: Path) -> list[str]:
    return [name for name in names(tmp_path / "index" / NAME) if name.startswith("g")]


async def reopened(index: QdrantEdgeIndex, tmp_path: Path) -> QdrantEdgeIndex:
    await index.aclose()
    return QdrantEdgeIndex(tmp_path / "index", optimise_after=100)


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from tests.support.points import point, space

async def main():
    index = QdrantEdgeIndex(Path(sys.argv[1]))
    await index.create("kb-1-space", space())
    for number in range(10_000):
        await index.insert("kb-1-space", [point(f"{number}-{i}.md", f"quartz {number}") for i in range(7)])
        await index.close_points("kb-1-space", [point(f"{number}-0.md", f"quartz {number}").chunk.id], 2, ())
        print(number, flush=True)

asyncio.run(main())
"""


def killed_writer(tmp_path: Path) -> int:
    """Number of rounds that it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "index"), *sys.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = 0
        for line in writer.stdout:
            acknowledged = int(line) + 1
            if acknowledged == 40:
                os.kill(writer.pid, signal.SIGKILL)
    return acknowledged


async def test_no_acknowledged_write_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(killed_writer, tmp_path)
    index = QdrantEdgeIndex(tmp_path / "index")
    assert await index.opened(NAME, 1) >= 7 * acknowledged
    assert await index.closed(NAME, 2) >= acknowledged
    paths = [f"{number}-{i}.md" for number in range(acknowledged) for i in range(7)]
    assert len(await index.visible(NAME, 1, (), paths)) == 7 * acknowledged
    assert len(await index.visible(NAME, 2, (), paths)) == 6 * acknowledged
    await index.aclose()


async def test_a_refused_write_leaves_nothing_to_be_replayed(index: QdrantEdgeIndex, tmp_path: Path) -> None:
    bad = Point(point("bad.md").chunk, np.array([1, float("nan"), 0, 0], np.float32))
    wrong_id = point("worse.md", id="no-uuid")
    for refused in (bad, wrong_id):
        with pytest.raises(InternalError):
            await index.insert(NAME, [point("good.md"), refused])
    again = await reopened(index, tmp_path)
    assert await again.opened(NAME, 1) == 0
    await again.aclose()


async def test_searches_are_identical_after_reopening(index: QdrantEdgeIndex, tmp_path: Path) -> None:
    await index.insert(NAME, some(200, 1))
    before = await ask(index, 1)
    await index.flush(NAME)
    again = await reopened(index, tmp_path)
    assert await ask(again, 1) == before
    await again.aclose()


async def test_a_second_owner_is_told_so(index: QdrantEdgeIndex, tmp_path: Path) -> None:
    await index.insert(NAME, [point()])
    second = QdrantEdgeIndex(tmp_path / "index")
    with pytest.raises(DataDirectoryError, match="another process"):
        await second.opened(NAME, 1)
    await second.aclose()


async def test_a_full_disk_is_noticed_before_anything_is_written(index: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    await index.insert(NAME, [point("a.md")])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))
    with pytest.raises(StorageFull):
        await index.insert(NAME, [point("b.md")])
    with pytest.raises(StorageFull):
        await index.close_points(NAME, [point("a.md").chunk.id], 2, ())
    with pytest.raises(StorageFull):
        await index.create("kb-2-space", space())
    assert not await index.exists("kb-2-space")
    assert await index.count_visible(NAME, 2, ()) == 1


async def test_an_unknown_language_is_invalid_input_and_makes_nothing(tmp_path: Path) -> None:
    index = QdrantEdgeIndex(tmp_path)
    klingon = EmbeddingSpace(space().model, (), space().chunker, Bm25Settings(language="klingon"))
    with pytest.raises(InvalidInput, match="klingon"):
        await index.create(NAME, klingon)
    assert names(tmp_path) == []
    await index.aclose()


async def test_names_that_could_leave_the_folder_are_not_found(index: QdrantEdgeIndex) -> None:
    for name in ("../x", "", ".new-1", "a/b"):
        assert not await index.exists(name)
        with pytest.raises(NotFound):
            await index.opened(name, 1)
        with pytest.raises(InvalidInput):
            await index.create(name, space())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.json").write_text("{"),
        lambda folder: (folder / "index.json").write_text(json.dumps({"format": 99})),
        lambda folder: shutil.rmtree(folder / "g1"),
        lambda folder: shutil.rmtree(folder / "g1" / "segments"),
    ],
    ids=["description", "newer format", "no shard", "no segments"],
)
async def test_a_damaged_or_newer_index_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    index = QdrantEdgeIndex(tmp_path)
    await index.create(NAME, space())
    await asyncio.to_thread(damage, tmp_path / NAME)
    with pytest.raises(DataDirectoryError):
        await index.opened(NAME, 1)
    await index.aclose()


async def test_what_a_crash_left_of_creating_and_dropping_is_removed(tmp_path: Path) -> None:
    for leftover in (".new-1", ".dropped-1"):
        (tmp_path / leftover / "g1").mkdir(parents=True)
    index = QdrantEdgeIndex(tmp_path)
    assert names(tmp_path) == []
    await index.aclose()


async def test_optimising_changes_no_result_and_keeps_what_is_written_meanwhile(
    index: QdrantEdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = some(400, 1)
    await index.insert(NAME, first)
    await index.close_points(NAME, [p.chunk.id for p in first[:20]], 2, ())
    before = await ask(index, 1), await ask(index, 2)
    copied, go_on = threading.Event(), threading.Event()
    in_child = qdrant_edge_optimiser.Optimiser._in_child

    def slowly(self: qdrant_edge_optimiser.Optimiser, script: str, *arguments: str | Path, failure: str) -> None:
        copied.set()
        go_on.wait()
        in_child(self, script, *arguments, failure=failure)

    monkeypatch.setattr(qdrant_edge_optimiser.Optimiser, "_in_child", slowly)
    running = asyncio.create_task(index.optimise(NAME))
    await asyncio.to_thread(copied.wait)
    await index.optimise(NAME)  # one at a time: returns at once
    await index.insert(NAME, some(50, 3))
    await index.close_points(NAME, [p.chunk.id for p in first[20:50]], 3, ())
    await index.insert(NAME, some(5, 4))
    await index.erase_attempts(NAME, [4])
    assert (await ask(index, 1), await ask(index, 2)) == before
    at_three = await ask(index, 3)
    go_on.set()
    await running

    assert generations(tmp_path) == ["g2"]
    for state in ("running", "reopened"):
        if state == "reopened":
            index = await reopened(index, tmp_path)
        assert (await ask(index, 1), await ask(index, 2)) == before, state
        assert await ask(index, 3) == at_three, state
        assert [await index.opened(NAME, a) for a in (1, 3, 4)] == [400, 50, 0], state
        assert [await index.closed(NAME, a) for a in (2, 3)] == [20, 30], state
    await index.aclose()
    shard = EdgeShard.load(str(tmp_path / "index" / NAME / "g2"))
    assert shard.info().indexed_vectors_count >= 400
    shard.close()


async def test_optimising_waits_until_it_is_worth_it(index: QdrantEdgeIndex, tmp_path: Path) -> None:
    await index.insert(NAME, some(99, 1))
    await index.optimise(NAME)
    assert generations(tmp_path) == ["g1"]
    await index.insert(NAME, some(1, 2))
    await index.optimise(NAME)
    await index.optimise(NAME)
    assert generations(tmp_path) == ["g2"]


async def test_a_failed_optimisation_leaves_the_index_as_it_was(
    index: QdrantEdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index.insert(NAME, some(150, 1))
    before = await ask(index, 1)
    monkeypatch.setattr(qdrant_edge_optimiser, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(Unavailable):
        await index.optimise(NAME)
    await index.insert(NAME, some(10, 2))
    index = await reopened(index, tmp_path)
    assert await ask(index, 1) == before
    assert await index.opened(NAME, 2) == 10
    assert generations(tmp_path) == ["g1"]
    await index.aclose()


@pytest.mark.parametrize("end", ["cancel", "close", "drop"])
async def test_an_optimisation_can_be_ended(index: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    await index.insert(NAME, some(150, 1))
    started = threading.Event()
    in_child = qdrant_edge_optimiser.Optimiser._in_child

    def tell(self: qdrant_edge_optimiser.Optimiser, script: str, *arguments: str | Path, failure: str) -> None:
        started.set()
        in_child(self, script, *arguments, failure=failure)

    monkeypatch.setattr(qdrant_edge_optimiser.Optimiser, "_in_child", tell)
    monkeypatch.setattr(qdrant_edge_optimiser, "_CHILD", "import threading; threading.Event().wait()")
    running = asyncio.create_task(index.optimise(NAME))
    await asyncio.to_thread(started.wait)
    match end:
        case "cancel":
            running.cancel()
        case "close":
            await index.aclose()
        case _:
            await index.drop(NAME)
    with pytest.raises((asyncio.CancelledError, Unavailable)):
        await running


_OPTIMISING = """
import sys
from pathlib import Path
from ragstone.adapters.qdrant_edge_files import IndexFiles
from ragstone.adapters.qdrant_edge_optimiser import Optimiser
child = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(1, file=file, flush=True); time.sleep(99)"
Optimiser(IndexFiles(Path(), "none"))._in_child(child, sys.argv[1], failure="")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_an_optimisation_does_not_outlive_a_killed_process(tmp_path: Path) -> None:
    held = tmp_path / "held"
    with subprocess.Popen([sys.executable, "-c", _OPTIMISING, str(held)]) as process:
        while not (held.exists() and held.read_text()):
            assert process.poll() is None
        process.kill()
    until = time.monotonic() + 20
    with held.open() as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # the child lives
                assert time.monotonic() < until
                time.sleep(0.01)
