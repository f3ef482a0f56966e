"""Points of an index on a Qdrant server: written, closed, erased, read. Every write may be done again and comes to the same."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from qdrant_client import AsyncQdrantClient, grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder
from ragstone.adapters.qdrant_edge_payload import from_payload, number_path, to_payload
from ragstone.adapters.qdrant_server_connection import STRONG, Connection
from ragstone.adapters.qdrant_server_filters import any_of, closable, equals, every, in_snapshot
from ragstone.adapters.qdrant_server_schema import BM25, DENSE, TERMS, Opened
from ragstone.domain.commits import OPEN
from ragstone.domain.errors import InternalError
from ragstone.domain.filters import is_number
from ragstone.domain.retrieval import IndexedChunk, Point, Vector

_T = TypeVar("_T")
_UPSERT = 128  # points a call
_LISTED = 500  # ids, paths or hashes in one filter
_PAGE = 1000  # points read in one call
_CHUNK = models.PayloadSelectorExclude(
    exclude=["facets", "numbers", "groups", TERMS]
)  # what is only filtered by is not needed to show a chunk


class Points:
    """Reads and writes points; `alias` is what an index is called on the server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._consistency = connection.server.consistency

    async def upsert(
        self, alias: str, points: Sequence[grpc.PointStruct], mode: grpc.UpdateMode.ValueType, *, only: models.Filter | None = None
    ) -> None:
        """`only`: points that are there must pass it to be written over."""
        for batch in batches(points, _UPSERT):
            await self._upsert(alias, batch, mode, only)

    async def close(self, alias: str, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None:
        """Sets `seq_to` where it is OPEN or in `gaps`; the server compares and sets in one step."""
        for batch in batches(ids, _LISTED):
            await self.set_payload(alias, {"seq_to": attempt}, closable(batch, gaps))

    async def erase_attempts(self, alias: str, attempts: Collection[int]) -> None:
        """Deletes what they opened, reopens what they closed."""
        for batch in batches(sorted(attempts), _LISTED):
            await self._delete(alias, models.FilterSelector(filter=every(any_of("seq_from", batch))))
            await self.set_payload(alias, {"seq_to": OPEN}, every(any_of("seq_to", batch)))

    async def erase(self, alias: str, condemned: models.Filter) -> int:
        """Some hundred at a time; returns how many."""
        erased = 0
        while found := await self.ids(alias, condemned):
            await self.delete(alias, found)
            erased += len(found)
        return erased

    async def delete(self, alias: str, ids: Sequence[models.ExtendedPointId]) -> None:
        """Deletes points by id."""
        for batch in batches(ids, _LISTED):
            await self._delete(alias, models.PointIdsList(points=batch))

    async def set_payload(self, alias: str, payload: dict[str, Any], where: models.Filter) -> None:
        """Fields of all points that pass the filter."""
        await self._connection.write(
            lambda client, seconds: client.set_payload(alias, payload, where, wait=True, ordering=STRONG, timeout=seconds)
        )

    async def set_groups(self, alias: str, path: str, groups: frozenset[str]) -> None:
        """Of all points of a document; no field for no groups."""
        where = every(equals("path", path))
        if groups:
            await self.set_payload(alias, {"groups": sorted(groups)}, where)
        else:
            await self._connection.write(
                lambda client, seconds: client.delete_payload(alias, ["groups"], where, wait=True, ordering=STRONG, timeout=seconds)
            )

    async def count(self, alias: str, where: models.Filter) -> int:
        """Exact number of points that pass the filter."""

        async def ask(client: AsyncQdrantClient, seconds: int) -> int:  # the client's own `count` takes no consistency
            consistency = RestToGrpc.convert_read_consistency(self._consistency) if self._consistency else None
            request = grpc.CountPoints(
                collection_name=alias, filter=RestToGrpc.convert_filter(where), exact=True, read_consistency=consistency, timeout=seconds
            )
            return int((await client.grpc_points.Count(request, timeout=seconds)).result.count)

        return await self._connection.call(ask)

    async def ids(self, alias: str, where: models.Filter) -> list[models.ExtendedPointId]:
        """Some hundred of those that pass the filter."""
        records, _ = await self.scroll(alias, where, limit=_LISTED, payload=False)
        return [record.id for record in records]

    async def visible(
        self, alias: str, seq: int, gaps: Collection[int], groups: frozenset[str] | None, paths: Iterable[str]
    ) -> list[IndexedChunk]:
        """The snapshot's chunks of these documents in order of (path, start, end, id)."""
        chunks = [
            from_payload(str(record.id), record.payload or {})
            for batch in batches(sorted(set(paths)), _LISTED)
            async for record in self._all(alias, every(*in_snapshot(seq, gaps, groups), any_of("path", batch)))
        ]
        return sorted(chunks, key=lambda chunk: (chunk.path, chunk.start, chunk.end, chunk.id))

    async def chunks(self, alias: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        """Chunks by id."""
        records = [record for batch in batches(list(ids), _PAGE) for record in await self.retrieve(alias, batch, payload=_CHUNK)]
        return {str(record.id): from_payload(str(record.id), record.payload or {}) for record in records}

    async def vectors(self, alias: str, hashes: Iterable[str]) -> dict[str, Vector]:
        """Dense vectors by content hash. A hash that thousands of points have is read once."""
        found: dict[str, Vector] = {}
        for batch in batches(sorted(set(hashes)), _LISTED):
            missing = set(batch)
            while missing:
                where = every(any_of("content_hash", sorted(missing)))
                records, _ = await self.scroll(alias, where, limit=_PAGE, payload=["content_hash"], vectors=[DENSE])
                if not records:
                    break
                for record in records:
                    named: Any = record.vector
                    found[(record.payload or {})["content_hash"]] = np.array(named[DENSE], np.float32)
                missing -= found.keys()
        return found

    async def retrieve(self, alias: str, ids: Sequence[str], *, payload: models.WithPayloadInterface) -> list[models.Record]:
        """Points by id, without vectors."""
        return await self._connection.call(
            lambda client, seconds: client.retrieve(alias, ids, payload, False, consistency=self._consistency, timeout=seconds)
        )

    async def scroll(
        self,
        alias: str,
        where: models.Filter | None,
        *,
        limit: int,
        payload: models.WithPayloadInterface = True,
        vectors: bool | list[str] = False,
        offset: models.ExtendedPointId | None = None,
    ) -> tuple[list[models.Record], models.ExtendedPointId | None]:
        """A page in order of ids, and where the next one begins."""
        records, following = await self._connection.call(
            lambda client, seconds: client.scroll(
                alias,
                where,
                limit,
                offset=offset,
                with_payload=payload,
                with_vectors=vectors,
                consistency=self._consistency,
                timeout=seconds,
            )
        )
        return records, following

    async def _all(self, alias: str, where: models.Filter) -> AsyncIterator[models.Record]:
        offset = None
        while True:
            records, offset = await self.scroll(alias, where, limit=_PAGE, payload=_CHUNK, offset=offset)
            for record in records:
                yield record
            if offset is None:
                return

    async def _upsert(
        self, alias: str, points: list[grpc.PointStruct], mode: grpc.UpdateMode.ValueType, only: models.Filter | None
    ) -> None:
        async def send(client: AsyncQdrantClient, seconds: int) -> models.UpdateResult:
            request = grpc.UpsertPoints(
                collection_name=alias,
                wait=True,
                points=points,
                ordering=RestToGrpc.convert_write_ordering(STRONG),
                update_filter=RestToGrpc.convert_filter(only) if only else None,
                update_mode=mode,
                timeout=seconds,
            )
            return GrpcToRest.convert_update_result((await client.grpc_points.Upsert(request, timeout=seconds)).result)

        await self._connection.write(send)

    async def _delete(self, alias: str, selector: models.FilterSelector | models.PointIdsList) -> None:
        await self._connection.write(lambda client, seconds: client.delete(alias, selector, wait=True, ordering=STRONG, timeout=seconds))


def check_vector(vector: Vector, dimension: int, of: str) -> None:
    """Raises `InternalError` for another dimension, NaN or infinity."""
    if vector.shape != (dimension,) or not np.isfinite(vector).all():
        raise InternalError(f"The vector of {of} is not {dimension} finite numbers; check the embedding model.")


def batches(items: Sequence[_T], size: int) -> Iterable[list[_T]]:
    """Of at most `size` items."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


async def encoded(points: Sequence[Point], opened: Opened, encoder: Bm25Encoder) -> list[grpc.PointStruct]:
    """Points as the server takes them, in its own protocol: the client's models take twice the time. Of two with one id the first counts.

    All are checked before any is encoded. In a thread, for it takes a millisecond a point.
    """
    for point in points:
        check_vector(point.vector, opened.dimension, f"a chunk of {point.chunk.path!r}")
    unique = {point.chunk.id: point for point in reversed(points)}
    return await asyncio.to_thread(lambda: [_encoded(point, opened, encoder) for point in unique.values()])


def number_fields(points: Sequence[Point]) -> set[str]:
    """The fields of the payloads that hold numbers."""
    return {
        number_path(key) for point in points for key, value in point.chunk.metadata.items() if is_number(value) and not math.isnan(value)
    }


def _encoded(point: Point, opened: Opened, encoder: Bm25Encoder) -> grpc.PointStruct:
    weights, terms = encoder.document(point.chunk.embedded_text)
    payload = to_payload(point.chunk)
    if point.groups:
        payload["groups"] = sorted(point.groups)
    if opened.counts_terms:
        payload[TERMS] = list(terms.indices)
    vectors = {
        DENSE: grpc.Vector(dense=grpc.DenseVector(data=point.vector.tolist())),
        BM25: grpc.Vector(sparse=grpc.SparseVector(indices=weights.indices, values=weights.values)),
        TERMS: grpc.Vector(sparse=grpc.SparseVector(indices=terms.indices, values=terms.values)),
    }
    return grpc.PointStruct(
        id=grpc.PointId(uuid=str(uuid.UUID(point.chunk.id))),
        vectors=grpc.Vectors(vectors=grpc.NamedVectors(vectors=vectors)),
        payload=RestToGrpc.convert_payload(payload),
    )
