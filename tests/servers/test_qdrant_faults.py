"""A Qdrant server that is killed, stopped, hangs, or knows another key; and what is left on its disk after a compaction."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from ragstone.adapters.qdrant_server import QdrantServerIndex
from ragstone.domain.commits import OPEN
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Unavailable
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate, Point
from tests.servers import qdrant
from tests.support.points import point, space, unit

pytestmark = pytest.mark.servers
NAME = "kb-1-space"
T = TypeVar("T")


async def ask(index: QdrantServerIndex, text: str = "quartz", limit: int = 10) -> list[Candidate]:
    return await index.search(NAME, 1, (), vector=unit(1), text=text, filter=Filter(), limit=limit, exact=True)


async def test_no_acknowledged_point_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    closed: set[str] = set()
    ports = qdrant.free_ports()
    prefix = ""
    for round_ in range(3):
        with qdrant.serving(tmp_path, ports) as (url, process):
            server = qdrant.server(url, timeout=5.0)
            server = replace(server, prefix=prefix or server.prefix)
            prefix = server.prefix
            adapter = qdrant.index(server)
            await adapter.create(NAME, space())
            written = asyncio.create_task(_writing(adapter, round_, acknowledged, closed, process))
            await written
            await adapter.aclose()
    with qdrant.serving(tmp_path, ports) as (url, _):
        adapter = qdrant.index(replace(qdrant.server(url), prefix=prefix))
        found = await adapter.chunks(NAME, sorted(acknowledged))
        assert found.keys() == acknowledged
        assert len(acknowledged) > 300
        assert {id_ for id_ in closed if found[id_].seq_to == OPEN} == set()
        assert closed
        await adapter.aclose()


async def _writing(
    adapter: QdrantServerIndex, round_: int, acknowledged: set[str], closed: set[str], process: subprocess.Popen[bytes]
) -> None:
    """Writes from four tasks until the server is dead, which it is once some hundred points have been acknowledged."""
    enough = len(acknowledged) + 200

    async def writer(number: int) -> None:
        batch = 0
        while True:
            points = [point(f"{round_}-{number}-{batch}-{i}.md", f"quartz {i}") for i in range(10)]
            batch += 1
            try:
                await adapter.insert(NAME, points)
                acknowledged.update(p.chunk.id for p in points)
                await adapter.close_points(NAME, [points[0].chunk.id], 2, ())
                closed.add(points[0].chunk.id)
            except Unavailable:
                return
            if len(acknowledged) >= enough and process.poll() is None:
                process.send_signal(signal.SIGKILL)

    await asyncio.gather(*(writer(number) for number in range(4)))
    process.wait(10)


async def test_it_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    ports = qdrant.free_ports()
    with qdrant.serving(tmp_path, ports) as (url, _):
        adapter = qdrant.index(qdrant.server(url, timeout=3.0))
        await adapter.create(NAME, space())
        await adapter.insert(NAME, [point()])
    with pytest.raises(Unavailable) as raised:
        await adapter.insert(NAME, [point("b.md")])
    assert raised.value.field == "index"
    assert raised.value.retry_after
    with qdrant.serving(tmp_path, ports):
        found = await _again(lambda: ask(adapter))
        assert len(found) == 1
        await adapter.aclose()


async def test_a_server_that_hangs_is_told_in_time_and_loses_nothing(tmp_path: Path) -> None:
    with qdrant.serving(tmp_path) as (url, process):
        server = qdrant.server(url)
        patient, adapter = qdrant.index(server), qdrant.index(replace(server, timeout=1.0))
        await patient.create(NAME, space())  # which takes longer than a second on a busy machine
        await patient.insert(NAME, [point()])
        await _again(lambda: ask(adapter))  # it is connected, and knows the index
        process.send_signal(signal.SIGSTOP)
        try:
            began = asyncio.get_running_loop().time()
            with pytest.raises(Unavailable), deadline(2.0):
                await adapter.insert(NAME, [point("b.md")])
            assert asyncio.get_running_loop().time() - began < 5
        finally:
            process.send_signal(signal.SIGCONT)
        await _again(lambda: adapter.insert(NAME, [point("b.md")]))  # whether the server took the first one or not
        assert {c.path for c in await patient.visible(NAME, 1, (), ["a.md", "b.md"])} == {"a.md", "b.md"}
        assert await patient.opened(NAME, 1) == 2
        await patient.aclose()
        await adapter.aclose()


async def _again(work: Callable[[], Awaitable[T]]) -> T:
    """Until the circuit breaker has let a call pass."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await work()
            except Unavailable as error:
                await asyncio.sleep(error.retry_after or 0.1)


async def test_a_key_is_asked_for_at_every_call_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    keys = ["right"]
    with qdrant.serving(tmp_path, environment={"SERVICE__API_KEY": "right"}) as (url, _):
        adapter = qdrant.index(qdrant.server(url, api_key=lambda: keys[-1], timeout=2.0))
        assert await adapter.names() == []
        keys.append("wrong")
        with pytest.raises(Unavailable, match=r"index\.api_key"):
            await adapter.names()
        keys.append("right")
        assert await adapter.names() == []
        await adapter.aclose()


async def test_compaction_leaves_no_deleted_text_on_the_disk(tmp_path: Path) -> None:
    secret = b"zebra crossing at midnight"
    with qdrant.serving(tmp_path) as (url, _):
        adapter = qdrant.index(qdrant.server(url))
        await adapter.create(NAME, space())
        kept: list[Point] = [point(f"{i}.md", f"kept text {i}", (1, i)) for i in range(300)]
        doomed = point("doomed.md", secret.decode() + " quartz")
        await adapter.insert(NAME, [*kept, doomed])
        await adapter.erase_path(NAME, "doomed.md", 1)
        before = await ask(adapter, text="kept", limit=400)
        assert _holding(tmp_path, secret)
        await adapter.compact(NAME)
        assert await ask(adapter, text="kept", limit=400) == before
        assert _holding(tmp_path, secret) == []
        await adapter.aclose()


def _holding(folder: Path, content: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and content in file.read_bytes()]
