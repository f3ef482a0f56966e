"""The vectors of a big job, embedded in shards before its lease is taken (ADR 0032)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ragstone.domain.bulk import ShardProgress
from ragstone.domain.collections import Collection
from ragstone.domain.documents import StoredDocument
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.domain.retrieval import Vector
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.bulk import BulkEmbedding
from ragstone.use_cases.index_writer import ChangedDocument, batches, chunk_all
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.spaces import Spaces

_ASKED = 256  # hashes that the index is asked for at a time
_TTL, _LOOK = 120.0, 1.0  # seconds: of the lock, and between two tries to get it

Vectors = Mapping[str, Mapping[str, Vector]]  # by space, then by content hash


class BulkJobs:
    """Nothing that it does is seen by anybody: what it stages is taken by the attempt that writes, or by nobody. `holder` names this process in locks."""

    def __init__(
        self, catalog: Catalog, index: VectorIndex, spaces: Spaces, progress: ProgressBoard, bulk: BulkEmbedding, holder: str
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._spaces = spaces
        self._progress = progress
        self._bulk = bulk
        self._holder = holder

    async def embed(self, job: Job, collection: Collection, documents: Sequence[StoredDocument]) -> Vectors:
        """Of the job's chunks that have no vector yet, in every registered space; nothing for a small job. Raises what `BulkEmbedding.embed` raises.

        A message that comes twice does not have the shards started twice: of several processes one has them at work, and the others wait for it.
        """
        if sum(len(document.extracted.text) for document in documents) < self._bulk.settings.least:  # a chunk has a letter at least
            return {}
        lock = f"bulk:{job.id}"
        while not await self._catalog.hold(lock, self._holder, _TTL):  # noqa: ASYNC110 - others tell nothing
            await asyncio.sleep(_LOOK)
        try:
            if (await self._catalog.job(job.id)).state in TERMINAL:
                return {}
            return {space.id: await self._in_space(job, collection, space, documents, lock) for space in collection.spaces}
        finally:
            await asyncio.shield(self._catalog.let_go(lock, self._holder))

    async def forget(self, job_id: str) -> None:
        """Deletes what is staged for a job that has ended."""
        await self._bulk.forget(job_id)

    async def _in_space(
        self, job: Job, collection: Collection, space: EmbeddingSpace, documents: Sequence[StoredDocument], lock: str
    ) -> Mapping[str, Vector]:
        changed = [ChangedDocument(document.info, document.extracted) for document in documents]
        cut = await chunk_all(changed, self._spaces.embedder(space), space)
        texts = [(info.path, {chunk.content_hash: chunk.embedded_text for chunk in chunks}) for info, chunks in cut]
        known = await self._known(collection.index_name(space.id), sorted({hashed for _, own in texts for hashed in own}))
        fresh = [(path, {hashed: text for hashed, text in own.items() if hashed not in known}) for path, own in texts]

        async def told(shards: tuple[ShardProgress, ...]) -> None:
            self._progress.shards(job.id, shards)
            await self._catalog.report(job.id, self._progress.get(job.id))
            await self._catalog.hold(lock, self._holder, _TTL)

        return await self._bulk.embed(job.id, space, fresh, told)

    async def _known(self, index: str, hashes: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for batch in batches(hashes, _ASKED):
            known |= (await self._index.vectors(index, batch)).keys()
        return known
