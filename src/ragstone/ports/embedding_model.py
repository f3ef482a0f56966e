"""Texts to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity


class EmbeddingModel(Protocol):
    """Contract:

    - `embed_passages(texts)` gives float32 (n, d), rows L2-normalised and finite, row i for text i; n = 0 gives (0, d).
    - The vector of a text does not depend (beyond 1e-5) on the other texts of the call. Texts beyond `identity.window` are cut.
    - `count_tokens` counts what the model would read of each text, without special tokens, uncut. It is pure CPU work and thread-safe.
    - Safe to call from several tasks at once; the event loop is not blocked. Raises `Unavailable` when the model does not answer.
    """

    @property
    def identity(self) -> ModelIdentity: ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors: ...

    async def embed_queries(self, texts: Sequence[str]) -> Vectors: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...
