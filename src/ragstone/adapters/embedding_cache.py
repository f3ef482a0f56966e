"""An embedding model that remembers the vectors of recent texts. For the read path, where the same sentences come up again and again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from ragstone.domain.retrieval import Vector, Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.ports.embedding_model import EmbeddingModel

_Embed = Callable[[Sequence[str]], Awaitable[Vectors]]
_ENTRY_OVERHEAD = 300  # bytes of a key, an array object and a slot in the table


class EmbeddingCache:
    """`EmbeddingModel` over another one. Holds at most `max_bytes` of vectors and forgets the least recently used first.

    Keys are digests: no text is kept. Used from one event loop, so it needs no lock.
    """

    def __init__(self, model: EmbeddingModel, max_bytes: int = 64 * 2**20) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    @property
    def identity(self) -> ModelIdentity:
        """That of the model behind it."""
        return self._model.identity

    @property
    def special_tokens(self) -> int:
        """As the model's."""
        return self._model.special_tokens

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """As the model's; a text is embedded only when it is not remembered."""
        return await self._embed(b"p", texts, self._model.embed_passages)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As the model's; a text is embedded only when it is not remembered."""
        return await self._embed(b"q", texts, self._model.embed_queries)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As the model's."""
        return self._model.count_tokens(texts)

    async def check(self) -> None:
        """As the model's."""
        await self._model.check()

    async def _embed(self, kind: bytes, texts: Sequence[str], embed: _Embed) -> Vectors:
        keys = [hashlib.blake2b(kind + text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        known = [self._vectors.get(key) for key in keys]
        if all(vector is not None for vector in known) and keys:
            for key in keys:
                self._vectors.move_to_end(key)
            return np.array(known, np.float32)
        found = {key: self._vectors[key] for key in keys if key in self._vectors}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            vectors = await embed(list(missing.values()))
            found |= {key: vectors[row].copy() for row, key in enumerate(missing)}
        result: Vectors = np.empty((len(keys), self.identity.dimension), np.float32)
        for row, key in enumerate(keys):
            result[row] = found[key]
            self._remember(key, found[key])
        return result

    def _remember(self, key: bytes, vector: Vector) -> None:
        if key not in self._vectors:
            self._bytes += vector.nbytes + _ENTRY_OVERHEAD
        self._vectors[key] = vector
        self._vectors.move_to_end(key)
        while self._bytes > self._max_bytes:
            _, forgotten = self._vectors.popitem(last=False)
            self._bytes -= forgotten.nbytes + _ENTRY_OVERHEAD
