"""Brings one index from the head's state to a staged commit's: chunk, embed once, write, close, verify (DESIGN.md section 4, steps 5 to 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ragstone.domain.chunking import chunk_document
from ragstone.domain.collections import Collection
from ragstone.domain.documents import Chunk, DocumentInfo, ExtractedText
from ragstone.domain.errors import InternalError, Unavailable
from ragstone.domain.retrieval import IndexedChunk, Point, Vector, Vectors
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.chunk_plan import plan_chunks
from ragstone.use_cases.lease_guard import LeaseGuard
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.visibility import Visibility

_BATCH = 256  # points a write
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ChangedDocument:
    """A document of the staged commit that the head has not, or has otherwise."""

    info: DocumentInfo
    extracted: ExtractedText


@dataclass(frozen=True, slots=True)
class WriteStats:
    """What was written to one index. `embedded` chunks went through the model, `reused` ones had a vector."""

    added: int
    removed: int
    kept: int
    opened: int
    closed: int
    embedded: int
    reused: int


class IndexWriter:
    """Writes one attempt into one index."""

    def __init__(self, index: VectorIndex, embedder: EmbeddingModel, progress: ProgressBoard, visibility: Visibility) -> None:
        self._index = index
        self._visibility = visibility
        self._embedder = embedder
        self._progress = progress

    async def write(
        self,
        collection: Collection,
        space: EmbeddingSpace,
        guard: LeaseGuard,
        commit_id: str,
        changed: Sequence[ChangedDocument],
        paths: Sequence[str],
        known: Mapping[str, Vector],
    ) -> WriteStats:
        """`paths`: all that differ from the head, removed ones included. Raises `Unavailable` when the index does not hold what was written."""
        return await self.write_chunks(collection, space, guard, commit_id, await chunk_all(changed, self._embedder, space), paths, known)

    async def write_chunks(
        self,
        collection: Collection,
        space: EmbeddingSpace,
        guard: LeaseGuard,
        commit_id: str,
        new: Sequence[tuple[DocumentInfo, tuple[Chunk, ...]]],
        paths: Sequence[str],
        known: Mapping[str, Vector],
    ) -> WriteStats:
        """The same of documents that are cut already. `known`: vectors by content hash, embedded before; they count as embedded where they are written.

        The index is read as of this attempt, not of the head: what an attempt that filled the space has written is later than the head (ADR 0028).
        """
        lease, name = guard.lease, collection.index_name(space.id)
        job = lease.job_id
        await guard.check()
        old = await self._index.visible(name, lease.attempt - 1, lease.gaps, paths) if lease.head_id else []
        plan = plan_chunks(old, new, attempt=lease.attempt, commit_id=commit_id)
        self._progress.phase(job, "embedding", chunks_total=self._progress.get(job).chunks_total + len(plan.opens))
        groups = await self._visibility.of_paths(collection, paths)
        embedded = 0
        for batch in batches(plan.opens, _BATCH):
            vectors, fresh = await self._vectors(name, batch, known)
            await guard.check()
            await self._index.insert(
                name, [Point(chunk, vectors[chunk.content_hash], groups.get(chunk.path, frozenset())) for chunk in batch]
            )
            embedded += fresh
            self._progress.advance(job, embedded=fresh, reused=len(batch) - fresh)
        for ids in batches(plan.closes, _BATCH):
            await guard.check()
            await self._index.close_points(name, ids, lease.attempt, lease.gaps)
        await self._visibility.follow(collection, name, groups, paths)
        await self._verify(name, lease.attempt, len(plan.opens), len(plan.closes))
        return WriteStats(plan.added, plan.removed, plan.kept, len(plan.opens), len(plan.closes), embedded, len(plan.opens) - embedded)

    async def _vectors(self, name: str, batch: Sequence[IndexedChunk], known: Mapping[str, Vector]) -> tuple[dict[str, Vector], int]:
        """Vectors by content hash, and how many of them had to be embedded."""
        hashes = {chunk.content_hash for chunk in batch}
        vectors = await self._index.vectors(name, hashes)
        before = {hashed: known[hashed] for hashed in hashes - vectors.keys() if hashed in known}
        vectors |= before
        missing = {chunk.content_hash: chunk.embedded_text for chunk in batch if chunk.content_hash not in vectors}
        if missing:
            rows = await self._embedder.embed_passages(list(missing.values()))
            check_vectors(rows, len(missing), self._embedder.identity.dimension)
            vectors |= dict(zip(missing, rows, strict=True))
        return vectors, len(missing) + len(before)

    async def _verify(self, name: str, attempt: int, opened: int, closed: int) -> None:
        found = (await self._index.opened(name, attempt), await self._index.closed(name, attempt))
        if found != (opened, closed):
            raise Unavailable(
                f"The index holds {found[0]} opened and {found[1]} closed points of this attempt instead of {opened} and {closed}; "
                "nothing was published, and the job will be tried again."
            )


async def chunk_all(
    changed: Sequence[ChangedDocument], embedder: EmbeddingModel, space: EmbeddingSpace
) -> list[tuple[DocumentInfo, tuple[Chunk, ...]]]:
    """The chunks of each document, cut off the event loop."""

    def cut(part: Sequence[ChangedDocument]) -> list[tuple[DocumentInfo, tuple[Chunk, ...]]]:
        return [
            (document.info, chunk_document(document.extracted, document.info.title, embedder.count_tokens, space.chunker))
            for document in part
        ]

    chunks: list[tuple[DocumentInfo, tuple[Chunk, ...]]] = []
    for part in batches(changed, 64):
        chunks += await asyncio.to_thread(cut, part)
    return chunks


def check_vectors(rows: Vectors, count: int, dimension: int) -> None:
    """Raises `InternalError` for anything but `count` finite rows of `dimension`."""
    if rows.shape != (count, dimension):
        raise InternalError(f"embedding model: it gave vectors of shape {rows.shape} instead of {(count, dimension)}; check the model.")
    if not np.isfinite(rows).all():
        raise InternalError("embedding model: it gave a vector with NaN or infinity; check the model.")


def batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
