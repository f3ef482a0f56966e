"""A process of its own that writes the points of a shard into a fresh one: what was deleted is in none of its files.

The engine only marks points as deleted, and its optimiser leaves their bytes in pages, segments and the write-ahead log (ADR 0010).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from qdrant_edge import EdgeShard, PayloadSchemaType, Point, ScrollRequest, UpdateOperation

from ragstone.adapters.qdrant_edge_payload import indexed_numbers, number_paths
from ragstone.adapters.qdrant_edge_shard import create_shard

_PAGE = 256  # points in memory at a time, with all their vectors


def main() -> None:
    """Arguments: the shard's folder, the fresh one's, the dimension, and whether to build HNSW. Fails unless every point has arrived."""
    source, fresh, dimension, hnsw = sys.argv[1:]
    os.nice(10)
    rewrite(Path(source), Path(fresh), int(dimension), hnsw=hnsw == "hnsw")


def rewrite(source: Path, fresh: Path, dimension: int, *, hnsw: bool) -> None:
    """Payloads and vectors are copied as they are stored: a normalised vector stays the same to the bit."""
    fresh.mkdir()
    create_shard(fresh, dimension)
    old, new = EdgeShard.load(str(source)), EdgeShard.load(str(fresh))
    offset, copied = None, 0
    numbers: set[str] = set()
    while True:
        records, offset = old.scroll(ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=True))
        if records:
            new.update(UpdateOperation.upsert_points([Point(each.id, each.vector or {}, each.payload) for each in records]))
        copied += len(records)
        numbers.update(path for each in records for path in number_paths(each.payload or {}))
        if offset is None:
            break
    for path in sorted(numbers & indexed_numbers(old.info().payload_schema)):  # a key may have been in deleted points alone
        new.update(UpdateOperation.create_field_index(path, PayloadSchemaType.Float))
    if hnsw:
        new.optimize()
    new.flush()
    if not copied == old.info().points_count == new.info().points_count:
        raise SystemExit(f"{copied} of {old.info().points_count} points were read, {new.info().points_count} written")
    new.close()
    old.close()
