"""The service's application over tiny models, and a client that talks to it in-process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from ragstone.adapters.batching_embedder import BatchFacts, BatchingEmbedder, Encoder
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_reranker import OnnxReranker
from ragstone.adapters.served_models import ServedEmbedder, ServedReranker
from ragstone.ports.authenticator import Authenticator
from ragstone.services.embedding.app import create_app, new_serving
from ragstone.services.embedding.serving import Serving
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics
from tests.support.tiny_cross_encoder import make_cross_encoder
from tests.support.tiny_encoder import make_encoder

PROMPTS = {"query": "query: ", "passage": "passage: "}


@dataclass
class Service:
    """An application with what it serves."""

    http: httpx.AsyncClient
    app: FastAPI
    serving: Serving


Serve = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[int], OnnxEmbedder]:
    """A tiny encoder with random weights of this seed."""

    def made(seed: int = 1) -> OnnxEmbedder:
        folder = tmp_path / f"tiny-{seed}" / "tiny"
        return OnnxEmbedder(make_encoder(folder, prompts=PROMPTS, seed=seed), graphs=tmp_path / "graphs", threads=1)

    return made


@pytest.fixture
def serve(tmp_path: Path, tiny: Callable[[int], OnnxEmbedder]) -> Serve:
    """Runs one, by default with a tiny encoder and a tiny cross-encoder. Variables are of `embedding_service`, but `limits`."""

    @asynccontextmanager
    async def serving(
        encoder: Encoder | None = None,
        *,
        keys: Authenticator | None = None,
        reranker: bool = True,
        limits: dict[str, float] | None = None,
        **own: int,
    ) -> AsyncIterator[Service]:
        settings = Settings(data_dir=tmp_path, embedding_service=own, limits=limits or {})  # type: ignore[arg-type]
        metrics = EmbeddingMetrics()

        def on_batch(facts: BatchFacts) -> None:
            metrics.batch(**asdict(facts))

        embedder = batching(encoder or tiny(1), settings, on_batch)
        scorer = None
        if reranker:
            model = await asyncio.to_thread(OnnxReranker, make_cross_encoder(tmp_path / "cross"), graphs=tmp_path / "graphs", threads=1)
            scorer = ServedReranker(model, "7", "here")
        made = new_serving(settings, metrics, ServedEmbedder(embedder, "1", "here"), scorer)
        app = create_app(made, keys)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost:8643"
        ) as http:
            yield Service(http, app, made)
        await made.close()

    return serving


def batching(encoder: Encoder, settings: Settings, on_batch: Callable[[BatchFacts], None] = lambda _: None) -> BatchingEmbedder:
    own = settings.embedding_service
    return BatchingEmbedder(
        encoder, threads=1, batch_tokens=own.batch_tokens, batch_texts=own.batch_texts, queue_texts=own.queue_texts, on_batch=on_batch
    )


@pytest.fixture
async def service(serve: Serve) -> AsyncIterator[Service]:
    async with serve() as made:
        yield made
