"""Points of an index on a Qdrant server as they lie there, damaged or not, and their repair."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from qdrant_client import grpc, models

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder
from ragstone.adapters.qdrant_edge_mending import integer, readable_chunk, same_terms
from ragstone.adapters.qdrant_server_filters import equals, every, not_closed_after
from ragstone.adapters.qdrant_server_points import Points, batches
from ragstone.adapters.qdrant_server_schema import BM25, DENSE, TERMS, Opened
from ragstone.domain.commits import OPEN
from ragstone.domain.retrieval import IndexedChunk, StoredPoint

_PAGE = 1000  # points in one call
_UNIT = 1e-3  # float32 rounding of a length of 1, with room


async def scan(points: Points, alias: str, opened: Opened, encoder: Bm25Encoder, after: str | None, limit: int) -> list[StoredPoint]:
    """A page of all points, in order of ids."""
    wanted = min(limit, _PAGE)
    offset = None if after is None else _server_id(after)
    records, _ = await points.scroll(alias, None, limit=wanted + 1, vectors=True, offset=offset)
    return [_stored(opened, encoder, record) for record in records if str(record.id) != after][:wanted]


async def mend(points: Points, alias: str, wanted: Sequence[grpc.PointStruct], deleted: Collection[str], head: int) -> None:
    """Points over whatever is there, then deletions. What an attempt later than `head` has closed, also meanwhile, stays closed."""
    opens = [point for point in wanted if _end(point) == OPEN]
    await points.upsert(alias, [point for point in wanted if _end(point) != OPEN], grpc.UpdateMode.Upsert)
    await points.upsert(alias, opens, grpc.UpdateMode.Upsert, only=not_closed_after(head))
    for end, closed in (await _closed_late(points, alias, opens, head)).items():
        await points.upsert(alias, closed, grpc.UpdateMode.Upsert, only=every(equals("seq_to", end)))
    kept = {point.id.uuid for point in wanted}
    await points.delete(alias, [_server_id(id_) for id_ in sorted(set(deleted) - kept)])


async def _closed_late(points: Points, alias: str, opens: Sequence[grpc.PointStruct], head: int) -> dict[int, list[grpc.PointStruct]]:
    """Those that an attempt later than `head` has closed, by that attempt, as they are to be then."""
    found: dict[int, list[grpc.PointStruct]] = defaultdict(list)
    by_id = {point.id.uuid: point for point in opens}
    for batch in batches(sorted(by_id), _PAGE):
        for record in await points.retrieve(alias, batch, payload=["seq_to"]):
            end = integer(record.payload or {}, "seq_to")
            if end is not None and head < end < OPEN:
                point = by_id[str(record.id)]
                point.payload["seq_to"].integer_value = end
                found[end].append(point)
    return found


def _end(point: grpc.PointStruct) -> int:
    return int(point.payload["seq_to"].integer_value)


def _stored(opened: Opened, encoder: Bm25Encoder, record: models.Record) -> StoredPoint:
    id_, payload = str(record.id), dict(record.payload or {})
    terms = payload.pop(TERMS, None)
    payload.pop("groups", None)  # the catalog's are the truth, and others than these may be right
    chunk = readable_chunk(id_, payload)
    ok = _vectors_ok(opened, encoder, record.vector, chunk)
    if ok and chunk is not None and opened.counts_terms:
        ok = terms == list(encoder.document(chunk.embedded_text)[1].indices)
    return StoredPoint(id_, chunk, ok, integer(payload, "seq_from"), integer(payload, "seq_to"))


def _vectors_ok(opened: Opened, encoder: Bm25Encoder, vectors: object, chunk: IndexedChunk | None) -> bool:
    if not isinstance(vectors, dict) or vectors.keys() != {DENSE, BM25, TERMS}:
        return False
    dense = np.asarray(vectors[DENSE], np.float32)
    if dense.shape != (opened.dimension,) or not abs(float(np.linalg.norm(dense)) - 1) < _UNIT:
        return False
    if chunk is None:
        return True
    expected = encoder.document(chunk.embedded_text)
    return all(same_terms(vectors[name], sparse) for name, sparse in zip((BM25, TERMS), expected, strict=True))


def _server_id(id_: str) -> int | str:
    return int(id_) if id_.isdecimal() else str(uuid.UUID(id_))
