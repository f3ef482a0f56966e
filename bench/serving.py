"""`ragstone up` as people run it: time to ready, memory, and /query with the embedded defaults over 10 k chunks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx

from bench.rows import Row, row
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings

NAME = "papers"
CHUNKS, QUESTIONS, STARTS = 10_000, 200, 5


async def rows(data: Path) -> list[Row]:
    """Fills a data directory, then serves it from a process of its own."""
    lines = (data / "scifact" / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    questions = [json.loads(line)["text"] for line in (data / "scifact" / "queries.jsonl").read_text().splitlines()]
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "data"
        chunks = await fill(home, lines, data / "fastapi-docs" / "0.115.0")
        starts = []
        for _ in range(STARTS):
            with serving(home) as (_, seconds, _pid):
                starts.append(seconds)
        with serving(home) as (url, _, pid):
            times = ask(url, questions[: QUESTIONS + 10])[10:]
            memory = resident(pid)
    cuts = quantiles(times, n=20)
    size = f"{chunks:,} chunks"
    return [
        row("/query p50, embedded defaults, 10 k chunks", median(times) * 1e3, "ms", "<=", 150, len(times), size),
        row("/query p95, embedded defaults, 10 k chunks", cuts[18] * 1e3, "ms", "report", None, len(times), size),
        row(
            "ragstone up to ready, warm, 10 k chunks",
            median(starts),
            "s",
            "<=",
            2.0,
            STARTS,
            f"{size}; each {', '.join(f'{s:.2f}' for s in starts)}",
        ),
        row("ragstone up resident memory after the questions", memory / 2**20, "MiB", "report", None, 1, size),
    ]


async def fill(home: Path, lines: list[bytes], docs: Path) -> int:
    """Abstracts, then documentation, until there are `CHUNKS` chunks."""
    batches: list[tuple[Upload, ...]] = [
        (Upload("papers.jsonl", b"".join(lines[start : start + 1000])),) for start in range(0, len(lines), 1000)
    ]
    files = sorted(docs.rglob("*.md"))  # noqa: ASYNC240 - nothing else runs on this loop
    batches += [
        tuple(Upload(path.relative_to(docs).as_posix(), path.read_bytes()) for path in files[start : start + 20])
        for start in range(0, len(files), 20)
    ]
    count = 0
    async with open_platform(load_settings(data_dir=home)) as platform:
        await platform.collections.create(NAME)
        for batch in batches:
            job = await platform.ingest.wait((await platform.ingest.submit(NAME, IngestRequest(batch))).id, 1800)
            assert job.state == "published", job.result
            assert job.result is not None
            count = job.result.stats.chunks
            if count >= CHUNKS:
                break
    return count


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, float, int]]:
    """The address of a fresh `ragstone up`, the seconds until /readyz said yes, and its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    command = [sys.executable, "-m", "ragstone.cli.main", "--data-dir", str(home), "up", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # warm: modules are compiled
    with (home.parent / "up.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
        try:
            ready(url, process, home.parent / "up.log")
            yield url, time.perf_counter() - began, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the service is ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ragstone up ended with status {process.returncode}: {log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.01)
    raise TimeoutError("ragstone up was not ready within 60 s")


def ask(url: str, questions: list[str]) -> list[float]:
    """Seconds of each question, one after another."""
    times = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for question in questions:
            began = time.perf_counter()
            client.post("/query", json={"collection": NAME, "question": question}).raise_for_status()
            times.append(time.perf_counter() - began)
    return times


def resident(pid: int) -> int:
    """Bytes of physical memory (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) * 1024
