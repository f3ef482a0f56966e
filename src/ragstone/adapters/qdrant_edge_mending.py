"""Points of a Qdrant Edge shard as they lie there, damaged or not, and their repair."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from qdrant_edge import Record, ScrollRequest, UpdateMode

from ragstone.adapters.qdrant_edge_errors import translated
from ragstone.adapters.qdrant_edge_payload import from_payload, to_payload
from ragstone.adapters.qdrant_edge_shard import BM25, DENSE, TERMS, Shard
from ragstone.domain.commits import OPEN
from ragstone.domain.retrieval import IndexedChunk, Point, StoredPoint

_PAGE = 1000  # points in one call of the engine
_UNIT = 1e-3  # float32 rounding of a length of 1, with room


def scan(shard: Shard, after: str | None, limit: int) -> list[StoredPoint]:
    """A page of all points, in the engine's order of ids."""
    wanted = min(limit, _PAGE)
    offset = None if after is None else _engine_id(after)
    request = ScrollRequest(offset=offset, limit=wanted + 1, with_payload=True, with_vector=True)
    with shard.lock, translated("reading points"):
        records, _ = shard.engine.scroll(request)
    return [_stored(shard, record) for record in records if str(record.id) != after][:wanted]


def mend(shard: Shard, points: Sequence[Point], deleted: Collection[str], head: int) -> None:
    """Points over whatever is there, then deletions. What a running attempt has closed meanwhile stays closed."""
    kept = {point.chunk.id for point in points}
    gone: list[int | uuid.UUID | str] = [_engine_id(id_) for id_ in sorted(set(deleted) - kept)]
    with shard.writing("mending points"):
        records = shard.engine.retrieve([uuid.UUID(id_) for id_ in sorted(kept)], ["seq_to"], False)
        ends = {str(record.id): integer(record.payload or {}, "seq_to") for record in records}
        late = {id_: end for id_, end in ends.items() if end is not None and head < end < OPEN}
        shard.insert([_closed(point, late.get(point.chunk.id)) for point in points], UpdateMode.Upsert)
        shard.delete(gone)


def _closed(point: Point, seq_to: int | None) -> Point:
    if seq_to is None or point.chunk.seq_to != OPEN:
        return point
    return replace(point, chunk=replace(point.chunk, seq_to=seq_to))


def _stored(shard: Shard, record: Record) -> StoredPoint:
    id_, payload = str(record.id), {name: value for name, value in (record.payload or {}).items() if name != "groups"}
    chunk = readable_chunk(id_, payload)
    return StoredPoint(id_, chunk, _vectors_ok(shard, record.vector, chunk), integer(payload, "seq_from"), integer(payload, "seq_to"))


def readable_chunk(id_: str, payload: dict[str, Any]) -> IndexedChunk | None:
    """The chunk, if storing it would give this very payload: then what is filtered by agrees with what is shown."""
    texts = ("path", "text", "content_hash", "media_type", "checksum", "commit_id")
    if not all(isinstance(payload.get(name), str) for name in texts):
        return None
    if any(integer(payload, name) is None for name in ("start", "end", "occurrence", "seq_from", "seq_to")):
        return None
    try:
        chunk = from_payload(id_, payload)
        return chunk if to_payload(chunk) == payload and all(isinstance(part, str) for part in chunk.heading_path) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _vectors_ok(shard: Shard, vectors: object, chunk: IndexedChunk | None) -> bool:
    if not isinstance(vectors, dict) or vectors.keys() != {DENSE, BM25, TERMS}:
        return False
    dense = np.asarray(vectors[DENSE], np.float32)
    if dense.shape != (shard.dimension,) or not abs(float(np.linalg.norm(dense)) - 1) < _UNIT:
        return False
    if chunk is None:
        return True
    expected = shard.encoder.document(chunk.embedded_text)
    return all(same_terms(vectors[name], sparse) for name, sparse in zip((BM25, TERMS), expected, strict=True))


def same_terms(stored: Any, expected: Any) -> bool:
    """The same weights, in whatever order; mostly it is the same one."""
    indices, values = (stored.indices, expected.indices), (stored.values, expected.values)
    if indices[0] == indices[1]:
        return bool(values[0] == values[1])
    return sorted(zip(indices[0], values[0], strict=True)) == sorted(zip(indices[1], values[1], strict=True))


def integer(payload: dict[str, Any], name: str) -> int | None:
    """A field of a payload, if it holds an integer."""
    value = payload.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _engine_id(id_: str) -> int | uuid.UUID:
    return int(id_) if id_.isdecimal() else uuid.UUID(id_)
