"""A new embedding space for 10 k chunks, embedded by niced worker processes under questions and ingests, while its processes are killed five times.

`RAGSTONE_BENCH_CHUNKS`: fewer chunks, for a trial.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

from bench.counted import noted
from bench.rows import Row, row
from bench.serving import NAME
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings

_CHUNKS = int(os.environ.get("RAGSTONE_BENCH_CHUNKS", "10000"))
_SHARDS, _PART, _KILLS = 2, 128, 5
_SERVER_DIES = 2  # which of the kills is the server's, which fills too
_BEFORE = 60.0  # seconds of questions and ingests without a new space
_BULK = {"kind": "processes", "shards": _SHARDS, "nice": 19, "least": 200, "window": 4_000, "retries": 20}


@dataclass
class Load:
    """Questions one after another, and an ingest every two seconds, until told to stop."""

    url: str
    questions: list[str]
    asked: list[tuple[float, float, frozenset[str], int]] = field(default_factory=list)  # when, seconds, chunks, position
    failed: list[float] = field(default_factory=list)  # when nobody answered
    ingested: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask), threading.Thread(target=self._ingest)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()

    def seconds(self, after: float, until: float) -> list[float]:
        return [taken for at, taken, _, _ in self.asked if after <= at < until]

    def _ask(self) -> None:
        dice = random.Random(1)
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.stopping.wait(0.03):
                began = time.monotonic()
                try:
                    answer = client.post("/v1/search", json={"collection": NAME, "question": dice.choice(self.questions)})
                    answer.raise_for_status()
                except httpx.HTTPError:
                    self.failed.append(began)
                    continue
                found = answer.json()
                chunks = frozenset(passage["chunk_id"] for passage in found["passages"])
                self.asked.append((began, time.monotonic() - began, chunks, found["snapshot"]["position"]))

    def _ingest(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self.stopping.wait(2.0):
                text = f"Note {self.ingested}: the gauge of pump {self.ingested} was read and found to be in order."
                body = {"collection": NAME, "documents": [{"path": f"notes/{self.ingested}.txt", "text": text}], "wait": False}
                try:
                    client.post("/ingest", json=body, headers={"Idempotency-Key": f"note {self.ingested}"}).raise_for_status()
                except httpx.HTTPError:
                    continue  # sent again, under the same key
                self.ingested += 1


async def rows(data: Path) -> list[Row]:
    lines = (data / "scifact" / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    questions = [json.loads(line)["text"] for line in (data / "scifact" / "queries.jsonl").read_text().splitlines()]
    with tempfile.TemporaryDirectory() as directory:
        home, notes = Path(directory) / "data", Path(directory) / "embedded"
        chunks = await _fill(home, lines)
        measured = await asyncio.to_thread(_measure, home, notes, questions)
        return await _judged(home, notes, chunks, measured)


async def _fill(home: Path, lines: list[bytes]) -> int:
    count = 0
    async with open_platform(load_settings(data_dir=home)) as platform:
        await platform.collections.create(NAME)
        for start in range(0, len(lines), 250):
            upload = Upload(f"papers-{start}.jsonl", b"".join(lines[start : start + 250]))
            job = await platform.ingest.wait((await platform.ingest.submit(NAME, IngestRequest((upload,)))).id, 3600)
            assert job.result is not None
            assert job.state == "published", job.result
            count = job.result.stats.chunks
            if count >= _CHUNKS:
                break
    return count


@dataclass
class _Measured:
    load: Load
    build: dict[str, Any]
    servers: list[int]  # process ids
    began: float
    ready: float
    switched: float
    killed: int
    living: str  # spaces' ids
    fresh: str


def _measure(home: Path, notes: Path, questions: list[str]) -> _Measured:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = _Server(home, notes, port)
    server.start()
    load, killed = Load(server.url, questions), 0
    try:
        with httpx.Client(base_url=server.url, timeout=600) as client, load.running():
            time.sleep(_BEFORE)
            began = time.monotonic()
            living = client.get(f"/v1/collections/{NAME}/spaces").json()["spaces"][0]["id"]
            asked = client.post(f"/v1/collections/{NAME}/spaces", json={"max_tokens": 200})
            fresh = asked.raise_for_status().json()["space"]["id"]

            def build() -> dict[str, Any]:
                while True:
                    try:
                        spaces = client.get(f"/v1/collections/{NAME}/spaces").raise_for_status().json()["spaces"]
                    except httpx.HTTPError:
                        time.sleep(0.2)
                        continue
                    return next(space["build"] for space in spaces if space["id"] == fresh)

            total = build()["documents_total"]
            marks = [total * (number + 0.5) / (_KILLS + 1) for number in range(_KILLS)]
            while (now := build())["state"] != "ready":
                if killed < _KILLS and now["documents"] + _ahead(now) * total >= marks[killed]:
                    if killed == _SERVER_DIES:
                        server.kill()
                        server.start()
                        killed += 1
                    elif shards := server.shards():
                        os.kill(shards[0], signal.SIGKILL)
                        killed += 1
                time.sleep(0.2)
            ready = time.monotonic()
            switch = client.post(f"/v1/collections/{NAME}/spaces/{fresh}/switch", json={"wait": True, "timeout": 600})
            assert switch.raise_for_status().json()["job"]["state"] == "published"
            switched = time.monotonic()
            time.sleep(5)
            return _Measured(load, build(), server.ids, began, ready, switched, killed, living, fresh)
    finally:
        server.end()


def _ahead(build: dict[str, Any]) -> float:
    """Share of the documents that shards have embedded beyond what is written: of a window, by its chunks."""
    done = sum(shard["done"] for shard in build["shards"])
    return min(done, _BULK["window"]) / max(2 * _CHUNKS, 1)  # type: ignore[no-any-return]


class _Server:
    """`ragstone up` with worker processes, all of which note what they embed."""

    def __init__(self, home: Path, notes: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ids: list[int] = []
        self._log = home.parent / "up.log"
        self._command = [sys.executable, "-m", "bench.counted", str(notes), "--data-dir", str(home), "up", "--port", str(port)]
        self._home = home
        self._process: Any = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env={**os.environ, "RAGSTONE_BULK": json.dumps(_BULK)})
        self.ids.append(self._process.pid)
        _until(self._answers, 300)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)

    def shards(self) -> list[int]:
        """Process ids."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"bulk-shard" in words and str(self._home.resolve()).encode() in words:
                    found.append(int(folder.name))
        return found

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"ragstone up ended: {self._log.read_text()[-2000:]}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def _until(happened: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)


