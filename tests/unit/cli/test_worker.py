"""`ragstone worker`: what it refuses, how it works jobs off, and how it stops. As a process: tests/e2e/test_worker.py; killed, over real servers: bench/servers_delivery.py."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.cli import up, worker, working
from ragstone.cli.serving import listen
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.job_queue import InMemoryJobQueue
from tests.fakes.platform import fake_platform
from tests.servers.nats import free_port

CLUSTER = {
    "RAGSTONE_CATALOG__KIND": "mongo",
    "RAGSTONE_CATALOG__URI": "mongodb://127.0.0.1:1/",
    "RAGSTONE_VERSIONS__KIND": "lakefs",
    "RAGSTONE_VERSIONS__ENDPOINT": "http://127.0.0.1:1",
    "RAGSTONE_VERSIONS__ACCESS_KEY_ID": "key",
    "RAGSTONE_VERSIONS__SECRET_ACCESS_KEY": "secret",
    "RAGSTONE_VERSIONS__STORAGE_NAMESPACE": "local://tests",
    "RAGSTONE_INDEX__KIND": "qdrant",
    "RAGSTONE_INDEX__URL": "http://127.0.0.1:1",
    "RAGSTONE_QUEUE__KIND": "nats",
    "RAGSTONE_QUEUE__URL": "nats://127.0.0.1:1",
    "RAGSTONE_QUEUE__PARALLEL": "3",
}


class WatchedQueue(InMemoryJobQueue):
    """Remembers how long running jobs were given, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.graces: list[float] = []
        self.away = False

    async def stop(self, grace: float = 10.0) -> None:
        self.graces.append(grace)
        await super().stop(grace)

    async def check(self) -> None:
        if self.away:
            raise Unavailable("queue: the NATS server can't be reached.", field="queue")


@dataclass
class Bench:
    """A worker over fakes: its platform, and what was asked of it."""

    queue: WatchedQueue
    platform: Platform
    opened: list[Settings] = field(default_factory=list)
    closed: int = 0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**CLUSTER, "RAGSTONE_DATA_DIR": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, cluster: None) -> Bench:
    queue = WatchedQueue()
    found = Bench(queue, fake_platform(queue=queue))

    @asynccontextmanager
    async def opened(settings: Settings, *, embedder: EmbeddingModel) -> AsyncIterator[tuple[Platform, Callable[[str], None]]]:
        found.opened.append(settings)
        await found.platform.start()
        yield found.platform, lambda url: pytest.fail("a worker announces no API")
        await found.platform.close(0)
        found.closed += 1

    async def loaded(settings: Settings, output: object) -> Awaitable[EmbeddingModel]:
        model: asyncio.Future[EmbeddingModel] = asyncio.get_running_loop().create_future()
        model.set_result(HashingEmbeddingModel(32))
        return model

    monkeypatch.setattr(working, "open_directory", opened)
    monkeypatch.setattr("ragstone.cli.start.load_model", loaded)
    return found


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def readiness(port: int) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as management:
        answer = await management.get("/readyz")
        return answer.status_code, answer.json()


async def test_settings_that_no_other_process_shares_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DATA_DIR", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"role worker shares its stores .* catalog.kind is sqlite.*`ragstone up`"):
        await worker.worker(Session(Flags()))


async def test_up_refuses_the_role_of_a_worker(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_ROLE", "worker")
    monkeypatch.setenv("RAGSTONE_HOST", "0.0.0.0")  # allowed to a worker without keys
    with pytest.raises(InvalidInput, match="start it with `ragstone worker`"):
        await up.up(Session(Flags()))


async def test_a_worker_works_jobs_off_and_ends_gracefully_on_a_signal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    running = asyncio.create_task(worker.worker(Session(Flags(json=True)), management_port=port, grace=7.5))
    shown = ""

    def said() -> str:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown

    await until(lambda: bool(said()))
    assert json.loads(shown) | {"data_directory": "", "model": {}, "version": ""} == {
        "version": "",
        "role": "worker",
        "management": f"http://127.0.0.1:{port}",
        "data_directory": "",
        "model": {},
        "collections_at_a_time": 3,
    }
    assert [settings.role for settings in bench.opened] == ["worker"]
    assert (await readiness(port))[0] == 200
    bench.queue.away = True
    async with asyncio.timeout(60):
        while (await readiness(port))[0] == 200:  # noqa: ASYNC110 - what a part answered counts for a second
            await asyncio.sleep(0.05)
    assert (await readiness(port))[1]["field"] == "queue"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as management:
        assert (await management.get("/metrics")).status_code == 200
        assert (await management.get("/v1/collections")).status_code == 404  # no API here
    done = asyncio.Event()

    async def job(collection: str, job_id: str) -> None:
        await done.wait()

    async def give_up(*_: object) -> bool:
        return True

    await bench.queue.start(job, give_up)
    await bench.queue.enqueue("docs", "01a")
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: bench.queue.graces == [7.5])
    status, problem = await readiness(port)  # answered while a job is being finished
    assert (status, problem["field"]) == (503, "server")
    assert not running.done()
    done.set()
    await asyncio.wait_for(running, 60)
    assert bench.closed == 1


async def test_a_taken_port_is_told_before_anything_is_opened(bench: Bench) -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(InvalidInput, match=r"management_port: .* can't be listened on"):
            await worker.worker(Session(Flags(quiet=True)), management_port=taken.getsockname()[1])
    assert bench.opened == []


async def test_an_api_is_ready_without_the_queue() -> None:
    queue = WatchedQueue()
    queue.away = True
    await create_app(fake_platform(queue=queue), load_settings()).state.readiness.check()
