"""The part of the composition that comes first: embedding models. Apart from `bootstrap`, so that one loads while the rest is imported."""

from __future__ import annotations

from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.settings.model import Settings


def model_store(settings: Settings) -> ModelStore:
    """The models on this machine."""
    return ModelStore(settings.models)


def embedding_model(settings: Settings) -> EmbeddingModel:
    """The model of the settings, loaded; a preset that is not here yet is fetched. Blocking. Raises `NotFound`, `InvalidInput`, `Unavailable`."""
    store = model_store(settings)
    return OnnxEmbedder(store.path(settings.model), graphs=store.graphs, threads=settings.threads or None)
