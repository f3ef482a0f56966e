"""A document that no worker survives, or that nothing can be done with, among others that are fine: what becomes of each, over NATS.

One process does everything over stores in its directory; whenever it dies it is started again, as a supervisor does, and clients whose connection
broke send their documents once more under the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx
import nats

from tests.support.processes import RAGSTONE, Running, StartFailed, start
from tests.support.tiny_encoder import make_encoder

WORD = "asbestos"  # in the poisoned document
POISON = {"path": "poison.txt", "text": f"The {WORD} pump stops."}
SLOWLY = "slowly"  # in the documents of the other collection
_ENDS = ("published", "unchanged", "failed")
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


async def poisoned(directory: Path, url: str, *, how: Literal["kill", "lost"], tries: int, others: int, lasting: float = 0.0) -> Outcome:
    """Poison, `others` documents behind it in its collection and as many in another one, each a job of its own; the other one's first job is begun first.

    `lasting`: seconds that each job of the other collection takes at least, so that the poison meets it under way.
    """
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
    }
    outcome = Outcome()
    sick = {**settings, "FAILPOINTS": f"embedder.embed_passages.before~{WORD}={how}"}
    supervisor = _Supervisor(directory / "ragstone.log", sick, ("tests.support.slowly", str(lasting), SLOWLY) if lasting else RAGSTONE)
    began = time.monotonic()
    try:
        jobs = [await supervisor.submit("well", _other(0, SLOWLY))]
        if lasting:
            await supervisor.begun(jobs[0])
        poison = await supervisor.submit("sick", POISON)
        jobs += [await supervisor.submit("well", _other(number, SLOWLY)) for number in range(1, others)]
        jobs += [await supervisor.submit("sick", _other(number)) for number in range(others)]
        outcome.accepted = {(collection, f"{number}.txt") for collection in ("sick", "well") for number in range(others)}
        for job in (poison, *jobs):
            await supervisor.ended(job)
        outcome.seconds = time.monotonic() - began
        outcome.letters = (await supervisor.get("/v1/dead-letters"))["dead_letters"]
        outcome.in_stream = await _messages(url, f"{settings['QUEUE__STREAM_PREFIX']}dead")
        outcome.published = await supervisor.documents()
    finally:
        await supervisor.stop()
    outcome.deaths = supervisor.deaths
    cured = _Supervisor(directory / "ragstone.log", settings, RAGSTONE)  # the fix
    try:
        replay = await cured.request("POST", f"/v1/dead-letters/{poison}/replay")
        outcome.replayed = await cured.ended(replay["job"]["id"])
        outcome.cured = ("sick", POISON["path"]) in await cured.documents()
        outcome.letters_after = len((await cured.get("/v1/dead-letters"))["dead_letters"])
        outcome.told = await _events(url, f"{settings['QUEUE__STREAM_PREFIX']}events", len(outcome.accepted) + 1)
    finally:
        await cured.stop()
    return outcome


def _other(number: int, how: str = "well") -> dict[str, str]:
    return {"path": f"{number}.txt", "text": f"The red pump number {number} flows {how}."}


class _Supervisor:
    """Keeps one process running, and asks it until it answers."""

    def __init__(self, log: Path, settings: dict[str, str], module: Sequence[str]) -> None:
        self._log = log
        self._settings = settings
        self._module = module
        self._running: Running | None = None
        self.deaths = 0

    async def submit(self, collection: str, document: dict[str, str]) -> str:
        """The job's id, once the document is accepted."""
        body = {"collection": collection, "create": True, "documents": [document], "wait": False}
        answer = await self.request("POST", "/ingest", json=body, headers={"Idempotency-Key": f"{collection}-{document['path']}"})
        return str(answer["job"]["id"])

    async def begun(self, job: str) -> None:
        """Returns once somebody works on it."""
        await self._state(job, "running", *_ENDS)

    async def ended(self, job: str) -> str:
        """The state in which a job ended."""
        return await self._state(job, *_ENDS)

    async def _state(self, job: str, *wanted: str) -> str:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            state = str((await self.get(f"/v1/jobs/{job}"))["job"]["state"])
            if state in wanted:
                return state
            await asyncio.sleep(0.2)
        raise TimeoutError(f"job {job} is not {' or '.join(wanted)}; see {self._log}")

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
                self._running = await start(self._log, "up", self._settings, module=self._module)
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
