"""Writes what an examination found missing or wrong, beside running writers. Done again, or cut short and begun again, it comes to the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from ragstone.domain.documents import Chunk, DocumentInfo
from ragstone.domain.errors import InternalError
from ragstone.domain.retrieval import IndexedChunk, Point, Vector
from ragstone.ports.catalog import Catalog
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.chunk_plan import indexed
from ragstone.use_cases.doctor.examination import Repairs, Target
from ragstone.use_cases.doctor.truth import Facts, Place, Tell, Truth, TruthReader, Version, place
from ragstone.use_cases.index_writer import batches, check_vectors
from ragstone.use_cases.visibility import Visibility

_BATCH = 256  # points a write
_DOCUMENTS = 64  # texts read at a time
_PATIENCE = 10.0  # seconds that a pause between two writers is waited for
_UNIT = 1e-3  # float32 rounding of a length of 1, with room


class Mending:
    """Repairs one index."""

    def __init__(self, catalog: Catalog, index: VectorIndex, embedder: EmbeddingModel, reader: TruthReader, visibility: Visibility) -> None:
        self._catalog = catalog
        self._index = index
        self._embedder = embedder
        self._reader = reader
        self._visibility = visibility

    async def apply(self, facts: Facts, name: str, truth: Truth, repairs: Repairs, tell: Tell) -> None:
        """Repairs the index `name`: points first, then deletions, so that nothing is ever missing that was there.

        A writer that begins between two batches may have read what is repaired after; whoever calls examines again when none is at work.
        """
        total = len(repairs.targets) + len(repairs.deleted)
        written: set[str] = set()
        for targets in batches(sorted(repairs.targets, key=lambda target: (target.path, target.at)), _BATCH):
            chunks = await self._chunks(facts, truth, targets)
            vectors = await self._vectors(name, chunks)
            await quiet(self._catalog, facts.collection.name)
            groups = await self._visibility.of_paths(facts.collection, [chunk.path for chunk in chunks])
            points = [Point(chunk, vectors[chunk.content_hash], groups.get(chunk.path, frozenset())) for chunk in chunks]
            await self._index.mend(name, points, (), head=facts.seq)
            written |= {chunk.id for chunk in chunks}
            tell(len(written), total)
        for ids in batches([id_ for id_ in repairs.deleted if id_ not in written], _BATCH):
            await quiet(self._catalog, facts.collection.name)
            await self._index.mend(name, (), ids, head=facts.seq)
        tell(total, total)
        await self._index.flush(name)

    async def _chunks(self, facts: Facts, truth: Truth, targets: Sequence[Target]) -> list[IndexedChunk]:
        """The chunks of targets, cut from their documents anew."""
        groups = [(path, at, list(group)) for (path, at), group in groupby(targets, key=lambda target: (target.path, target.at))]
        found: list[IndexedChunk] = []
        for part in batches(groups, _DOCUMENTS):
            versions = [truth.version(path, at) for path, at, _ in part]
            whole = [version for version in versions if version is not None]
            if len(whole) != len(versions):
                raise InternalError("A document to be mended is in none of the kept commits.")
            targets_of = [group for _, _, group in part]
            found += await asyncio.to_thread(_made, facts, targets_of, whole, await self._reader.chunks(truth, whole))
        return found

    async def _vectors(self, name: str, chunks: Sequence[IndexedChunk]) -> dict[str, Vector]:
        """By content hash: what the index has, if it can be used, else embedded."""
        known = await self._index.vectors(name, {chunk.content_hash for chunk in chunks})
        vectors = {hashed: vector for hashed, vector in known.items() if abs(float(np.linalg.norm(vector)) - 1) < _UNIT}
        missing = {chunk.content_hash: chunk.embedded_text for chunk in chunks if chunk.content_hash not in vectors}
        if missing:
            rows = await self._embedder.embed_passages(list(missing.values()))
            check_vectors(rows, len(missing), self._embedder.identity.dimension)
            vectors |= dict(zip(missing, rows, strict=True))
        return vectors


async def quiet(catalog: Catalog, collection: str) -> None:
    """Returns when no attempt is active; after `_PATIENCE` seconds of writers that follow one another, all the same."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while "active" in (await catalog.attempts(collection)).values():  # noqa: ASYNC110 - another process may be the writer
                await asyncio.sleep(0.02)
    except TimeoutError:
        return


def _made(
    facts: Facts, targets: Sequence[Sequence[Target]], versions: Sequence[Version], chunks: Sequence[Sequence[Chunk]]
) -> list[IndexedChunk]:
    found: list[IndexedChunk] = []
    for group, version, of_version in zip(targets, versions, chunks, strict=True):
        places = {place(version.info, chunk): chunk for chunk in of_version}
        found += [_indexed(facts, target, version.info, places) for target in group]
    return found


def _indexed(facts: Facts, target: Target, info: DocumentInfo, places: dict[Place, Chunk]) -> IndexedChunk:
    made = indexed(info, places[target.place], target.seq_from, facts.brought_by(target.seq_from))
    return replace(made, checksum=target.checksum or info.checksum, seq_to=target.seq_to)
