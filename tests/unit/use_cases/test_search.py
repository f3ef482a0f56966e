"""The search use case over the fake index."""

from __future__ import annotations

from collections.abc import Collection as Many
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.errors import Gone, NotFound
from ragstone.domain.filters import Equals, Filter
from ragstone.domain.retrieval import Candidate, IndexedChunk, Point, RetrievalSettings, SearchQuery, Vector, Vectors
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.search import Search
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.support.points import DIMENSION, point, space, unit

SPACE = space()
COLLECTION = Collection("kb", "uid", "english", "", 0.0, (SPACE,), 1, SPACE.id)
HEAD = Snapshot("kb", 2, 1, "c", SPACE.id, frozenset(), was_head=True)


class RecordingIndex(InMemoryVectorIndex):
    """Remembers which index was searched, and how; may lose chunks, as a prune does."""

    def __init__(self) -> None:
        super().__init__()
        self.searched: list[tuple[str, bool]] = []
        self.pruned = False

    async def search(self, index: str, seq: int, gaps: Many[int], *, exact: bool, **question: Any) -> list[Candidate]:
        self.searched.append((index, exact))
        return await super().search(index, seq, gaps, exact=exact, **question)

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        return {} if self.pruned else await super().chunks(index, ids)


class FixedModel(HashingEmbeddingModel):
    """Gives every question the same vector."""

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        self.queries += 1
        return unit(1)[None, :]


async def filled(index: VectorIndex, points: list[Point]) -> VectorIndex:
    name = COLLECTION.index_name(SPACE.id)
    await index.create(name, SPACE)
    await index.insert(name, points)
    return index


async def searching(*points: Point) -> tuple[Search, RecordingIndex, FixedModel]:
    index, model = RecordingIndex(), FixedModel(DIMENSION)
    await filled(index, list(points))
    return Search(index, model), index, model


def asking(filter: Filter | None = None, **settings: Any) -> SearchQuery:
    return SearchQuery("quartz", filter or Filter(), replace(RetrievalSettings(), **settings))


async def test_hits_carry_rank_and_every_score() -> None:
    search, _, _ = await searching(point("a.md", "quartz", (1,)), point("b.md", "basalt", (1, 1)))
    first, second = await search.run(COLLECTION, HEAD, asking())
    assert (first.chunk.path, first.rank, first.score, first.dense_rank, first.bm25_rank) == ("a.md", 1, 1.0, 1, 1)
    assert (second.chunk.path, second.rank, second.bm25, second.bm25_rank) == ("b.md", 2, 0.0, None)
    assert second.score == pytest.approx(0.5 * second.dense / first.dense)


async def test_top_k_and_min_score_cut_the_ranking() -> None:
    search, _, _ = await searching(*(point(f"{i}.md", "basalt", (1, i)) for i in range(6)))
    assert [hit.chunk.path for hit in await search.run(COLLECTION, HEAD, asking(top_k=3))] == ["0.md", "1.md", "2.md"]
    hits = await search.run(COLLECTION, HEAD, asking(top_k=6, min_score=0.3))
    assert len(hits) == 2
    assert all(hit.score >= 0.3 for hit in hits)


async def test_more_hits_than_candidates_are_found_when_asked_for() -> None:
    search, _, _ = await searching(*(point(f"{i}.md", "basalt") for i in range(30)))
    assert len(await search.run(COLLECTION, HEAD, asking(top_k=20, candidates=5))) == 20


async def test_the_filter_and_the_space_s_own_index_are_used() -> None:
    search, index, _ = await searching(point("a.md", metadata={"lang": "en"}), point("b.md", metadata={"lang": "de"}))
    hits = await search.run(COLLECTION, HEAD, asking(filter=Filter((Equals("lang", "de"),))))
    assert [hit.chunk.path for hit in hits] == ["b.md"]
    assert index.searched[0][0] == f"kb-uid-{SPACE.id}"
    with pytest.raises(NotFound):
        await search.run(COLLECTION, replace(HEAD, space_id="other"), asking())


@pytest.mark.parametrize(
    ("was_head", "exact", "expected"), [(True, None, False), (False, None, True), (True, True, True), (False, False, False)]
)
async def test_only_the_head_may_be_searched_approximately(was_head: bool, exact: bool | None, expected: bool) -> None:
    search, index, _ = await searching(point())
    await search.run(COLLECTION, replace(HEAD, was_head=was_head), asking(), exact=exact)
    assert index.searched[0][1] is expected


async def test_a_commit_pruned_between_search_and_reading_is_gone() -> None:
    search, index, _ = await searching(point())
    index.pruned = True
    with pytest.raises(Gone):
        await search.run(COLLECTION, HEAD, asking())


async def test_a_vector_that_is_given_is_not_embedded_again() -> None:
    search, _, model = await searching(point())
    given: Vector = np.array(unit(0, 1))
    (hit,) = await search.run(COLLECTION, HEAD, asking(), vector=given)
    assert model.queries == 0
    assert hit.dense == pytest.approx(0)


def document(count: int) -> list[Point]:
    return [point("a.md", f"basalt {i}", (0, 0, 1), start=100 * i) for i in range(count)]


async def test_neighbours_stand_around_their_hit_in_the_document_s_order() -> None:
    chunks = document(6)
    chunks[3] = point("a.md", "quartz", (1,), start=300)
    search, _, _ = await searching(*chunks, point("b.md", "gneiss", (0, 1), start=0))
    passages = await search.run(COLLECTION, HEAD, asking(top_k=1, neighbours=2))
    assert [p.chunk.start for p in passages] == [100, 200, 300, 400, 500]
    hit = passages[2]
    assert (hit.neighbour_of, hit.rank) == (None, 1)
    assert {p.neighbour_of for p in passages if p is not hit} == {hit.chunk.id}
    assert {p.rank for p in passages} == {1}


async def test_a_hit_is_never_also_a_neighbour_and_no_chunk_comes_twice() -> None:
    chunks = document(5)
    chunks[1], chunks[3] = point("a.md", "quartz quartz", (1,), start=100), point("a.md", "quartz", (1, 0.1), start=300)
    search, _, _ = await searching(*chunks)
    passages = await search.run(COLLECTION, HEAD, asking(top_k=2, neighbours=2))
    assert [(p.chunk.start, p.neighbour_of is None) for p in passages] == [(0, False), (100, True), (200, False), (300, True), (400, False)]


async def test_neighbours_belong_to_the_snapshot() -> None:
    search, _, _ = await searching(
        point("a.md", "quartz", (1,), start=100),
        point("a.md", "basalt old", start=200, seq_to=2),
        point("a.md", "new", start=200, seq_from=3),
    )
    assert [p.chunk.start for p in await search.run(COLLECTION, HEAD, asking(top_k=1, neighbours=3))] == [100]
