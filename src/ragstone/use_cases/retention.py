"""Pruning: forgets old commits, and frees what only they need (DESIGN.md section 4, Prune; ADR 0010).

Commits are marked first, in one transaction; from then on nobody is given one of them. Only when no reader can be at work on one any more, points
and objects are deleted, by facts that do not change: each step can be repeated, so a prune that was cut short is finished by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from itertools import pairwise

from ragstone.domain.collections import Collection as Kept
from ragstone.domain.commits import OPEN, Commit
from ragstone.domain.errors import InvalidInput
from ragstone.domain.retention import Keep, PruneReport
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.maintenance import Maintenance
from ragstone.use_cases.snapshots import HEAD_TTL

GRACE = 2 * HEAD_TTL  # seconds between marking and deleting at least; see Snapshots.ensure_readable
_WORTH_COMPACTING = 0.1  # share of an index's points; below, they go when the index is next optimised
_PAGE = 1000


class Retention:
    """Prunes collections. `grace`: seconds between marking and deleting; where other processes read, no less than a request may take."""

    def __init__(
        self, catalog: Catalog, versions: VersionStore, index: VectorIndex, maintenance: Maintenance, grace: float = GRACE
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._maintenance = maintenance
        self._grace = grace

    async def prune(self, name: str, keep: Keep, *, dry_run: bool = False) -> PruneReport:
        """Keeps what `keep` says, the head, tagged commits and targets of waiting rollbacks; the rest is freed (or with `dry_run` only counted).

        Raises `NotFound`, and `InvalidInput` when `keep` names nothing.
        """
        if keep.last is None and keep.since is None:
            raise InvalidInput("keep: say how many commits or days to keep.", field="keep_last")
        if keep.last is not None and keep.last < 1:
            raise InvalidInput("keep_last: keep at least 1 commit.", field="keep_last")
        async with self._maintenance.exclusive(name):
            collection = await self._catalog.collection(name)
            pruning = await self._catalog.prune(name, keep, dry_run=dry_run)
            runs = [run async for run in self._runs(name, pruning.kept, frozenset(commit.seq for commit in pruning.pruned))]
            ids = {commit.id for commit in pruning.kept}
            gaps = await self._catalog.gaps(name)
            if dry_run:
                points, size = await self._count(collection, runs, gaps)
                return PruneReport(pruning, points, size + await self._versions.collectable(collection.uid, ids))
            if pruning.pruned:
                await asyncio.sleep(self._grace)
            points, size = await self._erase(collection, runs, gaps)
            return PruneReport(pruning, points, size + await self._collect(collection, pruning.kept))

    async def _collect(self, collection: Kept, kept: Sequence[Commit]) -> int:
        """Bytes of the version store that were freed. What was published after the marking stays: nobody marked it."""
        return await self._versions.collect(collection.uid, {commit.id for commit in kept}, since=kept[-1].id if kept else None)

    async def _runs(self, name: str, kept: Sequence[Commit], pruned: Collection[int]) -> AsyncIterator[tuple[int, int]]:
        """`(k1, k2)` for neighbours of the kept commits with at least one between them that is pruned; k1 is 0 before the first."""
        between = {*pruned}
        before: int | None = None
        while page := await self._catalog.commits(name, before=before, limit=_PAGE):
            between |= {commit.seq for commit in page if commit.pruned_at is not None}
            before = page[-1].seq
        seqs = [0, *(commit.seq for commit in kept)]
        gone = sorted(between)
        for first, second in pairwise(seqs):
            if any(first < seq < second for seq in gone):
                yield first, second

    async def _count(self, collection: Kept, runs: Sequence[tuple[int, int]], gaps: frozenset[int]) -> tuple[int, int]:
        """Points that would go, and their share of the indexes' bytes."""
        points = size = 0
        for space in collection.spaces:
            index = collection.index_name(space.id)
            doomed = sum([await self._index.count_range(index, first, second, gaps) for first, second in runs])
            stored = await self._index.count_range(index, -1, OPEN, frozenset())
            points += doomed
            size += round(await self._index.size(index) * doomed / stored) if stored else 0
        return points, size

    async def _erase(self, collection: Kept, runs: Sequence[tuple[int, int]], gaps: frozenset[int]) -> tuple[int, int]:
        """Points that went, and bytes of the indexes that this freed at once."""
        points = freed = 0
        for space in collection.spaces:
            index = collection.index_name(space.id)
            before = await self._index.size(index)
            doomed = sum([await self._index.erase_range(index, first, second, gaps) for first, second in runs])
            await self._index.flush(index)
            stored = await self._index.count_range(index, -1, OPEN, frozenset())
            if doomed and doomed >= _WORTH_COMPACTING * (doomed + stored):
                await self._index.compact(index)
            points += doomed
            freed += max(0, before - await self._index.size(index))
        return points, freed
