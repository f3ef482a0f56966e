"""Vector index in this process: Qdrant Edge, one shard an index, under `<data directory>/index`."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder
from ragstone.adapters.qdrant_edge_errors import DAMAGED, check_room, translated
from ragstone.adapters.qdrant_edge_files import IndexFiles, IndexState, describe_copy, index_names, remove_leftovers
from ragstone.adapters.qdrant_edge_mending import mend, scan
from ragstone.adapters.qdrant_edge_optimiser import Optimiser
from ragstone.adapters.qdrant_edge_rewinding import rewind_in_child
from ragstone.adapters.qdrant_edge_search import Search, search
from ragstone.adapters.qdrant_edge_shard import Shard, create_shard
from ragstone.domain.errors import DataDirectoryError, RagstoneError
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate, IndexedChunk, Point, StoredPoint, Vector
from ragstone.domain.spaces import EmbeddingSpace

_T = TypeVar("_T")


class QdrantEdgeIndex:
    """`VectorIndex` for one owner process.

    Shards are opened when first used and stay open. HNSW is built by `optimise` once `optimise_after` points have been written since it was
    built last; below that every search is exact and fast enough (ADR 0007). Closing the index ends optimisations that run.
    """

    def __init__(self, root: Path, *, optimise_after: int = 20_000) -> None:
        self._root = root
        self._optimise_after = optimise_after
        self._open: dict[str, Shard] = {}
        self._opening = threading.Lock()
        self._optimisers: defaultdict[str, set[Optimiser]] = defaultdict(set)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="index")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="optimise")
        remove_leftovers(root)

    async def create(self, index: str, space: EmbeddingSpace) -> None:
        await self._run(lambda: self._create(index, IndexState(space.model.dimension, space.bm25)))

    async def drop(self, index: str) -> None:
        self._stop(self._optimisers[index])
        await self._run(lambda: self._drop(index))

    async def replace(self, index: str, by: str) -> None:
        self._stop(self._optimisers[index] | self._optimisers[by])
        await self._run(lambda: self._replace(index, by))

    async def exists(self, index: str) -> bool:
        return await self._run(IndexFiles(self._root, index).exists)

    async def names(self) -> list[str]:
        return await self._run(lambda: index_names(self._root))

    async def insert(self, index: str, points: Sequence[Point]) -> None:
        await self._on(index, lambda shard: shard.insert(points))

    async def close_points(self, index: str, ids: Sequence[str], attempt: int, gaps: Collection[int]) -> None:
        await self._on(index, lambda shard: shard.close_points(ids, attempt, gaps))

    async def opened(self, index: str, attempt: int) -> int:
        return await self._on(index, lambda shard: shard.count("seq_from", attempt))

    async def closed(self, index: str, attempt: int) -> int:
        return await self._on(index, lambda shard: shard.count("seq_to", attempt))

    async def set_groups(self, index: str, path: str, groups: frozenset[str]) -> None:
        await self._on(index, lambda shard: shard.set_groups(path, groups))

    async def visible(
        self, index: str, seq: int, gaps: Collection[int], paths: Iterable[str], *, groups: frozenset[str] | None = None
    ) -> list[IndexedChunk]:
        return await self._on(index, lambda shard: shard.visible(seq, gaps, paths, groups))

    async def count_visible(self, index: str, seq: int, gaps: Collection[int], *, groups: frozenset[str] | None = None) -> int:
        return await self._on(index, lambda shard: shard.count_visible(seq, gaps, groups))

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        return await self._on(index, lambda shard: shard.chunks(ids))

    async def vectors(self, index: str, hashes: Iterable[str]) -> dict[str, Vector]:
        return await self._on(index, lambda shard: shard.vectors(hashes))

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
        wanted = Search(seq, gaps, filter, vector, text, limit, exact, groups)
        return await self._on(index, lambda shard: search(shard, wanted))

    async def erase_attempts(self, index: str, attempts: Collection[int]) -> None:
        await self._on(index, lambda shard: shard.erase_attempts(attempts))

    async def count_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return await self._on(index, lambda shard: shard.count_range(after, until, gaps))

    async def erase_range(self, index: str, after: int, until: int, gaps: Collection[int]) -> int:
        return await self._on(index, lambda shard: shard.erase_range(after, until, gaps))

    async def erase_path(self, index: str, path: str, until: int) -> int:
        return await self._on(index, lambda shard: shard.erase_path(path, until))

    async def size(self, index: str) -> int:
        """Disk blocks, not lengths: the engine's files are larger than what is in them."""
        return await self._on(index, lambda _: IndexFiles(self._root, index).size())

    async def scan(self, index: str, after: str | None = None, limit: int = 500) -> list[StoredPoint]:
        return await self._on(index, lambda shard: scan(shard, after, limit))

    async def mend(self, index: str, points: Sequence[Point], deleted: Collection[str], *, head: int) -> None:
        await self._on(index, lambda shard: mend(shard, points, deleted, head))

    async def flush(self, index: str) -> None:
        await self._on(index, lambda shard: shard.flush())

    async def copy(self, index: str, folder: Path) -> None:
        """A copy of the index, as it is between two writes, in the new folder `folder`; writers wait for it. For backups."""
        files = IndexFiles(self._root, index)

        def work(shard: Shard) -> None:
            folder.mkdir(mode=0o700, parents=True)
            shard.snapshot_to(folder / "g1", lambda: describe_copy(folder, files.read()))

        await self._on(index, work)

    async def rewind_copy(self, folder: Path, last: int) -> None:
        """Takes attempts after `last` out of a copy that `copy` made."""
        await rewind_in_child(folder / "g1", last)

    async def optimise(self, index: str) -> None:
        """In a process of its own; returns at once while the index is being optimised or compacted. Cancelling it ends that process."""
        shard = await self._on(index, lambda shard: shard)
        if not self._optimisers[index]:
            await self._in_background(index, lambda optimiser: optimiser.run(shard, self._optimise_after))

    async def compact(self, index: str) -> None:
        """In a process of its own, after whatever else is being optimised or compacted. Cancelling it ends that process."""
        shard = await self._on(index, lambda shard: shard)
        await self._in_background(index, lambda optimiser: optimiser.compact(shard))

    async def _in_background(self, index: str, rewrite: Callable[[Optimiser], None]) -> None:
        optimiser = Optimiser(IndexFiles(self._root, index))
        self._optimisers[index].add(optimiser)
        work = asyncio.get_running_loop().run_in_executor(self._background, rewrite, optimiser)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            optimiser.stop()
            await asyncio.gather(work, return_exceptions=True)
            raise
        finally:
            self._optimisers[index].discard(optimiser)

    @staticmethod
    def _stop(optimisers: Iterable[Optimiser]) -> None:
        for optimiser in list(optimisers):
            optimiser.stop()

    async def aclose(self) -> None:
        for optimisers in self._optimisers.values():
            self._stop(optimisers)
        await asyncio.to_thread(self._close)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _on(self, index: str, work: Callable[[Shard], _T]) -> _T:
        return await self._run(lambda: work(self._shard(index)))

    def _shard(self, index: str) -> Shard:
        shard = self._open.get(index)
        if shard is None:
            with self._opening:
                shard = self._open.get(index)
                if shard is None:
                    files = IndexFiles(self._root, index)
                    state = files.read()
                    files.remove_other_generations(state)
                    shard = self._open[index] = Shard(files.generation(state.generation), state)
        return shard

    def _create(self, index: str, state: IndexState) -> None:
        files = IndexFiles(self._root, index)
        with self._opening:
            if files.exists():
                return
            if files.is_headless():
                raise DataDirectoryError(DAMAGED)
            Bm25Encoder(state.bm25)  # refuses an unknown language before anything is made
            new = files.new()
            try:
                check_room(new)
                with translated("creating it"):
                    create_shard(new / "g1", state.dimension)
                    files.publish(new, state)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise

    def _drop(self, index: str) -> None:
        with self._opening:
            self._let_go(index)
            with translated("dropping it"):
                IndexFiles(self._root, index).remove()

    def _replace(self, index: str, by: str) -> None:
        with self._opening:
            files = IndexFiles(self._root, by)
            files.read()
            self._let_go(index)
            self._let_go(by)
            with translated("replacing it"):
                IndexFiles(self._root, index).remove()
                files.rename(index)

    def _let_go(self, index: str) -> None:
        shard = self._open.pop(index, None)
        if shard is not None:
            with suppress(RagstoneError):  # a damaged one can't be flushed, and goes all the same
                shard.close()

    def _close(self) -> None:
        self._background.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True)
        for shard in self._open.values():
            shard.close()
        self._open.clear()
