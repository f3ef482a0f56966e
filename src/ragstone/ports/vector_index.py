"""Points with their validity, and hybrid search inside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate, IndexedChunk, Point, StoredPoint, Vector
from ragstone.domain.spaces import EmbeddingSpace


class VectorIndex(Protocol):
    """Contract (`index` is `Collection.index_name(space_id)`; a snapshot is `seq` with `gaps`, its meaning `domain.commits.visible`):

    - `replace(index, by)`: `by` bears the name `index` from now on; what bore it, damaged or not, is dropped. `NotFound` when there is no `by`.
    - `names`: the indexes that there are, in order. `create` is idempotent. Every other call on an index that was not created raises `NotFound` and creates nothing. `drop` is idempotent.
    - `insert` is insert-only: a point whose id exists stays as it is. Before anything is written every vector is checked: dimension and
      finiteness, else `InternalError`. When it returns, the points are found by every later call and survive the process being killed.
    - `close_points` sets `seq_to = attempt` where id is in `ids` and (`seq_to` is OPEN or in `gaps`).
    - `opened(a)` / `closed(a)`: exact numbers of points with `seq_from == a` / `seq_to == a`.
    - `set_groups(path, groups)`: sets `Point.groups` on all points of the document, of any validity; durable, like `insert`.
    - `groups` of a read: None sees everything; else only points without groups, or with one of these, belong to the snapshot, in BM25's statistics too.
    - `visible(seq, gaps, paths)`: all chunks of these documents in the snapshot, in order of (path, start, end, id). `count_visible`: of all documents.
    - `chunks(ids)`: chunks by id, of any validity; unknown ids are left out.
    - `vectors(hashes)`: dense vectors by content hash, of points of any validity; unknown hashes are left out.
    - `search`: two lists of at most `limit`, by dense cosine and by BM25, both under filter and snapshot; the union, with the exact cosine for every
      candidate. Candidates' BM25 statistics are those of the snapshot (all its points, the metadata filter not applied). `exact`: dense list by full scan, and then
      ids, scores and order are a function of the snapshot alone, whatever was written since. Equal scores are ordered by chunk id, also at the cut.
      Candidates come in order of chunk id.
    - `erase_attempts(attempts)`: deletes points with `seq_from` in attempts, then sets `seq_to = OPEN` where it is in attempts.
    - `erase_range(after, until, gaps)`: deletes the points that only snapshots between `after` and `until` see, both not counted: those with
      `seq_from > after`, `seq_to <= until` and `seq_to` not in `gaps`. Returns how many; `count_range` only counts them.
      `erase_path(path, until)`: deletes every point of a document with `seq_from <= until`, of any validity. Returns how many.
      Both go in steps, between which others read and write; done again they finish what was begun.
    - `compact`: afterwards no file of the index holds a byte of a point that was deleted before the call. May take long; reads and writes go on;
      results of exact search stay the same. Raises `Unavailable` or `StorageFull` when it could not; done again it finishes.
    - `size`: bytes that the index takes up on disk.
    - `scan`: every point of any validity, damaged ones too, in an order of its own that writes don't change; `after` is the id of the page before's last
      one, and an empty page is the end. For repairs.
    - `mend`: writes these points whole, over whatever has their ids, then deletes the ids of `deleted` that are none of theirs; done again it changes
      nothing. What an attempt later than `head` has closed meanwhile stays closed. Vectors are checked as by `insert`. For repairs only.
    - `flush`: everything acknowledged survives power loss. `optimise`: builds what speeds up search (HNSW); may take long; results stay the same
      for exact search.
    """

    async def create(self, index: str, space: EmbeddingSpace) -> None: ...

    async def drop(self, index: str) -> None: ...

    async def replace(self, index: str, by: str) -> None: ...

    async def exists(self, index: str) -> bool: ...

    async def names(self) -> list[str]: ...

    async def insert(self, index: str, points: Sequence[Point]) -> None: ...

    async def close_points(self, index: str, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None: ...

    async def set_groups(self, index: str, path: str, groups: frozenset[str]) -> None: ...

    async def opened(self, index: str, attempt: int) -> int: ...

    async def closed(self, index: str, attempt: int) -> int: ...

    async def visible(
        self, index: str, seq: int, gaps: Collection[int], paths: Iterable[str], *, groups: frozenset[str] | None = None
    ) -> list[IndexedChunk]: ...

    async def count_visible(self, index: str, seq: int, gaps: Collection[int], *, groups: frozenset[str] | None = None) -> int: ...

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]: ...

    async def vectors(self, index: str, hashes: Iterable[str]) -> dict[str, Vector]: ...

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
    ) -> list[Candidate]: ...

    async def erase_attempts(self, index: str, attempts: Collection[int]) -> None: ...

    async def count_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int: ...

    async def erase_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int: ...

    async def erase_path(self, index: str, path: str, until: int) -> int: ...

    async def compact(self, index: str) -> None: ...

    async def size(self, index: str) -> int: ...

    async def scan(self, index: str, after: str | None = None, limit: int = 500) -> list[StoredPoint]: ...

    async def mend(self, index: str, points: Sequence[Point], deleted: Collection[str], *, head: int) -> None: ...

    async def flush(self, index: str) -> None: ...

    async def optimise(self, index: str) -> None: ...

    async def aclose(self) -> None: ...
