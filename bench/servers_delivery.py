"""Messages one to five times and shuffled, processes killed with SIGKILL, while eight releases of real documentation are ingested.

The state afterwards is compared with a clean run's, commit by commit: every document with its checksum, and every chunk that came or went. What was
embedded is what the embedders of all processes were given (bench/counted.py), also of those that were killed. Every other kill is aimed at the
process that embedded last while a job is under way.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats

from bench import counted
from bench.fleet import Fleet, Stores, cluster, missing, one_process
from bench.rows import Row, row, skipped
from tests.support.tiny_encoder import make_encoder

KILLS = 50
WORKERS = 3
_BATCH = 256  # points that the index writer embeds before it writes them (use_cases/index_writer.py)
_LIVES = (0.5, 1.0, 2.0, 8.0)  # seconds that a process lives at most before it is killed: most do not get far
_PAUSE = 5.0  # seconds at most between two messages that come again
_TOPOLOGIES = (("one process over NATS", 0), (f"an API and {WORKERS} workers over NATS, MongoDB's protocol, lakeFS and Qdrant", WORKERS))


@dataclass
class Ran:
    """One run. `state`: what its collection holds, comparable with another's. `new`: chunks that its commits say were embedded; `embedded`: texts that
    embedders were given."""

    state: str = ""
    new: int = 0
    embedded: int = 0
    kills: int = 0
    hits: int = 0  # kills of the process that embedded last, while a job was under way
    messages: int = 0
    seconds: float = 0.0


async def rows(data: Path) -> list[Row]:
    """Both topologies; the second is skipped where a server is missing."""
    folders = sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))
    releases = [await asyncio.to_thread(_documents, folder) for folder in folders]
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        model = str(await asyncio.to_thread(make_encoder, home / "model"))
        for number, (topology, workers) in enumerate(_TOPOLOGIES):
            names = [f"delivery, {topology}: {what}" for what in ("final state equals a clean run", "embedded/new chunks")]
            if workers and (why := missing()) is not None:
                found += [skipped(names[0], why, "==", 1), skipped(names[1], why, "<=", 1)]
                continue
            runs = []
            for kills in (0, KILLS):
                with _stores(home / f"{number}-{kills}", workers) as stores:
                    runs.append(await _run(stores, home / f"{number}-{kills}.log", releases, kills, model))
            found += _rows(names, *runs)
    return found


def _stores(home: Path, workers: int) -> AbstractContextManager[Stores]:
    return cluster(home, workers) if workers else one_process(home)


def _rows(names: list[str], clean: Ran, chaos: Ran) -> list[Row]:
    told = (
        f"{chaos.kills} kills, {chaos.hits} of them of the process that worked on a job; {chaos.messages} messages of 8 jobs; {chaos.seconds:.0f} s, "
        f"clean {clean.seconds:.0f} s; tiny random encoder"
    )
    bar = 1 + chaos.hits * _BATCH / clean.new
    return [
        row(names[0], float(chaos.state == clean.state and chaos.kills >= KILLS), "equal", "==", 1, chaos.kills or 1, told),
        row(
            names[1],
            chaos.embedded / clean.new,
            "ratio",
            "<=",
            bar,
            clean.new,
            f"{chaos.embedded} texts embedded, {clean.embedded} in the clean run, {clean.new} new; bar: 1.00 and a batch of {_BATCH} for each kill that hit",
        ),
    ]


async def _run(stores: Stores, log: Path, releases: list[list[dict[str, str]]], kills: int, model: str) -> Ran:
    settings = {name: {**given, "MODEL": model, "MODELS": str(log.with_suffix(".models"))} for name, given in stores.settings.items()}
    fleet = Fleet(Stores(settings, stores.victims, stores.queue, stores.prefix), log, log.with_suffix(".embedded"))
    ran = Ran()
    began = time.monotonic()
    try:
        await asyncio.gather(*(fleet.up(name) for name in settings))
        jobs = []
        for number, documents in enumerate(releases):
            body = {"collection": "fastapi", "create": True, "mirror": True, "documents": documents, "wait": False}
            accepted = await fleet.request("POST", "/ingest", json=body, headers={"Idempotency-Key": str(number)})
            jobs.append(str(accepted["job"]["id"]))
        done = asyncio.Event()
        work = [asyncio.create_task(_kill(fleet, jobs, kills, ran)), asyncio.create_task(_repeat(stores, jobs, done, ran))] if kills else []
        ended = [await fleet.ended(job) for job in jobs]
        done.set()
        await asyncio.gather(*work)
        assert [job["state"] for job in ended] == ["published"] * len(jobs), ended
        ran.new = sum(job["result"]["stats"]["chunks_embedded"] for job in ended)
        ran.state = await _state(fleet, len(jobs))
    finally:
        await fleet.stop()
    ran.kills, ran.seconds = fleet.kills, time.monotonic() - began
    ran.embedded = sum(texts for _, texts in counted.noted(fleet.notes))
    return ran


async def _kill(fleet: Fleet, jobs: list[str], kills: int, ran: Ran) -> None:
    """Kills at random moments, every other one of the process that works on a job."""
    chance = random.Random(7)
    for number in range(kills):
        await asyncio.sleep(chance.choice(_LIVES) * chance.random())
        working = await _working(fleet, jobs, wait=number % 2 == 1)
        victim = working if working and number % 2 else chance.choice(fleet.stores.victims)
        ran.hits += victim == working
        await fleet.kill(victim)


async def _working(fleet: Fleet, jobs: list[str], *, wait: bool) -> str | None:
    """The process that works on a job, or worked on one that nobody else has taken up; with `wait` once there is one, None when all jobs are done."""
    while True:
        states = {job["state"] for job in [await fleet.job(job) for job in jobs]}
        found = fleet.embedding() if "running" in states else None
        if found or not wait or not states & {"queued", "running"}:
            return found
        await asyncio.sleep(0.1)


async def _repeat(stores: Stores, jobs: list[str], done: asyncio.Event, ran: Ran) -> None:
    """Brings each message up to four times more, in any order, while the jobs are worked on and after."""
    chance = random.Random(11)
    copies = [job for job in jobs for _ in range(chance.randint(0, 4))]
    chance.shuffle(copies)
    async with await nats.connect(stores.queue) as client:
        js = client.jetstream()
        for job in copies:
            payload = json.dumps({"collection": "fastapi", "job": job}).encode()
            await js.publish(f"{stores.prefix.rstrip('-_')}.jobs.fastapi", payload, headers={"Nats-Msg-Id": uuid4().hex})
            if not done.is_set():
                await asyncio.sleep(chance.uniform(0.1, _PAUSE))
    ran.messages = len(jobs) + len(copies)


async def _state(fleet: Fleet, commits: int) -> str:
    """Of every commit by its position: documents with checksums, chunks that came and went, counts."""
    found: list[Any] = []
    for position in range(1, commits + 1):
        page = await fleet.request("GET", f"/v1/collections/fastapi/documents?as_of=%23{position}&limit=1000")
        shown = await fleet.request("GET", f"/v1/collections/fastapi/commits/%23{position}")
        stats = {name: count for name, count in shown["commit"]["stats"].items() if name not in ("chunks_embedded", "chunks_reused")}
        chunks = [
            sorted((chunk["path"], chunk["start"], chunk["end"], chunk["content_hash"]) for chunk in shown[f"chunks_{kind}"])
            for kind in ("added", "removed")
        ]
        found.append([sorted((one["path"], one["checksum"]) for one in page["documents"]), chunks, shown["chunks_kept"], stats])
    return json.dumps(found, sort_keys=True)


def _documents(folder: Path) -> list[dict[str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [{"path": path.relative_to(folder).as_posix(), "text": path.read_text("utf-8")} for path in files]
