"""What `ragstone serve-embedding` serves."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict, replace

from ragstone.adapters.batching_embedder import BatchFacts
from ragstone.bootstrap.served_models import ServedModels
from ragstone.cli import serving_bento
from ragstone.cli.serving_bento import Loaded, Service
from ragstone.cli.session import Session
from ragstone.ports.authenticator import Authenticator
from ragstone.services.embedding.app import new_serving
from ragstone.services.embedding.bento import make_app
from ragstone.services.embedding.serving import Serving
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics


async def run(session: Session, settings: Settings) -> None:
    """Serves until a signal. Raises `InvalidInput` (address, keys, model, provider), `NotFound` (model)."""

    async def load(stack: AsyncExitStack, keys: Authenticator | None) -> Loaded:
        return _loaded(await _load(settings, stack), keys)

    await serving_bento.serve(session, settings, Service("embedding_service", settings.embedding_service.port, load))


async def _load(settings: Settings, stack: AsyncExitStack) -> Serving:
    """The models, loaded; closed with the stack."""
    metrics = EmbeddingMetrics()

    def on_batch(facts: BatchFacts) -> None:
        metrics.batch(**asdict(facts))

    models = ServedModels(settings, on_batch)
    stack.push_async_callback(models.close)
    embedder = await models.embedder()
    reranker = await models.reranker()
    serving = new_serving(settings, metrics, embedder, reranker)
    stack.push_async_callback(serving.close)
    stack.push_async_callback(models.stop)
    return replace(serving, followers=models.follow(serving.embedder, serving.reranker))


def _loaded(serving: Serving, keys: Authenticator | None) -> Loaded:
    model = serving.embedder.now
    identity = model.embedder.identity
    reranker = serving.reranker.now.reranker.identity if serving.reranker else None
    app, bento = make_app(serving, keys)

    def stopping() -> None:
        serving.readiness.stopping = True

    return Loaded(
        app,
        bento,
        stopping,
        facts={
            "model": {"name": identity.name, "version": model.version, "digest": identity.digest, "space": identity.space},
            "reranker": asdict(reranker) if reranker else None,
        },
        title="embedding service",
        lines=(
            f"  model        {identity.name}, version {model.version[:12]}, SHA-256 {identity.digest[:12]}, space {identity.space}",
            f"  reranker     {reranker.name}, SHA-256 {reranker.digest[:12]}" if reranker else "  reranker     none",
        ),
        routes="/v1/embeddings, /v1/models, /embed" + (", /rerank" if reranker else ""),
        word="Ready in",
    )
