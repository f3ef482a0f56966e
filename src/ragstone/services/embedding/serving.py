"""What the routes share: the models that are served, the bounds, and how an answer names its model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ragstone.adapters.served_models import ServedEmbedder, ServedReranker
from ragstone.domain.errors import NotFound
from ragstone.domain.retrieval import Vectors
from ragstone.services.embedding.readiness import Readiness
from ragstone.services.orchestrator.context import while_connected
from ragstone.services.orchestrator.embeddings import Kind, measured
from ragstone.services.orchestrator.gate import Gate
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics
from ragstone.use_cases.alias_follower import Following
from ragstone.use_cases.model_slot import ModelSlot


@dataclass(frozen=True, slots=True)
class Serving:
    """Built once. `reranker` is None where none is served. A model is replaced by `swap` of its slot; each request keeps the one that it began with."""

    settings: Settings
    embedder: ModelSlot[ServedEmbedder]
    reranker: ModelSlot[ServedReranker] | None
    metrics: EmbeddingMetrics
    readiness: Readiness
    gate: Gate
    followers: tuple[Following, ...] = ()

    def embedder_named(self, name: str, stack: ExitStack) -> ServedEmbedder:
        """The embedding model, kept for this request. Raises `NotFound` for another name."""
        model = stack.enter_context(self.embedder.use())
        if name != model.embedder.identity.name:
            raise NotFound(f"model: there is no {name[:100]!r}; the embedding model is {model.embedder.identity.name!r}.", field="model")
        return model

    def reranker_named(self, name: str | None, stack: ExitStack) -> ServedReranker:
        """The reranker, kept for this request; None: whichever is served. Raises `NotFound` for another name, or where there is none."""
        if self.reranker is None:
            raise NotFound("model: no reranker is served here; set reranker.kind to onnx, with its model.", field="model")
        model = stack.enter_context(self.reranker.use())
        own = model.reranker.identity.name
        if name not in (None, own):
            raise NotFound(f"model: there is no reranker {str(name)[:100]!r}; it is {own!r}.", field="model")
        return model

    async def embed(self, request: Request, model: ServedEmbedder, texts: Sequence[str], kind: Kind) -> Vectors:
        """The vectors, unless the client hangs up."""
        embedder = model.embedder
        vectors = await while_connected(request, (embedder.embed_queries if kind == "query" else embedder.embed_passages)(texts))
        self.metrics.texts.labels(kind).inc(len(texts))
        return vectors

    async def measured(self, model: ServedEmbedder, texts: Sequence[str], kind: Kind) -> tuple[int, list[int]]:
        """As `orchestrator.embeddings.measured`, and counted."""
        tokens, truncated = await measured(model.embedder, texts, kind)
        self.metrics.truncated.inc(len(truncated))
        return tokens, truncated

    def tell_models(self) -> None:
        """Into the metrics: what is served now, and nothing that was."""
        gauge = self.metrics.model
        gauge.clear()
        model = self.embedder.now
        identity = model.embedder.identity
        gauge.labels("embedder", identity.name, model.version, identity.digest).set(1)
        if self.reranker is not None:
            reranker = self.reranker.now
            own = reranker.reranker.identity
            gauge.labels("reranker", own.name, reranker.version, own.digest).set(1)

    def problems(self) -> list[dict[str, str]]:
        """Why a model is not what its alias means, each as `/readyz` tells it."""
        return [{"part": "model", "reason": each.problem} for each in self.followers if each.problem is not None]

    async def close(self) -> None:
        """Closes the models."""
        await self.embedder.close()
        if self.reranker is not None:
            await self.reranker.close()


def told(model: ServedEmbedder) -> dict[str, Any]:
    """What answers say of the embedding model beside its identity."""
    return {"version": model.version, "space": model.embedder.identity.space}


def embedder_headers(model: ServedEmbedder) -> dict[str, str]:
    """Of an answer that this model made."""
    identity = model.embedder.identity
    return {**_headers(identity.name, model.version, identity.digest), "X-Ragstone-Space": identity.space}


def reranker_headers(model: ServedReranker) -> dict[str, str]:
    """Of an answer that this model made."""
    identity = model.reranker.identity
    return _headers(identity.name, model.version, identity.digest)


def _headers(name: str, version: str, digest: str) -> dict[str, str]:
    safe = name if name.isascii() and name.isprintable() else name.encode("unicode_escape").decode()
    return {"X-Ragstone-Model": safe, "X-Ragstone-Model-Version": version, "X-Ragstone-Model-Digest": digest}
