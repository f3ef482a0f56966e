"""Which embedding space a new collection gets, and which model serves an existing one."""

from __future__ import annotations

from ragstone.domain.errors import Unavailable
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace
from ragstone.ports.embedding_model import EmbeddingModel


class Spaces:
    """Knows the models that this process has loaded."""

    def __init__(self, embedder: EmbeddingModel, parsers: tuple[str, ...], chunker: ChunkerSettings) -> None:
        self._embedder = embedder
        self._parsers = parsers
        self._chunker = chunker

    def current(self, language: str) -> EmbeddingSpace:
        """The space of a collection that is made now, in a language of the BM25 encoder."""
        return EmbeddingSpace(self._embedder.identity, self._parsers, self._chunker, Bm25Settings(language=language))

    def embedder(self, space: EmbeddingSpace) -> EmbeddingModel:
        """The model of a space. Raises `Unavailable` when another one is loaded: vectors of two spaces are never compared."""
        loaded = self._embedder.identity
        if loaded != space.model:
            raise Unavailable(
                f"This collection was embedded with {space.model.name} (digest {space.model.digest[:12]}), but {loaded.name} "
                f"(digest {loaded.digest[:12]}) is loaded; start with that model, or make a new collection.",
                field="collection",
            )
        return self._embedder
