"""Models as the embedding service holds them: with a version."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ragstone.adapters.batching_embedder import BatchingEmbedder
from ragstone.adapters.onnx_reranker import OnnxReranker


@dataclass(frozen=True, slots=True)
class ServedEmbedder:
    """`version`: as its source counts (the registry's number, the hub's commit, a hash of the directory's small files). `source`: where it came from, for people."""

    embedder: BatchingEmbedder
    version: str
    source: str

    async def close(self) -> None:
        """Ends its threads."""
        await asyncio.to_thread(self.embedder.close)


@dataclass(frozen=True, slots=True)
class ServedReranker:
    """As `ServedEmbedder`."""

    reranker: OnnxReranker
    version: str
    source: str

    async def close(self) -> None:
        """Ends its threads."""
        await self.reranker.close()
