"""The models of `ragstone serve-embedding`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragstone.adapters.batching_embedder import BatchFacts, BatchingEmbedder
from ragstone.adapters.container import usable_cpus
from ragstone.adapters.model_files import check_manifest
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_reranker import OnnxReranker
from ragstone.adapters.served_models import ServedEmbedder, ServedReranker
from ragstone.bootstrap.models import model_store, onnx_embedder, onnx_reranker, reranker
from ragstone.domain.errors import InvalidInput
from ragstone.settings import embedders, rerankers
from ragstone.settings.model import Settings


def served_embedder(settings: Settings, on_batch: Callable[[BatchFacts], None]) -> ServedEmbedder:
    """The model of the settings, loaded, its files compared with the digests that came with them.

    Blocking; not to be called in an event loop's thread. Raises `NotFound`, `InvalidInput`.
    """
    check_own(settings)
    path = model_store(settings).path(settings.model)
    check_manifest(path)
    return served_embedder_at(settings, path, on_batch, None, settings.model)


def served_embedder_at(
    settings: Settings, path: Path, on_batch: Callable[[BatchFacts], None], version: str | None, source: str
) -> ServedEmbedder:
    """The model of a place, whose files are known to be right. `version` None: the model's revision. Blocking. Raises `NotFound`, `InvalidInput`."""
    encoder = onnx_embedder(settings, path)
    return ServedEmbedder(batching(settings, encoder, on_batch), version or encoder.identity.revision, source)


def check_own(settings: Settings) -> None:
    """Raises `InvalidInput` unless the settings name a model that is run here."""
    if not isinstance(settings.embedder, embedders.OnnxEmbedder):
        raise InvalidInput(
            f"embedder.kind: it is {settings.embedder.kind}, another server's; this one serves a model of its own. Leave it out here.",
            field="embedder.kind",
        )


def batching(settings: Settings, encoder: OnnxEmbedder, on_batch: Callable[[BatchFacts], None]) -> BatchingEmbedder:
    """With the service's bounds."""
    own = settings.embedding_service
    return BatchingEmbedder(
        encoder,
        threads=settings.threads or usable_cpus(),
        batch_tokens=own.batch_tokens,
        batch_texts=own.batch_texts,
        queue_texts=own.queue_texts,
        on_batch=on_batch,
    )


def served_reranker(settings: Settings) -> ServedReranker | None:
    """The reranker of the settings, loaded; None where they name none of the kind onnx. Blocking. Raises `NotFound`, `InvalidInput`."""
    made = reranker(settings)
    if not isinstance(made, OnnxReranker):
        return None
    return ServedReranker(made, made.identity.revision, made.identity.name)


def served_reranker_at(settings: Settings, onnx: rerankers.OnnxReranker, path: Path, version: str, source: str) -> ServedReranker:
    """The reranker of a place. Blocking. Raises `NotFound`, `InvalidInput`."""
    return ServedReranker(onnx_reranker(settings, onnx, path), version, source)
