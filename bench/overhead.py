"""The orchestrator's own time per /query: stub embedder, index and generator behind it, against a bare FastAPI route, in turns.

Both servers run as processes under the same uvicorn; both read the same request and send the same answer. What is ours includes the
interaction, stored in the real SQLite log before the answer ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from bench.overhead_servers import QUESTION
from bench.rows import Row, row

REQUESTS = 2400  # each server and number of clients
ROUNDS = 8  # turns that the servers take, so that both meet the same noise
WARM_UP = 200


class Client:
    """One keep-alive connection that posts the same body again and again, or another each time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._request = request

    async def ask(self, request: bytes | None = None) -> bytes:
        """The answer's body. Raises for any status but 200."""
        self._writer.write(request or self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await self._reader.readexactly(int(length.partition(b":")[2]))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def server(kind: str, directory: Path) -> AsyncIterator[int]:
    """A server process; gives its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.overhead_servers", kind, str(directory), stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def clients(port: int, number: int) -> AsyncIterator[list[Client]]:
    """Open connections to a server on loopback."""
    body = json.dumps(QUESTION).encode()
    head = f"POST /query HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    opened = [Client(*await asyncio.open_connection("127.0.0.1", port), head.encode() + body) for _ in range(number)]
    try:
        yield opened
    finally:
        for client in opened:
            await client.close()


async def drive(opened: list[Client], requests: int) -> list[float]:
    """Seconds of each request, every client asking again as soon as it has its answer."""
    taken: list[float] = []

    async def one(client: Client) -> None:
        for _ in range(requests // len(opened)):
            began = time.perf_counter()
            await client.ask()
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(one(client) for client in opened))
    return taken


async def compare(ours: int, bare: int, number: int) -> list[Row]:
    """Both servers in turns, with `number` clients."""
    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    async with clients(ours, number) as to_ours, clients(bare, number) as to_bare:
        for opened in (to_ours, to_bare):
            await drive(opened, max(WARM_UP, number))
        for _ in range(ROUNDS):
            taken["ours"] += await drive(to_ours, REQUESTS // ROUNDS)
            taken["bare"] += await drive(to_bare, REQUESTS // ROUNDS)
    figures = {name: np.percentile(np.array(times) * 1e3, [50, 99]) for name, times in taken.items()}
    label = "1 client" if number == 1 else f"{number} clients"
    rows = []
    for place, (percentile, bar) in enumerate((("p50", 3.0), ("p99", 4.0))):
        mine, theirs = float(figures["ours"][place]), float(figures["bare"][place])
        note = f"{mine:.2f} ms against {theirs:.2f} ms of a bare FastAPI route"
        rows.append(
            row(f"orchestrator's own time per /query, {percentile}, {label}", mine / theirs, "x", "<=", bar, len(taken["ours"]), note)
        )
    return rows


async def rows(data: Path) -> list[Row]:
    """p50 and p99 against the bare route, at 1 and 64 clients."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with server("ours", directory) as ours:
            async with clients(ours, 1) as (client,):
                (directory / "answer.json").write_bytes(await client.ask())
            async with server("bare", directory) as bare:
                return [*await compare(ours, bare, 1), *await compare(ours, bare, 64)]
