"""An embedding model without a model: bags of hashed words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

_TOKEN = re.compile(r"\w{1,8}|[^\w\s]")  # words, the long ones in pieces of 8 characters, and single marks


class HashingEmbeddingModel:
    """`EmbeddingModel` whose vectors are sums of one pseudo-random direction per word: texts that share words are similar.

    `calls` and `embedded_texts` count passages only; `queries` counts queries. `last_passages` holds the texts of the last call.
    """

    def __init__(self, dimension: int = 64, *, window: int = 256, revision: str = "1") -> None:
        digest = hashlib.sha256(f"hashing-{dimension}-{revision}".encode()).hexdigest()
        self._identity = ModelIdentity("hashing", revision, digest, dimension, "mean", window)
        self._directions: dict[str, Vectors] = {}
        self.calls = 0
        self.embedded_texts = 0
        self.queries = 0
        self.last_passages: tuple[str, ...] = ()

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def special_tokens(self) -> int:
        return 2  # as BERT has

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.calls += 1
        self.embedded_texts += len(texts)
        self.last_passages = tuple(texts)
        return self._embed(texts)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        self.queries += len(texts)
        return self._embed(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_TOKEN.findall(text)) for text in texts]

    async def check(self) -> None:
        pass

    def _embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self._identity.dimension), np.float32)
        for row, text in enumerate(texts):
            words = [word.lower() for word in _TOKEN.findall(text)[: self._identity.window - self.special_tokens]]
            total = np.sum([self._direction(word) for word in words or [""]], axis=0)
            vectors[row] = total / max(float(np.linalg.norm(total)), 1e-12)
        return vectors

    def _direction(self, word: str) -> Vectors:
        if word not in self._directions:
            seed = int.from_bytes(hashlib.sha256(word.encode(errors="replace")).digest()[:8], "big")
            self._directions[word] = np.random.default_rng(seed).standard_normal(self._identity.dimension).astype(np.float32)
        return self._directions[word]
