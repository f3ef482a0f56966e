"""The embedding service as a process that follows an alias of a real MLflow server, and that starts again while the server is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.servers.embedding_service import MISSING, PROGRAM, serving
from tests.servers.nats import free_port
from tests.servers.reporting import skip_missing
from tests.support.tiny_encoder import make_encoder

pytestmark = [pytest.mark.packaged, pytest.mark.xdist_group("mlflow")]
_PATIENCE = 120.0  # seconds
TEXTS = ["the red pump stops", "oil flows"]


def variables(settings: Settings, name: str, uri: str) -> Mapping[str, str]:
    """Of a process that follows the champion."""
    return {
        "RAGSTONE_MODEL": f"models:/{name}@champion",
        "RAGSTONE_MODELS": str(settings.models),
        "RAGSTONE_DATA_DIR": str(settings.data_dir),
        "RAGSTONE_TRACKING": json.dumps({"kind": "mlflow", "uri": uri}),
        "RAGSTONE_MODEL_REGISTRY__POLL_SECONDS": "0.2",
    }


@dataclass
class Load:
    """One client that never pauses; `named`: the version of each answer, in order."""

    client: httpx.AsyncClient
    named: list[str] = field(default_factory=list)

    async def ask(self) -> str:
        answer = await self.client.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS})
        assert answer.status_code == 200, answer.text
        self.named.append(answer.headers["X-Ragstone-Model-Version"])
        assert answer.json()["ragstone"]["version"] == self.named[-1]
        return self.named[-1]

    async def until(self, version: str) -> None:
        async with asyncio.timeout(_PATIENCE):
            while await self.ask() != version:
                pass


async def test_a_process_follows_the_alias_and_starts_again_without_the_registry(mlflow_uri: str, tmp_path: Path) -> None:
    if not PROGRAM.exists():
        skip_missing("BentoML", MISSING)
    name = f"m{uuid4().hex}"
    settings = load_settings(data_dir=tmp_path / "data", models=tmp_path / "cache", tracking={"kind": "mlflow", "uri": mlflow_uri})
    folder = make_encoder(tmp_path / "tiny")
    async with model_registry(settings) as registry:
        for licence in ("MIT", "Apache-2.0"):
            content, root = await asyncio.to_thread(content_of, settings, str(folder), "embedder", licence)
            await registry.register(name, content, root, "ada")
        await registry.move_alias(name, "champion", 1)
        with serving(tmp_path, variables(settings, name, mlflow_uri)) as service:
            assert service.facts["model"]["version"] == "1"
            async with httpx.AsyncClient(base_url=service.url, timeout=_PATIENCE) as client:
                load = Load(client)
                await load.ask()
                for version in (2, 1, 2):
                    await registry.move_alias(name, "champion", version)
                    await load.until(str(version))
                changes = sum(one != other for one, other in zip(load.named, load.named[1:], strict=False))
                assert changes == 3  # never back and forth
                assert (await client.get("/readyz")).json() == {"status": "ready", "degraded": []}
    away = f"http://127.0.0.1:{free_port()}"
    with serving(tmp_path, variables(settings, name, away)) as service:
        assert service.facts["model"]["version"] == "2"
        async with httpx.AsyncClient(base_url=service.url, timeout=_PATIENCE) as client:
            assert await Load(client).ask() == "2"
            [told] = (await client.get("/readyz")).json()["degraded"]
            assert told["part"] == "model"
            assert "did not answer" in told["reason"] or "can't be reached" in told["reason"]
            assert f"models:/{name}/2" in told["reason"]
