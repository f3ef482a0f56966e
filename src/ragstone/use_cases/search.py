"""From a question to ranked passages (DESIGN.md section 5, steps 2 and 4)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from ragstone.domain.access import EVERYTHING, View
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.deadline import deadline, remaining
from ragstone.domain.errors import Gone, InternalError, InvalidInput, RagstoneError, Unavailable
from ragstone.domain.fusion import fuse
from ragstone.domain.reranking import RERANK, RerankerIdentity
from ragstone.domain.retrieval import Candidate, IndexedChunk, Passage, SearchQuery, Vector
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.reranker import Reranker
from ragstone.ports.vector_index import VectorIndex

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search gave. `rerank_ms`: what the reranker took, None where none was asked. `degraded`: what did not answer (`RERANK`)."""

    passages: tuple[Passage, ...]
    rerank_ms: float | None = None
    degraded: tuple[str, ...] = ()

    @property
    def reranked(self) -> bool:
        """The passages are in the reranker's order."""
        return self.rerank_ms is not None and not self.degraded


class Search:
    """Hybrid search of one snapshot, reordered by a reranker where there is one and the question asks for it.

    While the reranker does not answer, hits stay in the order of their fused scores, and `Hits.degraded` says so. It gets at most half of the time that
    the request has left. `further`: models of other spaces than most; a question is embedded with its space's own.
    """

    def __init__(
        self, index: VectorIndex, embedder: EmbeddingModel, reranker: Reranker | None = None, further: Sequence[EmbeddingModel] = ()
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._reranker = reranker
        self._is_down = False
        self._further = tuple(further)

    @property
    def reranker(self) -> RerankerIdentity | None:
        """What reorders; None: nothing can."""
        return self._reranker.identity if self._reranker else None

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
        """The passages of `find`."""
        return (await self.find(collection, snapshot, query, vector=vector, exact=exact, view=view)).passages

    async def find(
        self,
        collection: Collection,
        snapshot: Snapshot,
        query: SearchQuery,
        *,
        vector: Vector | None = None,
        exact: bool | None = None,
        view: View = EVERYTHING,
    ) -> Hits:
        """At most `top_k` hits, best first; a hit's neighbours, if asked for, stand around it in the order of the document.

        `vector` is the question's, when the caller has it already. `exact` scans instead of using HNSW; by default everything but the head
        is searched exactly, so that the answer never changes. `min_score` bounds `Passage.score`, the fused one: under convex fusion it is
        relative to the best of this question, under `dense` it is a cosine. `view`: what whoever asks may see; nothing else counts, in scores neither,
        and nothing else goes to the reranker. Raises `InvalidInput` for a question that asks for a reranker where there is none.
        """
        settings = query.settings
        if settings.rerank > 0 and self._reranker is None:
            raise InvalidInput("rerank: there is no reranker here; leave it out, or have one set up (reranker.kind).", field="rerank")
        depth = max(settings.top_k, settings.rerank)
        if vector is None:
            vector = await self._embed(query.text, collection, snapshot)
        index = collection.index_name(snapshot.space_id)
        candidates = await self._index.search(
            index,
            snapshot.seq,
            snapshot.gaps,
            vector=vector,
            text=query.text,
            filter=query.filter,
            limit=max(settings.candidates, depth),
            exact=not snapshot.was_head if exact is None else exact,
            groups=view.filter,
        )
        ranked = [pair for pair in fuse(candidates, settings)[:depth] if settings.min_score <= 0 or pair[1] >= settings.min_score]
        chunks = await self._index.chunks(index, [candidate.id for candidate, _ in ranked])
        if len(chunks) < len(ranked):
            raise Gone(f"Commit {snapshot.commit_id} was pruned while it was searched; ask as of a commit that is kept.", field="as_of")
        hits = [_passage(chunks[candidate.id], candidate, score, rank) for rank, (candidate, score) in enumerate(ranked, start=1)]
        hits = [hit for hit in hits if view.shows(hit.chunk.path)]
        rerank_ms: float | None = None
        degraded: tuple[str, ...] = ()
        if settings.rerank > 0 and hits:
            began = time.perf_counter()
            scores = await self._scores(query.text, [hit.chunk.embedded_text for hit in hits[: settings.rerank]])
            rerank_ms = (time.perf_counter() - began) * 1e3
            if scores is None:
                degraded = (RERANK,)
            else:
                hits = _reordered(hits, scores)
        passages = tuple(hits[: settings.top_k])
        if settings.neighbours > 0 and passages:
            passages = await self._with_neighbours(collection, snapshot, passages, settings.neighbours, view)
        return Hits(passages, rerank_ms, degraded)

    async def check(self) -> None:
        """Raises `Unavailable` while the reranker does not answer."""
        if self._reranker is not None:
            await self._reranker.check()

    async def _scores(self, question: str, texts: Sequence[str]) -> list[float] | None:
        """None where they can't be had now."""
        if self._reranker is None:
            raise AssertionError("`find` looks for one first")
        left = remaining()
        try:
            with deadline(None if left is None else left / 2):
                async with asyncio.timeout(remaining()):  # a model in this process knows of no deadline
                    scores = await self._reranker.score(question, texts)
        except TimeoutError:
            self._note(Unavailable("The reranker did not answer in time."))
        except Unavailable as error:
            self._note(error)
        else:
            self._note(None)
            return scores
        return None

    def _note(self, error: RagstoneError | None) -> None:
        """Once when it goes, once when it is back: each search says so itself."""
        if self._is_down is (error is not None):
            return
        self._is_down = error is not None
        if error is not None:
            _log.warning("passages are in the order of their fused scores until the reranker answers again: %s", error.message)
        else:
            _log.warning("the reranker answers again")

    async def _embed(self, text: str, collection: Collection, snapshot: Snapshot) -> Vector:
        models = {space.id: space.model for space in collection.spaces}
        embedder = next((model for model in self._further if model.identity == models.get(snapshot.space_id)), self._embedder)
        rows = await embedder.embed_queries([text])
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


def _reordered(hits: Sequence[Passage], scores: Sequence[float]) -> list[Passage]:
    """The hits that have scores by them, equal ones in the order of before; then the others. Ranks count anew."""
    count = len(scores)
    scored = [replace(hit, rerank=score) for hit, score in zip(hits[:count], scores, strict=True)]
    order = sorted(range(count), key=lambda place: -scores[place])
    return [replace(hit, rank=rank) for rank, hit in enumerate([*(scored[place] for place in order), *hits[count:]], start=1)]


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
