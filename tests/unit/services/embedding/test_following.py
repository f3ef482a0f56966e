"""The embedding service over models of the registry: which it serves, how it changes over, and what it says when it can't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.bootstrap.served_models import ServedModels
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.registered_models import ModelKind
from ragstone.services.embedding.app import create_app, new_serving
from ragstone.services.embedding.serving import Serving
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics
from tests.support.tiny_cross_encoder import make_cross_encoder
from tests.support.tiny_encoder import make_encoder

TEXTS = ["the red pump", "oil flows"]


def configured(tmp_path: Path, **more: object) -> Settings:
    registry = {"poll_seconds": 3_600}  # a test looks when it wants to
    return load_settings(data_dir=tmp_path / "data", models=tmp_path / "cache", threads=1, model_registry=registry, **more)


async def registered(settings: Settings, name: str, folder: Path, kind: ModelKind, licence: str = "MIT") -> int:
    content, root = await asyncio.to_thread(content_of, settings, str(folder), kind, licence)
    async with model_registry(settings) as registry:
        return (await registry.register(name, content, root, "ada")).number


async def point(settings: Settings, name: str, number: int) -> None:
    async with model_registry(settings) as registry:
        await registry.move_alias(name, "champion", number)


@dataclass
class Service:
    client: httpx.AsyncClient
    serving: Serving

    async def look(self) -> None:
        for follower in self.serving.followers:
            await follower.look()  # type: ignore[attr-defined]

    async def embed(self) -> httpx.Response:
        answer = await self.client.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS})
        assert answer.status_code == 200
        return answer

    async def rerank(self) -> httpx.Response:
        answer = await self.client.post("/rerank", json={"query": "red pump", "texts": TEXTS, "raw_scores": True})
        assert answer.status_code == 200
        return answer

    async def degraded(self) -> list[dict[str, str]]:
        answer = await self.client.get("/readyz")
        assert answer.status_code == 200
        told: list[dict[str, str]] = answer.json()["degraded"]
        return told


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[Service]:
    models = ServedModels(settings, lambda _: None)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(models.close)
        serving = new_serving(settings, EmbeddingMetrics(), await models.embedder(), await models.reranker())
        stack.push_async_callback(serving.close)
        stack.push_async_callback(models.stop)
        serving = replace(serving, followers=models.follow(serving.embedder, serving.reranker))
        transport = httpx.ASGITransport(create_app(serving))
        yield Service(await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")), serving)


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[tuple[Settings, Service]]:
    """An embedder and a reranker by alias, at their first versions of two. The rerankers' weights differ."""
    plain = configured(tmp_path)
    encoder = make_encoder(tmp_path / "tiny")
    for licence in ("MIT", "Apache-2.0"):
        await registered(plain, "minilm", encoder, "embedder", licence)
    for seed in (1, 2):
        await registered(plain, "judge", make_cross_encoder(tmp_path / str(seed) / "judge", seed=seed), "reranker")
    for name in ("minilm", "judge"):
        await point(plain, name, 1)
    settings = configured(
        tmp_path, model="models:/minilm@champion", reranker={"kind": "onnx", "model": "models:/judge@champion", "threads": 1}
    )
    async with service(settings) as running:
        yield settings, running


def version(answer: httpx.Response) -> str:
    return str(answer.headers["X-Ragstone-Model-Version"])


async def test_both_models_change_over_with_their_aliases_and_answers_name_the_version(followed: tuple[Settings, Service]) -> None:
    settings, running = followed
    before, scored = await running.embed(), await running.rerank()
    assert (version(before), before.json()["ragstone"]["version"], version(scored)) == ("1", "1", "1")
    await point(settings, "minilm", 2)
    await point(settings, "judge", 2)
    await running.look()
    after, rescored = await running.embed(), await running.rerank()
    assert (version(after), after.json()["ragstone"]["version"], version(rescored)) == ("2", "2", "2")
    assert after.json()["data"] == before.json()["data"]
    assert rescored.json() != scored.json()
    assert await running.degraded() == []
    metrics = (await running.client.get("/metrics")).text
    assert 'ragstone_model_version{model="models:/judge@champion"} 2.0' in metrics
    assert "ragstone_served_model_info{" in metrics


