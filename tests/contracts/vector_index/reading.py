"""How the tests of this folder read an index."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import IndexedChunk, StoredPoint
from ragstone.ports.vector_index import VectorIndex
from tests.support.points import unit

NAME = "kb-1-space"


@dataclass(frozen=True)
class Found:
    """A candidate with its chunk."""

    chunk: IndexedChunk
    dense: float
    bm25: float
    dense_rank: int | None
    bm25_rank: int | None


async def find(
    index: VectorIndex,
    seq: int = 1,
    gaps: frozenset[int] = frozenset(),
    *,
    vector: tuple[float, ...] = (1,),
    text: str = "quartz",
    filter: Filter | None = None,
    limit: int = 100,
    exact: bool = True,
) -> list[Found]:
    found = await index.search(NAME, seq, gaps, vector=unit(*vector), text=text, filter=filter or Filter(), limit=limit, exact=exact)
    chunks = await index.chunks(NAME, [candidate.id for candidate in found])
    return [Found(chunks[c.id], c.dense, c.bm25, c.dense_rank, c.bm25_rank) for c in found]


async def paths_at(index: VectorIndex, seq: int, gaps: frozenset[int] = frozenset()) -> set[str]:
    return {candidate.chunk.path for candidate in await find(index, seq, gaps)}


async def scanned(index: VectorIndex, page: int = 500) -> list[StoredPoint]:
    found: list[StoredPoint] = []
    while points := await index.scan(NAME, found[-1].id if found else None, page):
        found += points
    return found


def facts(candidates: list[Found]) -> list[tuple[object, ...]]:
    """Everything but `seq_to`, which later commits move."""
    return [(c.chunk.id, c.chunk.text, c.dense, c.bm25, c.dense_rank, c.bm25_rank) for c in candidates]
