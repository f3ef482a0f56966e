"""Overload: 1,000 clients on one API process over stub models, twice, against the same process with 64 clients.

A client that is told 429 waits as long as `Retry-After` says, as HTTP clients with a retry policy do. A second pair of rows is for clients that ask
again at once, which no client should do; it is reported.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.overhead import server
from bench.overhead_servers import QUESTION
from bench.rows import Row, row
from bench.serving import resident

FEW, MANY = 64, 1000  # clients
SECONDS = 40.0  # of each run; the allocator takes that long to have the pages it needs for so many connections
WARM_UP = 3.0
_LIMIT = 60.0  # seconds for one answer


@dataclass
class Tally:
    """What the clients of one run got."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # connections that ended without an answer
    times: list[float] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Answers with a status from 200 to 299."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def others(self) -> int:
        """Responses that are neither 2xx nor 429, and requests without any."""
        return self.statuses.total() - self.good - self.statuses[429] + self.broken


async def rows(data: Path) -> list[Row]:
    """Goodput, statuses and memory."""
    with tempfile.TemporaryDirectory() as name:
        async with server("ours", Path(name)) as port:
            pid = _listener(port)
            await _run(port, FEW, WARM_UP, patient=True)
            few = await _run(port, FEW, SECONDS, patient=True)
            first = await _run(port, MANY, SECONDS, patient=True)
            after_first = resident(pid)
            second = await _run(port, MANY, SECONDS, patient=True)
            after_second = resident(pid)
            again = await _run(port, FEW, SECONDS, patient=True)
            rude = await _run(port, MANY, SECONDS, patient=False)
    base = (few.good + again.good) / 2  # before and after: the machine's own drift falls on both
    worst = min(first.good, second.good)
    told = f"{first.good / SECONDS:.0f} and {second.good / SECONDS:.0f} answers/s with {MANY}, {few.good / SECONDS:.0f} and {again.good / SECONDS:.0f} with {FEW} clients"
    statuses = first.statuses + second.statuses + rude.statuses
    return [
        row("overload: goodput of 1,000 clients against that of 64, the worse of two runs", worst / base, "x", ">=", 0.9, 2, told),
        row(
            "overload: responses that are neither 2xx nor 429, and requests without one",
            first.others + second.others,
            "responses",
            "==",
            0,
            first.statuses.total() + second.statuses.total(),
            ", ".join(f"{count:,} x {status}" for status, count in sorted((first.statuses + second.statuses).items())),
        ),
        row(
            "overload: memory after the second run against after the first",
            after_second / after_first,
            "x",
            "<=",
            1.05,
            1,
            f"{after_first / 2**20:.0f} and {after_second / 2**20:.0f} MiB",
        ),
        row(
            "overload: goodput of 1,000 clients that ask again at once after a 429",
            rude.good / base,
            "x",
            note=f"{rude.statuses[429]:,} x 429, {rude.others} neither 2xx nor 429; {statuses.total():,} responses in all runs",
        ),
    ]


async def _run(port: int, clients: int, seconds: float, *, patient: bool) -> Tally:
    tally = Tally()
    body = json.dumps(QUESTION).encode()
    head = f"POST /query HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    end = time.monotonic() + seconds

    async def client() -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while time.monotonic() < end:
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                began = time.monotonic()
                writer.write(request)
                async with asyncio.timeout(_LIMIT):
                    status, pause = await _answer(reader)
            except (OSError, EOFError, TimeoutError):
                tally.broken += 1
                reader = None
                continue
            if time.monotonic() <= end:
                tally.statuses[status] += 1
                tally.times.append(time.monotonic() - began)
            if patient and pause:
                await asyncio.sleep(min(pause, max(0.0, end - time.monotonic())))
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


async def _answer(reader: asyncio.StreamReader) -> tuple[int, float]:
    """Status, and the seconds of `Retry-After` (0 without one)."""
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(headers[b"content-length"]))
    return int(lines[0].split()[1]), float(headers.get(b"retry-after", b"0"))


def _listener(port: int) -> int:
    """The id of the process that listens on this port of 127.0.0.1."""
    wanted = f"0100007F:{port:04X}"
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[1] == wanted}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                links = {str(link.readlink()) for link in (process / "fd").iterdir()}
            except OSError:  # it has ended, or is another's
                continue
            if any(f"socket:[{inode}]" in links for inode in inodes):
                return int(process.name)
    raise RuntimeError(f"nothing listens on port {port}")
