"""A document that no worker survives, or that nothing can be done with, among others that are fine: what becomes of each, over NATS.

One process does everything over stores in its directory; whenever it dies it is started again, as a supervisor does, and clients whose connection
broke send their documents once more under the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx
import nats

from tests.support.processes import Running, StartFailed, start
from tests.support.tiny_encoder import make_encoder

WORD = "asbestos"  # in the poisoned document
POISON = {"path": "poison.txt", "text": f"The {WORD} pump stops."}
_DEATHS = 50  # no poison is tried as often
_PATIENCE = 120.0  # seconds until every job has ended


@dataclass
class Outcome:
    """What was seen. `deaths`: of the process. `letters`: the dead letters by the API; `in_stream`: how many the broker's stream holds."""

    deaths: int = 0
    letters: list[dict[str, Any]] = field(default_factory=list)
    in_stream: int = 0
    published: set[tuple[str, str]] = field(default_factory=set)  # collection and path of the documents at the heads, before the replay
    accepted: set[tuple[str, str]] = field(default_factory=set)
    replayed: str = ""  # state of the replayed job
    cured: bool = False  # whether the poisoned document is at the head afterwards
    letters_after: int = 0
    told: set[tuple[str, str]] = field(default_factory=set)  # collection and path of the documents that events spoke of
    seconds: float = 0.0  # until every job had ended


async def poisoned(directory: Path, url: str, *, how: Literal["kill", "lost"], tries: int, others: int) -> Outcome:
    """Poison first, then `others` documents behind it in its collection and as many in another one, each a job of its own."""
    settings = {
        "DATA_DIR": str(directory / "data"),
        "MODEL": str(await asyncio.to_thread(make_encoder, directory / "model")),
        "MODELS": str(directory / "models"),
        "PORT": "0",
        "QUEUE__KIND": "nats",
        "QUEUE__URL": url,
        "QUEUE__STREAM_PREFIX": f"poison-{uuid4().hex[:8]}-",
        "QUEUE__MAX_DELIVER": str(tries),
        "QUEUE__ACK_WAIT": "2",
        "QUEUE__PARALLEL": "1",  # what is under way beside the poison dies with the process, and that counts as a try of it, too
    }
    outcome = Outcome()
    supervisor = _Supervisor(directory / "ragstone.log", {**settings, "FAILPOINTS": f"embedder.embed_passages.before~{WORD}={how}"})
    began = time.monotonic()
    try:
        jobs = [await supervisor.submit("sick", POISON)]
        for number in range(others):
            for collection in ("sick", "well"):
                document = {"path": f"{number}.txt", "text": f"The red pump number {number} flows."}
                jobs.append(await supervisor.submit(collection, document))
                outcome.accepted.add((collection, str(document["path"])))
        for job in jobs:
            await supervisor.ended(job)
        outcome.seconds = time.monotonic() - began
        outcome.letters = (await supervisor.get("/v1/dead-letters"))["dead_letters"]
        outcome.in_stream = await _messages(url, f"{settings['QUEUE__STREAM_PREFIX']}dead")
        outcome.published = await supervisor.documents()
    finally:
        await supervisor.stop()
    outcome.deaths = supervisor.deaths
    cured = _Supervisor(directory / "ragstone.log", settings)  # the fix
    try:
        replay = await cured.request("POST", f"/v1/dead-letters/{jobs[0]}/replay")
        outcome.replayed = await cured.ended(replay["job"]["id"])
        outcome.cured = ("sick", POISON["path"]) in await cured.documents()
        outcome.letters_after = len((await cured.get("/v1/dead-letters"))["dead_letters"])
        outcome.told = await _events(url, f"{settings['QUEUE__STREAM_PREFIX']}events", len(outcome.accepted) + 1)
    finally:
        await cured.stop()
    return outcome


class _Supervisor:
    """Keeps one process running, and asks it until it answers."""

    def __init__(self, log: Path, settings: dict[str, str]) -> None:
        self._log = log
        self._settings = settings
        self._running: Running | None = None
        self.deaths = 0

    async def submit(self, collection: str, document: dict[str, str]) -> str:
        """The job's id, once the document is accepted."""
        body = {"collection": collection, "create": True, "documents": [document], "wait": False}
        answer = await self.request("POST", "/ingest", json=body, headers={"Idempotency-Key": f"{collection}-{document['path']}"})
        return str(answer["job"]["id"])

    async def ended(self, job: str) -> str:
        """The state in which a job ended."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            state = str((await self.get(f"/v1/jobs/{job}"))["job"]["state"])
            if state in ("published", "unchanged", "failed"):
                return state
            await asyncio.sleep(0.2)
        raise TimeoutError(f"job {job} has not ended; see {self._log}")

    async def documents(self) -> set[tuple[str, str]]:
        """Collection and path of every document at a head."""
        found = set()
        for one in (await self.get("/v1/collections"))["collections"]:
            page = await self.get(f"/v1/collections/{one['name']}/documents?limit=1000") if one["head"] else {"documents": []}
            found |= {(one["name"], document["path"]) for document in page["documents"]}
        return found

    async def get(self, path: str) -> dict[str, Any]:
        return await self.request("GET", path)

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer's body; asked again when the process dies meanwhile."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            running = await self._up()
            try:
                async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as http:
                    answer = await http.request(method, path, **options)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found
        raise TimeoutError(f"{method} {path} got no answer; see {self._log}")

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.stop()

    async def _up(self) -> Running:
        while self._running is None or not self._running.alive:
            if self._running is not None:
                self.deaths += 1
                self._running = None
            try:
                self._running = await start(self._log, "up", self._settings)
            except StartFailed:
                self.deaths += 1
                if self.deaths > _DEATHS:
                    raise
        return self._running


async def _events(url: str, stream: str, count: int) -> set[tuple[str, str]]:
    """Collection and path of that many `document.changed`."""
    found: set[tuple[str, str]] = set()
    async with await nats.connect(url) as client:
        events = await client.jetstream().pull_subscribe("", durable="reader", stream=stream)
        deadline = time.monotonic() + _PATIENCE
        while len(found) < count and time.monotonic() < deadline:
            try:
                messages = await events.fetch(100, timeout=1)
            except TimeoutError:
                continue
            data = [json.loads(message.data)["data"] for message in messages]
            found |= {(one["collection"], one["path"]) for one in data if "path" in one}
    return found


async def _messages(url: str, stream: str) -> int:
    async with await nats.connect(url) as client:
        info = await client.jetstream().stream_info(stream)
        return int(info.state.messages)
