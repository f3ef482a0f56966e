"""Servers that do not answer, over HTTP: every route gives what it can, or a 503 that says when to come back; accepted writes are never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.mongo_interactions import MongoInteractionLog
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.adapters.nats import NatsConnection, NatsServer
from ragstone.adapters.nats_queue import NatsJobQueue
from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from tests.api.test_query import events
from tests.fakes.catalog import InMemoryCatalog
from tests.fakes.platform import fake_platform
from tests.servers import lakefs, mongo, nats, qdrant
from tests.servers.proxy import Proxy
from tests.support.interactions import interaction

# nats-py leaves the writer of a connection that broke to the garbage collector, which closes it and warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"
)
SHORT = 2.0  # seconds that a call may take
BACK = 30.0  # seconds within which all is well again
BEGUN = 120.0  # seconds within which a server that is well has taken a first document, on a busy machine
QUESTION = {"collection": "docs", "question": "What does a ticket cost?", "abstain": False}
DOCS = "/v1/collections/docs"
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "refused": Proxy.cut,
    "hanging": Proxy.stall,
    "replies lost": Proxy.drop_replies,
    "torn replies": Proxy.tear,
}


@dataclass
class Bench:
    """An API over one real server behind a proxy, and what was accepted by it."""

    http: httpx.AsyncClient
    platform: Platform
    proxy: Proxy
    accepted: dict[str, str] = field(default_factory=dict)  # path by job
    number: int = 0

    async def ask_everything(self) -> list[httpx.Response]:
        """Every kind of request, once, at the same time."""
        self.number += 1
        path = f"new-{self.number}.txt"
        text = f"Ticket number {self.number} costs {self.number} crowns."
        requests: list[tuple[str, str, Any]] = [
            ("POST", "/query", QUESTION),
            ("POST", "/query", QUESTION | {"as_of": "#1"}),
            ("POST", "/query", QUESTION | {"stream": True}),
            ("POST", "/v1/search", {"collection": "docs", "question": "ticket"}),
            ("POST", "/v1/chat/completions", {"model": "ragstone/docs", "messages": [{"role": "user", "content": "What is a ticket?"}]}),
            ("GET", "/v1/models", None),
            ("GET", "/v1/collections", None),
            ("POST", "/v1/collections", {"name": f"other-{self.number}"}),
            ("GET", DOCS, None),
            ("GET", f"{DOCS}/documents", None),
            ("GET", f"{DOCS}/documents/fares.txt", None),
            ("PUT", f"{DOCS}/documents/put-{path}?wait=false", text),
            ("GET", f"{DOCS}/commits", None),
            ("GET", f"{DOCS}/commits/%231/diff/%231", None),
            ("GET", f"{DOCS}/tags", None),
            ("POST", f"{DOCS}/tags", {"name": f"tag-{self.number}", "commit": "#1"}),
            ("POST", f"{DOCS}/prune", {"keep_last": 100, "dry_run": True}),
            ("GET", f"{DOCS}/purges", None),
            ("GET", "/v1/jobs", None),
            ("GET", "/v1/interactions", None),
            ("GET", "/v1/interactions/export?format=jsonl", None),
            ("GET", "/v1/info", None),
            ("POST", "/ingest", {"collection": "docs", "documents": [{"path": path, "text": text}], "wait": False}),
            ("GET", "/readyz", None),
            ("GET", "/metrics", None),
        ]
        answers = await asyncio.gather(*(self._send(*request) for request in requests))
        for answer in answers:
            if answer.status_code == 202:
                job = answer.json()["job"]["id"]
                self.accepted[job] = path if answer.request.method == "POST" else f"put-{path}"
        return answers

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        content = {"content": body, "headers": {"content-type": "text/plain"}} if isinstance(body, str) else {"json": body}
        return await self.http.request(method, path, **content)

    async def well_again(self) -> None:
        """Returns once every request succeeds and every accepted job is published, its document there."""
        async with asyncio.timeout(BACK):
            while bad := [answer for answer in await self.ask_everything() if answer.status_code >= 400]:
                assert {answer.status_code for answer in bad} <= {503, 409}, bad[0].text
                await asyncio.sleep(0.2)
            for job, path in self.accepted.items():
                while (state := (await self._answered(f"/v1/jobs/{job}")).json()["job"]["state"]) in ("queued", "running"):
                    await self._sweep()
                    await asyncio.sleep(0.1)
                assert state == "published"
                assert (await self._answered(f"{DOCS}/documents/{path}")).status_code == 200

    async def _answered(self, path: str) -> httpx.Response:
        """What is there, asked again while a call takes longer than it may, which one does on a busy machine."""
        while (answer := await self.http.get(path)).status_code == 503:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.1)
        return answer

    async def _sweep(self) -> None:
        try:
            await self.platform.sweeper.sweep()
        except Unavailable:
            return


@asynccontextmanager
async def served(platform: Platform, proxy: Proxy, directory: Path) -> AsyncIterator[Bench]:
    await platform.start()
    transport = httpx.ASGITransport(create_app(platform, Settings(data_dir=directory)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8642", timeout=60) as http:
        bench = Bench(http, platform, proxy)
        fares = {"path": "fares.txt", "text": "A ticket costs four crowns."}
        async with asyncio.timeout(BEGUN):  # it may take longer than a call may
            while (
                begun := await http.post("/ingest", json={"collection": "docs", "create": True, "documents": [fares]})
            ).status_code != 200:
                assert begun.status_code == 503, begun.text
        yield bench
    proxy.through()
    await platform.close(0)


@asynccontextmanager
async def behind_mongo(url: str, directory: Path) -> AsyncIterator[Bench]:
    async with Proxy.before(url) as proxy, mongo.database(proxy.url(url)) as database:
        await database.ready()  # its schema takes longer than a call may
        platform = fake_platform(
            catalog=MongoCatalog(database, mongo.dependency(timeout=SHORT)),
            staging=GridFsStaging(database, mongo.dependency("staging", timeout=SHORT)),
            interactions=SpooledInteractionLog(
                MongoInteractionLog(database, mongo.dependency("interactions", timeout=SHORT)), directory, 2**20, patience=0.5
            ),
            queue=InProcessJobQueue(tries=1000, first_pause=0.1, longest_pause=0.2),
        )
        async with served(platform, proxy, directory) as bench:
            yield bench
        proxy.through()
        await mongo.close(database, interrupted=True)


@asynccontextmanager
async def behind_nats(url: str, directory: Path) -> AsyncIterator[Bench]:
    async with Proxy.before(url) as proxy:
        names = nats.names()
        connection = NatsConnection(NatsServer(proxy.url(url), timeout=SHORT), (names.jobs, names.dead, names.events))
        queue = NatsJobQueue(connection, names, tries=1000, first_pause=0.1, longest_pause=0.2, ack_wait=2.0)
        async with served(fake_platform(queue=queue), proxy, directory) as bench:
            yield bench
        await connection.close()


@asynccontextmanager
async def behind_lakefs(server: lakefs.LakeFs, directory: Path) -> AsyncIterator[Bench]:
    async with Proxy.before(server.url) as proxy:
        queue = InProcessJobQueue(tries=1000, first_pause=0.1, longest_pause=0.2)
        versions = server.store(url=proxy.url(server.url), timeout=SHORT)
        async with served(fake_platform(versions=versions, queue=queue), proxy, directory) as bench:
            yield bench


@asynccontextmanager
async def behind_qdrant(url: str, directory: Path) -> AsyncIterator[Bench]:
    settings = qdrant.server(url, timeout=SHORT)
    async with Proxy(settings.grpc_port) as proxy:
        index = qdrant.index(qdrant.server(url, timeout=SHORT, grpc_port=proxy.port))
        queue = InProcessJobQueue(tries=1000, first_pause=0.1, longest_pause=0.2)
        async with served(fake_platform(index=index, queue=queue), proxy, directory) as bench:
            yield bench


SERVERS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "mongo": ("mongo_url", behind_mongo),
    "nats": ("nats_url", behind_nats),
    "lakefs": ("lakefs_server", behind_lakefs),
    "qdrant": ("qdrant_url", behind_qdrant),
}
_MARKS = {"mongo": pytest.mark.packaged, "nats": pytest.mark.packaged, "lakefs": pytest.mark.servers, "qdrant": pytest.mark.servers}


@pytest.fixture(params=[pytest.param(name, marks=mark) for name, mark in _MARKS.items()])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    fixture, behind = SERVERS[request.param]
    async with behind(request.getfixturevalue(fixture), tmp_path) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_is_503_with_retry_after_at_most_and_ends_by_itself(bench: Bench, fault: str) -> None:
    FAULTS[fault](bench.proxy)
    for _ in range(2):  # the second time the circuit breaker may be open
        for answer in await bench.ask_everything():
            where = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500 or answer.status_code == 503, where
            assert answer.status_code != 503 or int(answer.headers["retry-after"]) >= 1, where
            assert answer.status_code == 200 or answer.request.url.path != "/metrics", where
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                assert all(data["status"] == 503 for name, data in events(answer.text) if name == "error"), where
    bench.proxy.through()
    await bench.well_again()


@pytest.mark.packaged
@pytest.mark.long
async def test_a_log_that_is_killed_fails_no_answer_and_gets_them_all_when_it_is_back(tmp_path: Path) -> None:
    port = mongo.free_port()
    spool = tmp_path / "spool"
    spool.mkdir()

    def server() -> Any:
        return mongo.serving(tmp_path, port, durable=True)

    with server() as (url, process):
        database = MongoDatabase(lambda: url, "log")
        inner = MongoInteractionLog(database, mongo.dependency("interactions"))
        await inner.append(interaction())  # it makes its indexes first
        log = SpooledInteractionLog(inner, spool, 2**20)
        log.start()
        platform = fake_platform(catalog=InMemoryCatalog(), interactions=log)
        async with served(platform, Proxy(port), tmp_path) as bench:
            stored = (await bench.http.post("/query", json=QUESTION)).json()
            assert stored["logged"] == "stored"
            process.kill()
            await asyncio.to_thread(process.wait)
            deferred = []
            for _ in range(5):
                answer = await bench.http.post("/query", json=QUESTION)
                assert (answer.status_code, answer.json()["logged"]) == (200, "deferred")
                deferred.append(answer.json()["id"])
            assert "ragstone_interactions_spooled 5.0" in (await bench.http.get("/metrics")).text
            with server():
                async with asyncio.timeout(BACK):
                    while await log.deferred():  # noqa: ASYNC110 - the spool tells nobody
                        await asyncio.sleep(0.1)
                for each in [stored["id"], *deferred]:
                    assert (await bench.http.get(f"/v1/interactions/{each}")).status_code == 200
                assert (await bench.http.post("/query", json=QUESTION)).json()["logged"] == "stored"
        await mongo.close(database, interrupted=True)
