"""A vector index in memory: brute force in numpy, with a BM25 of its own whose statistics are those of the snapshot."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ragstone.domain.commits import OPEN, visible
from ragstone.domain.errors import InternalError, NotFound
from ragstone.domain.filters import Filter, matches
from ragstone.domain.retrieval import Candidate, IndexedChunk, Point, StoredPoint, Vector
from ragstone.domain.spaces import Bm25Settings, EmbeddingSpace


@dataclass(slots=True)
class _Index:
    space: EmbeddingSpace
    points: dict[str, Point] = field(default_factory=dict)

    def snapshot(self, seq: int, gaps: Collection[int], groups: frozenset[str] | None = None) -> list[Point]:
        seen = frozenset(gaps)
        alive = [p for _, p in sorted(self.points.items()) if visible(p.chunk.seq_from, p.chunk.seq_to, seq, seen)]
        return [p for p in alive if groups is None or not p.groups or p.groups & groups]


class InMemoryVectorIndex:
    """`VectorIndex` for tests. Every search is exact; BM25 knows no stemming and no stop words."""

    def __init__(self) -> None:
        self._indexes: dict[str, _Index] = {}

    def held(self) -> dict[str, _Index]:
        """Everything, by index; for backups."""
        return self._indexes

    def _index(self, index: str) -> _Index:
        try:
            return self._indexes[index]
        except KeyError:
            raise NotFound(f"There is no index {index!r}; create it first.", field="index") from None

    async def create(self, index: str, space: EmbeddingSpace) -> None:
        self._indexes.setdefault(index, _Index(space))

    async def drop(self, index: str) -> None:
        self._indexes.pop(index, None)

    async def replace(self, index: str, by: str) -> None:
        self._indexes[index] = self._index(by)
        del self._indexes[by]

    async def exists(self, index: str) -> bool:
        return index in self._indexes

    async def names(self) -> list[str]:
        return sorted(self._indexes)

    async def insert(self, index: str, points: Sequence[Point]) -> None:
        held = self._index(index)
        for point in points:
            _check(point.vector, held.space, point.chunk.path)
        for point in points:
            held.points.setdefault(point.chunk.id, point)

    async def close_points(self, index: str, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None:
        points = self._index(index).points
        for id_ in ids:
            point = points.get(id_)
            if point is not None and (point.chunk.seq_to == OPEN or point.chunk.seq_to in gaps):
                points[id_] = _with_seq_to(point, attempt)

    async def opened(self, index: str, attempt: int) -> int:
        return sum(p.chunk.seq_from == attempt for p in self._index(index).points.values())

    async def closed(self, index: str, attempt: int) -> int:
        return sum(p.chunk.seq_to == attempt for p in self._index(index).points.values())

    async def set_groups(self, index: str, path: str, groups: frozenset[str]) -> None:
        points = self._index(index).points
        for id_, point in points.items():
            if point.chunk.path == path:
                points[id_] = replace(point, groups=groups)

    async def visible(
        self, index: str, seq: int, gaps: Collection[int], paths: Iterable[str], *, groups: frozenset[str] | None = None
    ) -> list[IndexedChunk]:
        wanted = frozenset(paths)
        chunks = [p.chunk for p in self._index(index).snapshot(seq, gaps, groups) if p.chunk.path in wanted]
        return sorted(chunks, key=lambda c: (c.path, c.start, c.end, c.id))

    async def count_visible(self, index: str, seq: int, gaps: Collection[int], *, groups: frozenset[str] | None = None) -> int:
        return len(self._index(index).snapshot(seq, gaps, groups))

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        points = self._index(index).points
        return {id_: points[id_].chunk for id_ in ids if id_ in points}

    async def vectors(self, index: str, hashes: Iterable[str]) -> dict[str, Vector]:
        wanted = frozenset(hashes)
        return {p.chunk.content_hash: p.vector for p in self._index(index).points.values() if p.chunk.content_hash in wanted}

    async def search(
        self,
        index: str,
        seq: int,
        gaps: Collection[int],
        *,
        vector: Vector,
        text: str,
        filter: Filter,
        limit: int,
        exact: bool,
        groups: frozenset[str] | None = None,
    ) -> list[Candidate]:
        held = self._index(index)
        _check(vector, held.space, "the question")
        corpus = held.snapshot(seq, gaps, groups)
        bm25_of = _bm25([p.chunk.embedded_text for p in corpus], text, held.space.bm25)
        passing = [i for i, p in enumerate(corpus) if matches(filter, _values(p.chunk))]
        dense_of = {i: float(np.float32((corpus[i].vector.astype(np.float64) * vector.astype(np.float64)).sum())) for i in passing}
        dense_list = sorted(passing, key=lambda i: (-dense_of[i], corpus[i].chunk.id))[:limit]
        bm25_list = sorted((i for i in passing if bm25_of[i] > 0), key=lambda i: (-bm25_of[i], corpus[i].chunk.id))[:limit]
        dense_rank = {i: rank for rank, i in enumerate(dense_list, 1)}
        bm25_rank = {i: rank for rank, i in enumerate(bm25_list, 1)}
        return [
            Candidate(corpus[i].chunk.id, dense_of[i], bm25_of[i] if i in bm25_rank else 0.0, dense_rank.get(i), bm25_rank.get(i))
            for i in sorted(dense_rank.keys() | bm25_rank.keys())
        ]

    async def erase_attempts(self, index: str, attempts: Collection[int]) -> None:
        points = self._index(index).points
        for id_, point in list(points.items()):
            if point.chunk.seq_from in attempts:
                del points[id_]
            elif point.chunk.seq_to in attempts:
                points[id_] = _with_seq_to(point, OPEN)

    async def count_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return len(self._in_range(index, after, until, gaps))

    async def erase_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return self._delete(index, self._in_range(index, after, until, gaps))

    async def erase_path(self, index: str, path: str, until: int) -> int:
        points = self._index(index).points.values()
        return self._delete(index, [p.chunk.id for p in points if p.chunk.path == path and p.chunk.seq_from <= until])

    def _in_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> list[str]:
        chunks = [p.chunk for p in self._index(index).points.values()]
        return [c.id for c in chunks if c.seq_from > after and c.seq_to <= until and c.seq_to not in gaps]

    def _delete(self, index: str, ids: Sequence[str]) -> int:
        for id_ in ids:
            del self._index(index).points[id_]
        return len(ids)

    async def compact(self, index: str) -> None:
        self._index(index)

    async def size(self, index: str) -> int:
        return sum(p.vector.nbytes + len(p.chunk.text) for p in self._index(index).points.values())

    async def scan(self, index: str, after: str | None = None, limit: int = 500) -> list[StoredPoint]:
        points = self._index(index).points
        return [_stored(points[id_]) for id_ in sorted(points) if after is None or id_ > after][:limit]

    async def mend(self, index: str, points: Sequence[Point], deleted: Collection[str], *, head: int) -> None:
        held = self._index(index)
        for point in points:
            _check(point.vector, held.space, point.chunk.path)
        for point in points:
            known = held.points.get(point.chunk.id)
            late = known is not None and point.chunk.seq_to == OPEN and head < known.chunk.seq_to < OPEN
            held.points[point.chunk.id] = _with_seq_to(point, known.chunk.seq_to) if known and late else point
        for id_ in set(deleted) - {point.chunk.id for point in points}:
            held.points.pop(id_, None)

    async def flush(self, index: str) -> None:
        self._index(index)

    async def optimise(self, index: str) -> None:
        self._index(index)

    async def aclose(self) -> None:
        return None


def _check(vector: Vector, space: EmbeddingSpace, of: str) -> None:
    if vector.shape != (space.model.dimension,) or not np.isfinite(vector).all():
        raise InternalError(f"The vector of {of} is not {space.model.dimension} finite numbers; check the embedding model.")


def _stored(point: Point) -> StoredPoint:
    unit = bool(abs(np.linalg.norm(point.vector) - 1) < 1e-3)
    return StoredPoint(point.chunk.id, point.chunk, unit, point.chunk.seq_from, point.chunk.seq_to)


def _with_seq_to(point: Point, seq_to: int) -> Point:
    return replace(point, chunk=replace(point.chunk, seq_to=seq_to))


def _values(chunk: IndexedChunk) -> Mapping[str, object]:
    return {**chunk.metadata, "path": chunk.path, "media_type": chunk.media_type, "title": chunk.title}


def _bm25(texts: Sequence[str], question: str, settings: Bm25Settings) -> list[float]:
    """BM25 of every text; idf is ln(1 + (N - n + .5) / (n + .5)) over `texts`."""
    bags = [Counter(_tokens(text)) for text in texts]
    scores = [0.0] * len(texts)
    for term in sorted(set(_tokens(question))):
        having = [i for i, bag in enumerate(bags) if term in bag]
        idf = math.log(1 + (len(texts) - len(having) + 0.5) / (len(having) + 0.5))
        for i in having:
            count = bags[i][term]
            norm = settings.k1 * (1 - settings.b + settings.b * bags[i].total() / settings.average_length)
            scores[i] += idf * count * (settings.k1 + 1) / (count + norm)
    return scores


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