async def _judged(home: Path, notes: Path, chunks: int, measured: _Measured) -> list[Row]:
    load, build = measured.load, measured.build
    async with open_platform(load_settings(data_dir=home)) as platform:
        collection = await platform.collections.get(NAME)
        ids = {space: await _ids(platform.adapters.index, collection.index_name(space)) for space in (measured.living, measured.fresh)}
        head = await platform.adapters.catalog.head(NAME)
        assert head is not None
        complete = head.space_id == measured.fresh and head.stats.documents == (await _documents(platform))
    mixed = sum(not (found <= ids[measured.living] or found <= ids[measured.fresh]) for _, _, found, _ in load.asked)
    early = sum(not found <= ids[measured.living] for at, _, found, _ in load.asked if at < measured.ready)
    calls = noted(notes)
    by_shards = sum(texts for process, texts in calls if process not in measured.servers)
    wanted = build["embedded"]
    before, during = load.seconds(0, measured.began), load.seconds(measured.began, measured.ready)
    p95 = [quantiles(taken, n=20)[18] * 1e3 for taken in (before, during)]
    took = measured.ready - measured.began
    size = f"{chunks:,} chunks read, {build['chunks']:,} made; {measured.killed} kills, one of them of the server; {load.ingested} ingests"
    return [
        row("re-embedding under load and kills: the new space is complete and read", float(complete), "share", "==", 1, note=size),
        row(
            "re-embedding under load and kills: chunks that shards embedded beyond those needed",
            float(by_shards - wanted),
            "chunks",
            "<=",
            (_KILLS - 1 + _SHARDS) * _PART,
            note=f"{by_shards:,} texts for {wanted:,} chunks; bar: a part of {_PART} for each shard that a kill ended, the server's kill all of them; what few the server embedded itself counts for it",
        ),
        row(
            "re-embedding under load and kills: questions answered from a mix, or from the new space before the switch",
            float(mixed + early),
            "questions",
            "==",
            0,
            len(load.asked),
            note=size,
        ),
        row(
            "re-embedding under load and kills: question p95, during / before",
            p95[1] / p95[0],
            "x",
            "<=",
            2.0,
            len(during),
            f"{p95[1]:.0f} and {p95[0]:.0f} ms; {_SHARDS} niced processes embed; {len(load.failed)} questions found the server killed",
        ),
        row("re-embedding under load and kills: rate", build["chunks"] / took, "chunks/s", note=f"{took:.0f} s, restarts included"),
    ]


async def _ids(index: Any, name: str) -> frozenset[str]:
    found: set[str] = set()
    after = None
    while page := await index.scan(name, after):
        found |= {point.id for point in page}
        after = page[-1].id
    return frozenset(found)


async def _documents(platform: Any) -> int:
    """Of the head, that have a chunk in the head's space."""
    collection, snapshot = await platform.snapshots.resolve(NAME, None)
    count, after = 0, ""
    while True:
        page = await platform.adapters.versions.documents(collection.uid, snapshot.commit_id, after=after, limit=500)
        if not page:
            return count
        paths = [info.path for info in page]
        chunks = await platform.adapters.index.visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, paths)
        count += len({chunk.path for chunk in chunks})
        after = paths[-1]
