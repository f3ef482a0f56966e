"""Compaction of an index: no byte of what was deleted is left, in any file, and whatever happens on the way the original counts."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from qdrant_edge import EdgeShard

from ragstone.adapters import qdrant_edge_optimiser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.qdrant_edge_files import IndexFiles, IndexState
from ragstone.adapters.sparse_files import data_runs, pieces
from ragstone.domain.errors import InternalError, NotFound, StorageFull, Unavailable
from tests.support.points import point, space
from tests.unit.adapters.test_qdrant_edge import NAME, ask, generations, index, reopened, some

__all__ = ["index"]  # the fixture
CANARY = "xylocanary"


def remains(tmp_path: Path) -> list[str]:
    """Files below the index's directory that hold the canary."""
    return [str(path.relative_to(tmp_path)) for path in (tmp_path / "index").rglob("*") if path.is_file() and holds_canary(path)]


def holds_canary(path: Path) -> bool:
    with path.open("rb") as file:  # most of it is holes
        return any(CANARY.encode() in b"".join(pieces(file, *run)) for run in data_runs(file))


async def fill(index: QdrantEdgeIndex) -> None:
    """300 points, and the canary in text, title, heading and metadata of a document that lived through three commits and is erased."""
    await index.insert(NAME, some(300, 1))
    for seq in (1, 2, 3):
        metadata = {"owner": CANARY, CANARY: "x", f"{CANARY}-number": 7.0}
        texts = [f"{CANARY} {seq} {i}" for i in range(20)]
        points = [point(f"{CANARY}.md", t, seq_from=seq, metadata=metadata, title=CANARY, heading_path=(CANARY,)) for t in texts]
        await index.insert(NAME, points)
        await index.close_points(NAME, [p.chunk.id for p in points[:10]], seq + 1, ())
    await index.flush(NAME)
    assert await index.erase_path(NAME, f"{CANARY}.md", 3) == 60


@pytest.mark.parametrize("hnsw", [False, True], ids=["scanned", "hnsw"])
async def test_no_file_holds_a_byte_of_what_was_erased(index: QdrantEdgeIndex, tmp_path: Path, *, hnsw: bool) -> None:
    await fill(index)
    if hnsw:
        await index.optimise(NAME)
    assert await asyncio.to_thread(remains, tmp_path)  # deleting alone leaves it
    before = await ask(index, 1)
    size = await index.size(NAME)
    await index.compact(NAME)
    assert await asyncio.to_thread(remains, tmp_path) == []
    assert len(generations(tmp_path)) == 1
    assert await ask(index, 1) == before
    assert await index.size(NAME) < size * 2
    state = IndexFiles(tmp_path / "index", NAME).read()
    assert (state.generation, state.optimised_points) == ((3, 300) if hnsw else (2, 0))
    await index.aclose()
    shard = await asyncio.to_thread(opened, tmp_path)
    assert shard.info().indexed_vectors_count == (900 if hnsw else 600)  # the sparse ones always are
    assert [name for name in shard.info().payload_schema if "." in name] == ["numbers.n"]
    shard.close()
    assert await asyncio.to_thread(remains, tmp_path) == []


def opened(tmp_path: Path) -> EdgeShard:
    """The one shard that there is; the index must not be in use."""
    (name,) = generations(tmp_path)
    return EdgeShard.load(str(tmp_path / "index" / NAME / name))