async def test_requests_never_fail_and_never_mix_while_the_alias_moves(followed: tuple[Settings, Service]) -> None:
    settings, running = followed
    scores: dict[str, Any] = {"1": (await running.rerank()).json()}
    await point(settings, "judge", 2)
    await running.look()
    scores["2"] = (await running.rerank()).json()
    ended, named = asyncio.Event(), set[str]()

    async def ask() -> None:
        while not ended.is_set():
            answer = await running.rerank()
            named.add(version(answer))
            assert answer.json() == scores[version(answer)]

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for move in range(6):
        await point(settings, "judge", 1 + move % 2)
        await running.look()
        assert version(await running.rerank()) == str(1 + move % 2)
    ended.set()
    await asyncio.gather(*asking)
    assert named == {"1", "2"}


async def test_another_space_is_refused_and_told_and_the_old_one_serves(followed: tuple[Settings, Service], tmp_path: Path) -> None:
    settings, running = followed
    other = await registered(settings, "minilm", make_encoder(tmp_path / "other" / "tiny", seed=5), "embedder")
    await point(settings, "minilm", other)
    await running.look()
    assert version(await running.embed()) == "1"
    [told] = await running.degraded()
    assert told["part"] == "model"
    assert "models:/minilm/3 is refused: It is of another embedding space" in told["reason"]
    assert "reembed" in told["reason"]
    metrics = (await running.client.get("/metrics")).text
    assert 'ragstone_model_behind{model="models:/minilm@champion"} 1.0' in metrics
    assert 'ragstone_model_changes_total{model="models:/minilm@champion",outcome="refused"}' in metrics
    await point(settings, "minilm", 2)
    await running.look()
    assert (version(await running.embed()), await running.degraded()) == ("2", [])


async def test_a_version_of_another_kind_a_tampered_one_and_a_lost_alias_leave_the_old_one_serving(
    followed: tuple[Settings, Service], tmp_path: Path
) -> None:
    settings, running = followed
    wrong = await registered(settings, "minilm", make_cross_encoder(tmp_path / "x" / "judge"), "reranker")
    await point(settings, "minilm", wrong)
    await running.look()
    assert "models:/minilm/3 is of the kind reranker" in (await running.degraded())[0]["reason"]
    stored = tmp_path / "data" / "models" / "minilm" / "2" / "files" / "tokenizer.json"
    stored.write_bytes(stored.read_bytes() + b" ")
    await point(settings, "minilm", 2)
    await running.look()
    assert "tokenizer.json of models:/minilm/2" in (await running.degraded())[0]["reason"]
    async with model_registry(settings) as registry:
        await registry.drop_alias("minilm", "champion")
    await running.look()
    assert "minilm has no alias 'champion'" in (await running.degraded())[0]["reason"]
    assert version(await running.embed()) == "1"


async def test_a_version_by_number_and_a_directory_are_not_followed(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "tiny")
    await registered(configured(tmp_path), "minilm", encoder, "embedder")
    for model, named in (("models:/minilm/1", "1"), (str(encoder), None)):
        async with service(configured(tmp_path, model=model)) as running:
            assert running.serving.followers == ()
            answer = await running.embed()
            assert named in (None, version(answer))
            assert await running.degraded() == []


async def test_a_service_does_not_start_without_a_model_that_can_serve(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no registered model 'minilm'"):
        async with service(configured(tmp_path, model="models:/minilm@champion")):
            pass
    remote = {"kind": "ragstone", "base_url": "http://127.0.0.1:1/v1", "model": "m", "tokenizer": "t"}
    with pytest.raises(InvalidInput, match="another server's"):
        async with service(configured(tmp_path, model="models:/minilm@champion", embedder=remote)):
            pass
