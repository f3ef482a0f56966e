"""One open Qdrant Edge shard: insert-only writes, conditional closes, and what is read of it besides searches.

The engine holds Python's interpreter lock during nearly every call, so calls are short: upserts of 128 points take about 10 ms.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    IntegerIndexParams,
    KeywordIndexParams,
    MatchValue,
    Modifier,
    PayloadSchemaType,
    Point,
    Record,
    ScrollRequest,
    UpdateMode,
    UpdateOperation,
    VectorStorageDatatype,
)

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder, SnapshotStatistics
from ragstone.adapters.qdrant_edge_errors import DAMAGED, check_room, translated
from ragstone.adapters.qdrant_edge_files import IndexState, sync
from ragstone.adapters.qdrant_edge_filters import EdgeCondition, any_of, closable, in_range, in_snapshot, of_document, of_path
from ragstone.adapters.qdrant_edge_payload import from_payload, indexed_numbers, number_path, to_payload
from ragstone.adapters.sparse_files import allocated, copy_tree
from ragstone.domain import retrieval
from ragstone.domain.commits import OPEN
from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound

_T = TypeVar("_T")

DENSE, BM25, TERMS = "dense", "bm25", "terms"
_UPSERT = 128  # points a call
_LISTED = 500  # ids, paths or hashes in one filter
_PAGE = 1000  # points read in one call
_FLUSH_AFTER = 5000  # points written; a flush rewrites the segments' pages and takes tens of milliseconds, a sync of the log takes one
_NUMBER_INDEXES = 64  # metadata keys with a range index; further ones are scanned


def create_shard(folder: Path, dimension: int) -> None:
    """Makes an empty shard with its field indexes."""
    shard = EdgeShard.create(
        str(folder),
        EdgeConfig(
            vectors={DENSE: EdgeVectorParams(size=dimension, distance=Distance.Cosine)},
            sparse_vectors={
                BM25: EdgeSparseVectorParams(),
                TERMS: EdgeSparseVectorParams(modifier=Modifier.Idf, datatype=VectorStorageDatatype.Float16),
            },
            optimizers=EdgeOptimizersConfig(indexing_threshold=1),  # KB: when HNSW is asked for, it is built
        ),
    )
    for field in ("seq_from", "seq_to"):
        shard.update(UpdateOperation.create_field_index(field, IntegerIndexParams(lookup=True, range=True)))
    shard.update(UpdateOperation.create_field_index("path", KeywordIndexParams(prefix=True)))
    for field in ("content_hash", "facets", "groups"):
        shard.update(UpdateOperation.create_field_index(field, KeywordIndexParams()))
    shard.flush()
    shard.close()


class Shard:
    """Every method is synchronous and safe in threads. `lock` guards the engine; `_writing`, taken before it, keeps writes out of a copy."""

    def __init__(self, folder: Path, state: IndexState) -> None:
        self.lock = threading.RLock()
        self._writing = threading.RLock()
        self.folder = folder
        self.dimension = state.dimension
        self.encoder = Bm25Encoder(state.bm25)
        self._journal: list[UpdateOperation] | None = None
        self._closed = False
        self.statistics = SnapshotStatistics()
        with translated("opening it"):
            if not any(folder.glob("segments/*")):  # the engine would take it for an empty one
                raise DataDirectoryError(DAMAGED)
            self.engine = EdgeShard.load(str(folder))
            known = self.engine.info().payload_schema
            if "groups" not in known:  # of a release without them
                self.engine.update(UpdateOperation.create_field_index("groups", KeywordIndexParams()))
            self._indexed = indexed_numbers(known)
        self._unflushed = 0

    @contextmanager
    def writing(self, doing: str) -> Iterator[None]:
        """Nobody else writes or reads meanwhile. `doing` is for the message of an error."""
        with self._writing, self.lock, translated(doing):
            yield

    def insert(self, points: Sequence[retrieval.Point], mode: UpdateMode = UpdateMode.InsertOnly) -> None:
        """The first of two points with one id counts. Everything is checked and encoded before anything is written."""
        for point in points:
            self.check_vector(point.vector, f"a chunk of {point.chunk.path!r}")
        unique = {point.chunk.id: point for point in reversed(points)}
        if not unique:
            return
        with self._writing, self.lock, translated("writing points"):
            encoded = [self._encoded(point) for point in unique.values()]
            check_room(self.folder, sum(4 * self.dimension + 4 * len(point.chunk.text) for point in unique.values()))
            self._index_numbers(key for point in unique.values() for key in point.chunk.metadata if self._is_number(point, key))
            for batch in _batches(encoded, _UPSERT):
                self._update(UpdateOperation.upsert_points(batch, update_mode=mode))
            self._unflushed += len(encoded)
            self.statistics.forget_from(min(point.chunk.seq_from for point in unique.values()))

    def delete(self, ids: Sequence[int | uuid.UUID | str]) -> None:
        """Deletes points by the engine's ids."""
        with self.writing("deleting points"):
            for batch in _batches(ids, _LISTED):
                self._update(UpdateOperation.delete_points(batch))
            self._unflushed += len(ids)
            self.statistics.forget_from(0)

    def close_points(self, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None:
        """Sets `seq_to` where it is OPEN or in `gaps`."""
        with self._writing, self.lock, translated("closing points"):
            for batch in _batches(ids, _LISTED):
                check_room(self.folder)
                self._update(UpdateOperation.set_payload_by_filter(closable(batch, gaps), {"seq_to": attempt}))
            self._unflushed += len(ids)
            self.statistics.forget_from(attempt)

    def set_groups(self, path: str, groups: frozenset[str]) -> None:
        """Whoever searches afterwards goes by them."""
        with self.writing("setting groups"):
            check_room(self.folder)
            where = of_document(path)
            if groups:
                self._update(UpdateOperation.set_payload_by_filter(where, {"groups": sorted(groups)}))
            else:
                self._update(UpdateOperation.delete_payload_by_filter(where, ["groups"]))
            self._unflushed += 1
            self.statistics.forget_from(0)

    def erase_attempts(self, attempts: Collection[int]) -> None:
        """Deletes what they opened, reopens what they closed."""
        with self._writing, self.lock, translated("erasing attempts"):
            for batch in _batches(list(attempts), _LISTED):
                self._update(UpdateOperation.delete_points_by_filter(Filter(must=[any_of("seq_from", batch)])))
                self._update(UpdateOperation.set_payload_by_filter(Filter(must=[any_of("seq_to", batch)]), {"seq_to": OPEN}))
            self.statistics.forget_from(0)

    def count_range(self, after: int, until: int, gaps: Collection[int]) -> int:
        """Exact number of points that `erase_range` would delete."""
        return self._count([in_range(after, until, gaps)])

    def erase_range(self, after: int, until: int, gaps: Collection[int]) -> int:
        """Deletes points opened after `after` and closed for good by `until`."""
        return self._erase(in_range(after, until, gaps))

    def erase_path(self, path: str, until: int) -> int:
        """Deletes a document's points that attempts up to `until` opened."""
        return self._erase(of_path(path, until))

    def _erase(self, condemned: Filter) -> int:
        """Some hundred at a time, and between them others have their turn."""
        erased = 0
        request = ScrollRequest(limit=_LISTED, filter=condemned, with_payload=False, with_vector=False)
        while True:
            with self._writing, self.lock, translated("erasing points"):
                found, _ = self.engine.scroll(request)
                if not found:
                    return erased
                check_room(self.folder)
                self._update(UpdateOperation.delete_points([record.id for record in found]))
                self._unflushed += len(found)
                self.statistics.forget_from(0)
            erased += len(found)

    def count(self, field: str, seq: int) -> int:
        """Exact number of points whose `field` is `seq`."""
        return self._count([FieldCondition(field, match=MatchValue(seq))])

    def count_visible(self, seq: int, gaps: Collection[int], groups: frozenset[str] | None = None) -> int:
        """Exact number of points in the snapshot."""
        return self._count(in_snapshot(seq, gaps, groups))

    def size_in_points(self) -> int:
        """Number of points as the engine knows it without counting."""
        with self.lock, translated("counting"):
            return self.engine.info().points_count

    def visible(
        self, seq: int, gaps: Collection[int], paths: Iterable[str], groups: frozenset[str] | None = None
    ) -> list[retrieval.IndexedChunk]:
        """The snapshot's chunks of these documents in order of (path, start, end, id)."""
        chunks = [
            from_payload(str(record.id), record.payload or {})
            for batch in _batches(sorted(set(paths)), _LISTED)
            for record in self._scroll(Filter(must=[*in_snapshot(seq, gaps, groups), any_of("path", batch)]))
        ]
        return sorted(chunks, key=lambda chunk: (chunk.path, chunk.start, chunk.end, chunk.id))

    def vectors(self, hashes: Iterable[str]) -> dict[str, retrieval.Vector]:
        """Dense vectors by content hash. A hash that thousands of points have is read once."""
        found: dict[str, retrieval.Vector] = {}
        for batch in _batches(sorted(set(hashes)), _LISTED):
            missing = set(batch)
            while missing:
                request = ScrollRequest(
                    limit=_PAGE, filter=Filter(must=[any_of("content_hash", missing)]), with_payload=["content_hash"], with_vector=[DENSE]
                )
                with self.lock, translated("reading vectors"):
                    records, _ = self.engine.scroll(request)
                if not records:
                    break
                for record in records:
                    named: Any = record.vector
                    found[(record.payload or {})["content_hash"]] = np.array(named[DENSE], np.float32)
                missing -= found.keys()
        return found

    def chunks(self, ids: Iterable[str]) -> dict[str, retrieval.IndexedChunk]:
        """Chunks by id."""
        with self.lock, translated("reading chunks"):
            records = self.engine.retrieve(list(ids), True, False)
        return {str(record.id): from_payload(str(record.id), record.payload or {}) for record in records}

    def flush(self) -> None:
        """The write-ahead log to disk; now and then the segments too, so that the log stays short."""
        with self._writing, self.lock, translated("flushing"):
            if self._unflushed >= _FLUSH_AFTER:
                self.engine.flush()
                self._unflushed = 0
            for file in (self.folder / "wal").iterdir():
                sync(file)
            sync(self.folder / "wal")

    def close(self) -> None:
        """Flushes and lets go of the files."""
        with self._writing, self.lock, translated("closing it"):
            self._closed = True
            try:
                self.engine.flush()
            finally:
                self.engine.close()

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Nobody closes it meanwhile, so its folder is that of the index and not of another of its name. Raises `NotFound` when it is closed."""
        with self._writing, self.lock:
            if self._closed:
                raise NotFound("The index was dropped meanwhile.", field="index")
            yield

    def check_vector(self, vector: retrieval.Vector, of: str) -> None:
        """Raises `InternalError` for another dimension, NaN or infinity."""
        if vector.shape != (self.dimension,) or not np.isfinite(vector).all():
            raise InternalError(f"The vector of {of} is not {self.dimension} finite numbers; check the embedding model.")

    def size(self) -> int:
        """Bytes that a copy takes."""
        return allocated(self.folder)

    def copy_to(self, folder: Path) -> None:
        """Copies the shard; from then on every write is also kept for `adopt`. Reads go on meanwhile."""
        with self._writing, translated("copying it"):
            with self.lock:
                self.engine.flush()
            copy_tree(self.folder, folder)
            self._journal = []

    def snapshot_to(self, folder: Path, describe: Callable[[], None]) -> None:
        """Copies the shard as it is between two writes; `describe` is called before the next one. Reads go on meanwhile."""
        with self._writing, translated("copying it"):
            with self.lock:
                self.engine.flush()
            copy_tree(self.folder, folder)
            describe()

    def forget_copy(self) -> None:
        """Ends what `copy_to` began."""
        with self._writing:
            self._journal = None

    def adopt(self, copy: Path, publish: Callable[[], None]) -> None:
        """Goes on with the copy: brings it up to date, makes it count with `publish`, and closes the original."""
        with self.attended(), translated("adopting the optimised copy"):
            replacement = EdgeShard.load(str(copy))
            try:
                for operation in self._journal or ():
                    replacement.update(operation)
                replacement.flush()
                publish()
            except BaseException:
                replacement.close()
                raise
            self.engine.close()
            self.engine, self.folder, self._journal = replacement, copy, None
            self._indexed = indexed_numbers(replacement.info().payload_schema)

    def _update(self, operation: UpdateOperation) -> None:
        self.engine.update(operation)
        if self._journal is not None:
            self._journal.append(operation)

    def _encoded(self, point: retrieval.Point) -> Point:
        weights, terms = self.encoder.document(point.chunk.embedded_text)
        vectors: Any = {DENSE: point.vector, BM25: weights, TERMS: terms}
        return Point(
            uuid.UUID(point.chunk.id), vectors, to_payload(point.chunk) | ({"groups": sorted(point.groups)} if point.groups else {})
        )

    @staticmethod
    def _is_number(point: retrieval.Point, key: str) -> bool:
        value = point.chunk.metadata[key]
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def _index_numbers(self, keys: Iterable[str]) -> None:
        for path in sorted({number_path(key) for key in keys} - self._indexed):
            if len(self._indexed) < _NUMBER_INDEXES:
                self._update(UpdateOperation.create_field_index(path, PayloadSchemaType.Float))
                self._indexed.add(path)

    def _count(self, conditions: list[EdgeCondition]) -> int:
        with self.lock, translated("counting"):
            return self.engine.count(CountRequest(exact=True, filter=Filter(must=[*conditions])))

    def _scroll(self, filter_: Filter) -> Iterator[Record]:
        offset = None
        while True:
            request = ScrollRequest(offset=offset, limit=_PAGE, filter=filter_, with_payload=True, with_vector=False)
            with self.lock, translated("reading chunks"):
                records, offset = self.engine.scroll(request)
            yield from records
            if offset is None:
                return


def _batches(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