async def test_what_is_written_meanwhile_is_kept_and_what_was_erased_stays_erased(
    index: QdrantEdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(index)
    copied, go_on = threading.Event(), threading.Event()
    in_child = qdrant_edge_optimiser.Optimiser._in_child

    def slowly(self: qdrant_edge_optimiser.Optimiser, script: str, *arguments: str | Path, failure: str) -> None:
        copied.set()
        go_on.wait()
        in_child(self, script, *arguments, failure=failure)

    monkeypatch.setattr(qdrant_edge_optimiser.Optimiser, "_in_child", slowly)
    running = asyncio.create_task(index.compact(NAME))
    await asyncio.to_thread(copied.wait)
    await index.optimise(NAME)  # returns at once: never both
    first = some(300, 1)
    await index.insert(NAME, some(40, 5))
    await index.close_points(NAME, [p.chunk.id for p in first[:30]], 5, ())
    await index.erase_path(NAME, "1-200.md", 9)
    at_one, at_five = await ask(index, 1), await ask(index, 5)
    go_on.set()
    await running
    assert (await ask(index, 1), await ask(index, 5)) == (at_one, at_five)
    assert await asyncio.to_thread(remains, tmp_path) == []
    index = await reopened(index, tmp_path)
    assert (await ask(index, 1), await ask(index, 5)) == (at_one, at_five)
    assert [await index.opened(NAME, 1), await index.opened(NAME, 5), await index.closed(NAME, 5)] == [299, 40, 30]
    await index.aclose()


@pytest.mark.parametrize("failing", ["after naming it", "no room"])
async def test_a_failed_compaction_leaves_the_index_as_it_was(
    index: QdrantEdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    await fill(index)
    before = await ask(index, 1)
    write = IndexFiles.write
    calls: list[int] = []

    def broken(self: IndexFiles, state: IndexState) -> None:
        calls.append(1)
        write(self, state)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if failing == "no room":
            patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=129 * 2**20))
        else:
            patch.setattr(IndexFiles, "write", broken)
        with pytest.raises(StorageFull if failing == "no room" else InternalError):
            await index.compact(NAME)
    assert len(generations(tmp_path)) == 1
    await index.insert(NAME, some(10, 4))
    assert await ask(index, 1) == before
    index = await reopened(index, tmp_path)
    assert await ask(index, 1) == before
    assert await index.opened(NAME, 4) == 10
    await index.compact(NAME)
    assert await asyncio.to_thread(remains, tmp_path) == []
    assert await ask(index, 1) == before
    await index.aclose()


@pytest.mark.parametrize("end", ["cancel", "close", "drop"])
async def test_a_compaction_can_be_ended(index: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    await index.insert(NAME, some(150, 1))
    started = threading.Event()
    in_child = qdrant_edge_optimiser.Optimiser._in_child

    def tell(self: qdrant_edge_optimiser.Optimiser, script: str, *arguments: str | Path, failure: str) -> None:
        started.set()
        in_child(self, script, *arguments, failure=failure)

    monkeypatch.setattr(qdrant_edge_optimiser.Optimiser, "_in_child", tell)
    monkeypatch.setattr(qdrant_edge_optimiser, "_COMPACTING_CHILD", "import threading; threading.Event().wait()")
    running = asyncio.create_task(index.compact(NAME))
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


async def test_an_index_that_takes_its_name_meanwhile_is_left_alone(
    index: QdrantEdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index.insert(NAME, some(20, 1))
    await index.compact(NAME)
    assert generations(tmp_path) == ["g2"]
    copied, go_on = threading.Event(), threading.Event()

    def slowly(*_: object, **__: object) -> None:
        copied.set()
        go_on.wait()

    monkeypatch.setattr(qdrant_edge_optimiser.Optimiser, "_in_child", slowly)
    running = asyncio.create_task(index.compact(NAME))
    await asyncio.to_thread(copied.wait)
    await index.drop(NAME)
    await index.create(NAME, space())
    await index.insert(NAME, some(7, 1))
    go_on.set()
    with pytest.raises(NotFound):
        await running
    assert generations(tmp_path) == ["g1"]
    index = await reopened(index, tmp_path)
    assert await index.opened(NAME, 1) == 7
    await index.aclose()


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from ragstone.adapters import qdrant_edge_optimiser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.qdrant_edge_files import IndexFiles
from tests.support.points import space
from tests.unit.adapters.test_qdrant_edge_compaction import NAME, fill

def here(*_, **__):
    print("here", flush=True)
    while True:
        sys.stdin.read()

async def main():
    index = QdrantEdgeIndex(Path(sys.argv[1]), optimise_after=100)
    await index.create(NAME, space())
    await fill(index)
    write = IndexFiles.write
    match sys.argv[2]:
        case "rewritten":
            IndexFiles.write = here
        case "named":
            IndexFiles.write = lambda *arguments: here(write(*arguments))
    await index.compact(NAME)

asyncio.run(main())
"""


def killed_at(tmp_path: Path, place: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "index"), place, *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("place", ["rewritten", "named"])
async def test_a_kill_in_the_middle_of_it_loses_nothing(tmp_path: Path, place: str) -> None:
    await asyncio.to_thread(killed_at, tmp_path, place)
    index = QdrantEdgeIndex(tmp_path / "index")
    assert await index.opened(NAME, 1) == await index.count_visible(NAME, 1, ()) == 300
    first = await ask(index, 1)
    assert len(generations(tmp_path)) == 1
    assert bool(await asyncio.to_thread(remains, tmp_path)) == (place != "named")
    await index.compact(NAME)
    assert await asyncio.to_thread(remains, tmp_path) == []
    assert await ask(index, 1) == first
    await index.aclose()
