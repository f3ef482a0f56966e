"""The generation service as a process that follows an alias, under streams that never pause; its models are GGUF files that say their version."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.servers.generation_service import Service, serving
from tests.support.tiny_llama import write_tiny_llama

pytestmark = pytest.mark.servers
_PATIENCE = 120.0  # seconds
_CLIENTS = 4
WORDS = {"1": " one", "2": " two", "3": " three"}
BROKEN, ABORTING, TAMPERED = 4, 5, 6  # versions

REFUSED = (
    (BROKEN, "The engine ended with status 1"),
    (ABORTING, "The engine ended with status -6"),
    (TAMPERED, "tiny.gguf of models:/writer/6"),
)


def written(folder: Path, number: int) -> Path:
    folder.mkdir(parents=True)
    words = [WORDS.get(str(number), " never")] * (2 if number == ABORTING else 1)  # no vocabulary has a word twice
    return write_tiny_llama(folder / "tiny.gguf", words, endless=True, trained=2**12, broken=number == BROKEN)


async def registered(settings: Settings, folder: Path) -> None:
    """Three versions that can serve, one with a weight that is not a number, one at which llama.cpp aborts, and one whose file is altered afterwards."""
    async with model_registry(settings) as registry:
        for number in range(1, 7):
            file = await asyncio.to_thread(written, folder / str(number), number)
            content, root = await asyncio.to_thread(content_of, settings, str(file), "generator", "MIT")
            assert (await registry.register("writer", content, root, "ada")).number == number
        await registry.move_alias("writer", "champion", 1)
    stored = settings.data_dir / "models" / "writer" / str(TAMPERED) / "files" / "tiny.gguf"
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")


async def point(settings: Settings, number: int) -> None:
    async with model_registry(settings) as registry:
        await registry.move_alias("writer", "champion", number)


@dataclass
class Streams:
    """Clients that ask one after another. `named`: versions in the order in which streams ended."""

    client: httpx.AsyncClient
    named: list[str] = field(default_factory=list)

    async def ask(self) -> None:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Which?"}], "max_tokens": 200, "stream": True}
        answer = await self.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        version = answer.headers["X-Ragstone-Model-Version"]
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events.pop() == "[DONE]"
        deltas = [choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"]]
        assert set("".join(deltas).split()) == {WORDS[version].strip()}  # of one version, the one that it names
        self.named.append(version)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Without a pause while the block runs; what failed is raised at its end."""
        ended = asyncio.Event()

        async def always() -> None:
            while not ended.is_set():
                await self.ask()

        clients = [asyncio.create_task(always()) for _ in range(_CLIENTS)]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*clients)


async def becomes(state: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await state():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.05)


def engines(service: Service) -> list[int]:
    """Processes of llama.cpp."""
    pid = service.process.pid
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in children if b"llama_program" in Path(f"/proc/{child}/cmdline").read_bytes()]


def still_there(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_an_alias_that_moves_under_load_fails_no_stream_and_mixes_none(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", models=tmp_path / "cache")
    await registered(settings, tmp_path / "files")
    variables = {
        "MODEL": "models:/writer@champion",
        "RUNNING": "2",
        "WAITING": str(_CLIENTS),
        "CONTEXT_WINDOW": "512",
        "RAGSTONE_DATA_DIR": str(settings.data_dir),
        "RAGSTONE_MODELS": str(settings.models),
        "RAGSTONE_MODEL_REGISTRY__POLL_SECONDS": "0.2",
    }
    with serving(tmp_path, variables) as service:
        assert service.facts["model"]["version"] == "1"
        async with httpx.AsyncClient(base_url=service.url, timeout=_PATIENCE) as client:
            streams = Streams(client)

            async def degraded() -> list[dict[str, Any]]:
                ready = await client.get("/readyz")
                assert ready.status_code == 200
                told: list[dict[str, Any]] = ready.json()["degraded"]
                return told

            async with streams.asking():
                for version in ("2", "3", "1"):
                    await point(settings, int(version))
                    await becomes(partial(_ends_with, streams, version))
                    for number, why in REFUSED:
                        await point(settings, number)
                        await becomes(partial(_tells, degraded, why))
                        assert f"models:/writer/{version} goes on serving" in (await degraded())[0]["reason"]
                        assert streams.named[-1] == version
                    await point(settings, int(version))
                    await becomes(partial(_nothing, degraded))
            changes = [one for one, other in zip(streams.named, [*streams.named[1:], ""], strict=True) if one != other]
            assert [changes[0], changes[-1]] == ["1", "1"]
            assert set(changes) == set(WORDS)
            [listed] = (await client.get("/v1/models")).json()["data"]
            assert listed["version"] == "1"
            metrics = (await client.get("/metrics")).text
            assert 'ragstone_model_version{model="models:/writer@champion"} 1.0' in metrics
            assert 'ragstone_model_behind{model="models:/writer@champion"} 0.0' in metrics
            assert 'ragstone_model_changes_total{model="models:/writer@champion",outcome="changed"} 3.0' in metrics
            assert "ragstone_served_model_info{" in metrics
            assert len(engines(service)) == 1
            await point(settings, 2)
            await becomes(partial(_loads, service))  # the next engine is there, and does not serve yet, or just so
            left = engines(service)
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, _PATIENCE) == 0
            assert not await asyncio.to_thread(still_there, left)


async def _ends_with(streams: Streams, version: str) -> bool:
    return streams.named[-1:] == [version]


async def _tells(degraded: Callable[[], Awaitable[list[dict[str, Any]]]], why: str) -> bool:
    return any(why in each["reason"] for each in await degraded())


async def _nothing(degraded: Callable[[], Awaitable[list[dict[str, Any]]]]) -> bool:
    return not await degraded()


async def _loads(service: Service) -> bool:
    return len(engines(service)) > 1
