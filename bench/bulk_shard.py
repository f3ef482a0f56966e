"""`python -m bench.bulk_shard STAGE RUN SHARD`: a shard whose embedder sleeps 20 ms a batch, so that what is measured is everything else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.use_cases.bulk_shard import work_shard

DIMENSION, SECONDS = 384, 0.02
IDENTITY = ModelIdentity("sleeping", "1", "0" * 64, DIMENSION, "mean", 256)


class SleepingModel:
    """`EmbeddingModel` as far as shards use it."""

    identity = IDENTITY
    special_tokens = 2

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        await asyncio.sleep(SECONDS)
        return np.full((len(texts), DIMENSION), DIMENSION**-0.5, np.float32)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return await self.embed_passages(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // 4 for text in texts]

    async def check(self) -> None:
        pass


if __name__ == "__main__":
    stage, run, shard = sys.argv[1:]
    asyncio.run(work_shard(FileBulkStage(Path(stage)), run, int(shard), SleepingModel()))
