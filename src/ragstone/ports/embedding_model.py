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
    - `special_tokens`: what the model reads beside the tokens of a text and its prefix; the three together fit into the window, or the text is cut.
    - Safe to call from several tasks at once; the event loop is not blocked. Raises `Unavailable` when the model does not answer or is another one
      than `identity` says, and for queries `Busy` when it has too much to do.
    - `check` raises `Unavailable` as embedding would now, and costs next to nothing.
    """

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def special_tokens(self) -> int: ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors: ...

    async def embed_queries(self, texts: Sequence[str]) -> Vectors: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    async def check(self) -> None: ...
