"""From a question to ranked passages (DESIGN.md section 5, steps 2 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ragstone.domain.access import EVERYTHING, View
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.errors import Gone, InternalError
from ragstone.domain.fusion import fuse
from ragstone.domain.retrieval import Candidate, IndexedChunk, Passage, SearchQuery, Vector
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.vector_index import VectorIndex


class Search:
    """Hybrid search of one snapshot."""

    def __init__(self, index: VectorIndex, embedder: EmbeddingModel) -> None:
        self._index = index
        self._embedder = embedder

    async def run(
        self,
        collection: Collection,
        snapshot: Snapshot,
        query: SearchQuery,
        *,
        vector: Vector | None = None,
        exact: bool | None = None,
        view: View = EVERYTHING,
    ) -> tuple[Passage, ...]:
        """At most `top_k` hits, best first; a hit's neighbours, if asked for, stand around it in the order of the document.

        `vector` is the question's, when the caller has it already. `exact` scans instead of using HNSW; by default everything but the head
        is searched exactly, so that the answer never changes. `min_score` bounds `Passage.score`, the fused one: under convex fusion it is
        relative to the best of this question, under `dense` it is a cosine. `view`: what whoever asks may see; nothing else counts, in scores neither.
        """
        settings = query.settings
        if vector is None:
            vector = await self._embed(query.text)
        index = collection.index_name(snapshot.space_id)
        candidates = await self._index.search(
            index,
            snapshot.seq,
            snapshot.gaps,
            vector=vector,
            text=query.text,
            filter=query.filter,
            limit=max(settings.candidates, settings.top_k),
            exact=not snapshot.was_head if exact is None else exact,
            groups=view.filter,
        )
        ranked = [pair for pair in fuse(candidates, settings)[: settings.top_k] if settings.min_score <= 0 or pair[1] >= settings.min_score]
        chunks = await self._index.chunks(index, [candidate.id for candidate, _ in ranked])
        if len(chunks) < len(ranked):
            raise Gone(f"Commit {snapshot.commit_id} was pruned while it was searched; ask as of a commit that is kept.", field="as_of")
        hits = [_passage(chunks[candidate.id], candidate, score, rank) for rank, (candidate, score) in enumerate(ranked, start=1)]
        hits = [hit for hit in hits if view.shows(hit.chunk.path)]
        if settings.neighbours > 0 and hits:
            return await self._with_neighbours(collection, snapshot, hits, settings.neighbours, view)
        return tuple(hits)

    async def _embed(self, text: str) -> Vector:
        rows = await self._embedder.embed_queries([text])
        if rows.shape[0] != 1:
            raise InternalError(f"embedding model: it gave {rows.shape[0]} vectors for one question; check the model.")
        vector: Vector = rows[0]
        return vector

    async def _with_neighbours(
        self, collection: Collection, snapshot: Snapshot, hits: Sequence[Passage], count: int, view: View
    ) -> tuple[Passage, ...]:
        paths = {hit.chunk.path for hit in hits}
        chunks = await self._index.visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, paths, groups=view.filter)
        documents = {path: list(of_path) for path, of_path in groupby(chunks, key=lambda chunk: chunk.path)}
        return tuple(_expand(hits, documents, count))


def _expand(hits: Sequence[Passage], documents: dict[str, list[IndexedChunk]], count: int) -> list[Passage]:
    """Each chunk once: a hit stays a hit, and a chunk between two hits goes with the better one."""
    taken = {hit.chunk.id for hit in hits}
    passages: list[Passage] = []
    for hit in hits:
        document = documents.get(hit.chunk.path, [])
        place = next((i for i, chunk in enumerate(document) if chunk.id == hit.chunk.id), None)
        around = [hit.chunk] if place is None else document[max(place - count, 0) : place + count + 1]
        for chunk in around:
            if chunk.id == hit.chunk.id:
                passages.append(hit)
            elif chunk.id not in taken:
                taken.add(chunk.id)
                passages.append(Passage(chunk, hit.score, hit.rank, 0.0, 0.0, None, None, neighbour_of=hit.chunk.id))
    return passages


def _passage(chunk: IndexedChunk, candidate: Candidate, score: float, rank: int) -> Passage:
    return Passage(chunk, score, rank, candidate.dense, candidate.bm25, candidate.dense_rank, candidate.bm25_rank)
