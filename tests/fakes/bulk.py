"""Bulk work within the process: a stage in dicts, and a runner whose shards are tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from ragstone.domain.bulk import BulkPart, BulkRun, PartVectors
from ragstone.domain.errors import NotFound, RagstoneError, Unavailable
from ragstone.domain.retrieval import Vectors


@dataclass
class _Held:
    run: BulkRun
    waiting: dict[tuple[int, str], BulkPart] = field(default_factory=dict)
    done: dict[tuple[int, str], tuple[BulkPart, Vectors]] = field(default_factory=dict)


class InMemoryBulkStage:
    """Implements `BulkStage`."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    async def order(self, run: BulkRun, parts: Sequence[BulkPart]) -> None:
        held = self._held.get(run.id)
        done = held.done if held is not None and held.run.model == run.model else {}
        waiting = {(part.shard, part.id): part for part in parts if (part.shard, part.id) not in done}
        self._held[run.id] = _Held(run, waiting, done)

    async def run(self, run_id: str) -> BulkRun:
        return self._found(run_id).run

    async def runs(self) -> list[str]:
        return sorted(self._held)

    async def waiting(self, run_id: str, shard: int) -> list[str]:
        held = self._held.get(run_id)
        return sorted(part for own, part in held.waiting if own == shard) if held is not None else []

    async def part(self, run_id: str, shard: int, part_id: str) -> BulkPart:
        try:
            return self._found(run_id).waiting[shard, part_id]
        except KeyError:
            raise NotFound(f"no part {part_id!r} of shard {shard} waits.") from None

    async def put(self, run_id: str, part: BulkPart, vectors: Vectors) -> None:
        held = self._found(run_id)
        held.waiting.pop((part.shard, part.id), None)
        held.done.setdefault((part.shard, part.id), (part, np.array(vectors, np.float32)))

    async def vectors(self, run_id: str, without: Collection[str] = ()) -> list[PartVectors]:
        held = self._held.get(run_id)
        parts = held.done.values() if held is not None else ()
        return [PartVectors(part.id, list(part.texts), rows) for part, rows in parts if part.id not in without]

    async def progress(self, run_id: str) -> list[tuple[int, int]]:
        held = self._held.get(run_id)
        if held is None:
            return []
        counts = [[0, 0] for _ in range(held.run.shards)]
        for kind, keys in ((1, {key: part for key, (part, _) in held.done.items()}), (0, held.waiting)):
            for (shard, _), part in keys.items():
                if shard < len(counts):
                    counts[shard][0] += kind * len(part.texts)
                    counts[shard][1] += len(part.texts)
        return [(done, total) for done, total in counts]

    async def discard(self, run_id: str) -> None:
        self._held.pop(run_id, None)

    def _found(self, run_id: str) -> _Held:
        try:
            return self._held[run_id]
        except KeyError:
            raise NotFound(f"there is no bulk work {run_id!r}.") from None


class TaskRunner:
    """Implements `BulkRunner`. `work(run id, shard)` is what a shard does; one that raises is started again, `retries` times."""

    def __init__(self, work: Callable[[str, int], Awaitable[object]], *, retries: int = 5) -> None:
        self._work = work
        self._retries = retries

    async def run(self, run: BulkRun) -> None:
        try:
            async with asyncio.TaskGroup() as shards:
                for shard in range(run.shards):
                    shards.create_task(self._shard(run.id, shard))
        except* Unavailable as failed:
            raise failed.exceptions[0] from None

    async def close(self) -> None:
        pass

    async def _shard(self, run_id: str, shard: int) -> None:
        for _ in range(self._retries + 1):
            try:
                await self._work(run_id, shard)
            except RagstoneError:
                continue
            return
        raise Unavailable(f"Shard {shard} failed {self._retries + 1} times.")
