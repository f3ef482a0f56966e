"""The management port, and what healthy and ready mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.management import create_management_app
from ragstone.services.orchestrator.readiness import NotReady, Readiness
from ragstone.settings.model import Settings
from tests.fakes.authenticator import KnownKeys
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform


class Broken:
    """Every call of every port fails."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object, **__: object) -> None:
            raise Unavailable("the disk is gone.")

        return fail


@dataclass
class Ports:
    """Both ports of one server with keys, of which nobody has one."""

    api: httpx.AsyncClient
    management: httpx.AsyncClient
    app: Any


def client(app: Any, host: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=f"http://{host}")


async def served(*, generator: Any = None, **broken: Any) -> AsyncIterator[Ports]:
    platform = fake_platform(generator=generator)
    platform = replace(platform, adapters=replace(platform.adapters, **broken))
    app = create_app(platform, Settings(data_dir=Path("data")), KnownKeys({}))
    async with client(app, "rag.example.org") as api, client(create_management_app(app), "10.1.2.3:8643") as management:
        yield Ports(api, management, app)


@pytest.fixture
async def ports() -> AsyncIterator[Ports]:
    async for ports in served():
        yield ports


async def test_it_answers_health_and_metrics_without_a_key_under_any_name(ports: Ports) -> None:
    for path, words in (("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "ragstone_http_request_duration_seconds")):
        answer = await ports.management.get(path, headers={"Host": "evil.example", "Origin": "https://evil.example"})
        assert (answer.status_code, words in answer.text) == (200, True)


async def test_everything_else_is_not_there(ports: Ports) -> None:
    for path in ("/", "/docs", "/openapi.json", "/v1/collections", "/v1/info", "/healthz/", "/nothing"):
        answer = await ports.management.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:ragstone:problem:not-found"), path
    assert (await ports.management.post("/ingest", json={})).status_code == 404


async def test_both_ports_share_their_metrics(ports: Ports) -> None:
    await ports.api.get("/v1/collections")
    metrics = (await ports.management.get("/metrics")).text
    assert 'ragstone_http_request_duration_seconds_count{method="GET",route="none",status="401"} 1.0' in metrics


@pytest.mark.parametrize("part", ["catalog", "index", "versions", "staging", "embedding"])
async def test_readiness_names_the_part_that_is_missing(part: str) -> None:
    async for ports in served(**{"embedder" if part == "embedding" else part: Broken()}):
        for port in (ports.api, ports.management):
            answer = await port.get("/readyz")
            problem = answer.json()
            assert (answer.status_code, problem["field"], problem["detail"]) == (503, part, f"Not ready: {part} failed (the disk is gone.)")
            assert "retry-after" in answer.headers
            assert problem["missing"] == [{"part": part, "reason": "failed (the disk is gone.)"}]


async def test_readiness_names_all_that_is_missing() -> None:
    async for ports in served(catalog=Broken(), staging=Broken(), queue=Broken()):
        problem = (await ports.management.get("/readyz")).json()
        assert [each["part"] for each in problem["missing"]] == ["catalog", "staging"]
        assert problem["detail"] == "Not ready: catalog failed (the disk is gone.); staging failed (the disk is gone.)"


async def test_what_it_can_do_without_is_told_and_leaves_it_ready() -> None:
    async for ports in served(generator=ScriptedGenerator(error=Unavailable("no GPU.")), queue=Broken(), tracker=Broken()):
        answer = await ports.management.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json()["degraded"] == [
            {"part": "generation", "reason": "failed (no GPU.)"},
            {"part": "queue", "reason": "failed (the disk is gone.)"},
            {"part": "tracking", "reason": "failed (the disk is gone.)"},
        ]


async def test_a_generator_that_hangs_does_not_keep_readiness_waiting() -> None:
    class Hanging(ScriptedGenerator):
        async def check(self) -> None:
            await asyncio.Event().wait()

    async for ports in served(generator=Hanging()):
        async with asyncio.timeout(1.5):
            assert (await ports.management.get("/readyz")).status_code == 200


async def test_a_worker_is_not_ready_without_its_queue() -> None:
    platform = fake_platform()
    readiness = Readiness(replace(platform, adapters=replace(platform.adapters, queue=cast(Any, Broken()))), queue=True)
    with pytest.raises(NotReady) as raised:
        await readiness.check()
    assert [each.part for each in raised.value.missing] == ["queue"]


async def test_however_often_readiness_is_asked_for_a_store_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        asked = 0
        fails = True

        async def names(self) -> list[str]:
            self.asked += 1
            await asyncio.sleep(0)
            if self.fails:
                raise Unavailable("gone.")
            return []

    index = Counting()
    async for ports in served(index=index):
        answers = await asyncio.gather(*(ports.management.get("/readyz") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {503}
        assert index.asked == 1
        index.fails = False
        monkeypatch.setattr("ragstone.services.orchestrator.readiness.time.monotonic", lambda now=time.monotonic: now() + 1.0)
        assert (await ports.management.get("/readyz")).status_code == 200
        assert index.asked == 2


async def test_an_error_that_nobody_foresaw_is_a_missing_part_without_its_details() -> None:
    class Odd:
        async def names(self) -> list[str]:
            raise RuntimeError("secret")

    async for ports in served(index=Odd()):
        answer = await ports.management.get("/readyz")
        assert (answer.status_code, answer.json()["field"], "secret" in answer.text) == (503, "index", False)


async def test_liveness_touches_no_store() -> None:
    async for ports in served(**dict.fromkeys(("catalog", "index", "versions", "staging"), Broken())):
        for port in (ports.api, ports.management):
            assert (await port.get("/healthz")).status_code == 200


async def test_a_part_that_hangs_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        async def names(self) -> list[str]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr("ragstone.services.orchestrator.readiness._WITHIN", 0.01)
    async for ports in served(index=Hanging()):
        problem = (await ports.management.get("/readyz")).json()
        assert (problem["status"], problem["field"]) == (503, "index")


async def test_it_is_not_ready_from_the_first_signal_on_but_alive(ports: Ports) -> None:
    ports.app.state.readiness.stopping = True
    for port in (ports.api, ports.management):
        answer = await port.get("/readyz")
        assert (answer.status_code, answer.json()["field"]) == (503, "server")
        assert (await port.get("/healthz")).status_code == 200
