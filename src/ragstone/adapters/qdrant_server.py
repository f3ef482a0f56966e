"""Vector index on a Qdrant server: one collection an index, shared by many processes (ADR 0020)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Sequence

from qdrant_client import grpc, models

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder
from ragstone.adapters.qdrant_server_collections import Collections
from ragstone.adapters.qdrant_server_compaction import compact
from ragstone.adapters.qdrant_server_connection import Connection, QdrantServer
from ragstone.adapters.qdrant_server_filters import conditions, equals, every, in_range, in_snapshot, of_path, ranged_paths
from ragstone.adapters.qdrant_server_http import size
from ragstone.adapters.qdrant_server_mending import mend, scan
from ragstone.adapters.qdrant_server_points import Points, check_vector, encoded, number_fields
from ragstone.adapters.qdrant_server_schema import Opened
from ragstone.adapters.qdrant_server_search import Search, Searcher
from ragstone.adapters.qdrant_server_snapshots import Snapshots
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate, IndexedChunk, Point, StoredPoint, Vector
from ragstone.domain.spaces import Bm25Settings, EmbeddingSpace


class QdrantServerIndex:
    """`VectorIndex` for any number of processes. `dependency`, made with `qdrant_server_errors.translate`, is what every call goes through."""

    def __init__(self, server: QdrantServer, dependency: Dependency) -> None:
        self._connection = Connection(server, dependency)
        self._collections = Collections(self._connection)
        self._points = Points(self._connection)
        self._searcher = Searcher(self._connection, self._points)
        self.snapshots = Snapshots(self._connection, self._collections)
        self._encoders: dict[Bm25Settings, Bm25Encoder] = {}

    async def create(self, index: str, space: EmbeddingSpace) -> None:
        await self._collections.create(index, space)

    async def drop(self, index: str) -> None:
        await self._collections.drop(index)
        self._searcher.statistics.forget_from(index, 0)

    async def replace(self, index: str, by: str) -> None:
        await self._collections.replace(index, by)
        self._searcher.statistics.forget_from(index, 0)

    async def exists(self, index: str) -> bool:
        return await self._collections.exists(index)

    async def names(self) -> list[str]:
        return await self._collections.names()

    async def insert(self, index: str, points: Sequence[Point]) -> None:
        opened = await self._collections.open(index)
        ready = await encoded(points, opened, self._encoder(opened))
        await self._collections.index_numbers(index, opened, number_fields(points))
        await self._points.upsert(self._alias(index), ready, grpc.UpdateMode.InsertOnly)
        if points:
            self._searcher.statistics.forget_from(index, min(point.chunk.seq_from for point in points))

    async def close_points(self, index: str, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None:
        await self._collections.open(index)
        await self._points.close(self._alias(index), ids, attempt, gaps)
        self._searcher.statistics.forget_from(index, attempt)

    async def opened(self, index: str, attempt: int) -> int:
        return await self._count(index, every(equals("seq_from", attempt)))

    async def closed(self, index: str, attempt: int) -> int:
        return await self._count(index, every(equals("seq_to", attempt)))

    async def visible(
        self, index: str, seq: int, gaps: Collection[int], paths: Iterable[str], *, groups: frozenset[str] | None = None
    ) -> list[IndexedChunk]:
        await self._collections.open(index)
        return await self._points.visible(self._alias(index), seq, gaps, groups, paths)

    async def count_visible(self, index: str, seq: int, gaps: Collection[int], *, groups: frozenset[str] | None = None) -> int:
        return await self._count(index, every(*in_snapshot(seq, gaps, groups)))

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        await self._collections.open(index)
        return await self._points.chunks(self._alias(index), ids)

    async def vectors(self, index: str, hashes: Iterable[str]) -> dict[str, Vector]:
        await self._collections.open(index)
        return await self._points.vectors(self._alias(index), hashes)

    async def set_groups(self, index: str, path: str, groups: frozenset[str]) -> None:
        await self._collections.open(index)
        await self._points.set_groups(self._alias(index), path, groups)

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
        opened = await self._collections.open(index)
        check_vector(vector, opened.dimension, "the question")
        ranged = ranged_paths(filter)
        numbers = await self._collections.known_numbers(index, opened, ranged)
        snapshot = in_snapshot(seq, gaps, groups)
        wanted = Search(
            self._alias(index),
            None if groups is not None else (index, seq, frozenset(gaps)),  # a revocation counts at once, in the statistics too
            every(*snapshot),
            every(*snapshot, *conditions(filter, numbers)),
            vector,
            text,
            limit,
            exact,
        )
        return await self._searcher.search(opened, self._encoder(opened), wanted)

    async def erase_attempts(self, index: str, attempts: Collection[int]) -> None:
        await self._collections.open(index)
        await self._points.erase_attempts(self._alias(index), attempts)
        self._searcher.statistics.forget_from(index, 0)

    async def count_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return await self._count(index, in_range(after, until, gaps))

    async def erase_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return await self._erase(index, in_range(after, until, gaps))

    async def erase_path(self, index: str, path: str, until: int) -> int:
        return await self._erase(index, of_path(path, until))

    async def compact(self, index: str) -> None:
        """Also what the write-ahead log has of it; takes as long as building the index anew (ADR 0020)."""
        await compact(self._connection, await self._collections.target(index), (await self._collections.open(index)).on_disk)

    async def size(self, index: str) -> int:
        """Bytes of vectors and payloads on the server asked, without their indexes: the server tells no more."""
        return await size(self._connection, await self._collections.target(index))

    async def scan(self, index: str, after: str | None = None, limit: int = 500) -> list[StoredPoint]:
        opened = await self._collections.open(index)
        return await scan(self._points, self._alias(index), opened, self._encoder(opened), after, limit)

    async def mend(self, index: str, points: Sequence[Point], deleted: Collection[str], *, head: int) -> None:
        opened = await self._collections.open(index)
        ready = await encoded(points, opened, self._encoder(opened))
        await self._collections.index_numbers(index, opened, number_fields(points))
        await mend(self._points, self._alias(index), ready, deleted, head)
        self._searcher.statistics.forget_from(index, 0)

    async def flush(self, index: str) -> None:
        """Nothing is left to do: a write is acknowledged when its log entry is on the disk."""
        await self._collections.open(index)

    async def optimise(self, index: str) -> None:
        """Nothing is left to do: the server builds HNSW by itself as segments grow."""
        await self._collections.open(index)

    def snapshot(self, index: str) -> AsyncIterator[bytes]:
        """The bytes of a snapshot of the index, as it is between two writes. For backups."""
        return self.snapshots.snapshot(index)

    async def restore_snapshot(self, index: str, content: AsyncIterable[bytes]) -> None:
        """Makes the index what a snapshot holds. Raises `DataDirectoryError` for what is none."""
        await self.snapshots.restore(index, content)
        self._searcher.statistics.forget_from(index, 0)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _count(self, index: str, where: models.Filter) -> int:
        await self._collections.open(index)
        return await self._points.count(self._alias(index), where)

    async def _erase(self, index: str, condemned: models.Filter) -> int:
        await self._collections.open(index)
        erased = await self._points.erase(self._alias(index), condemned)
        self._searcher.statistics.forget_from(index, 0)
        return erased

    def _alias(self, index: str) -> str:
        return self._collections.alias(index)

    def _encoder(self, opened: Opened) -> Bm25Encoder:
        encoder = self._encoders.get(opened.bm25)
        if encoder is None:
            encoder = self._encoders[opened.bm25] = Bm25Encoder(opened.bm25)
        return encoder
