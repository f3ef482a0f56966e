"""Embeds many texts in shards, side by side, before whoever writes an index takes the lease (ADR 0032)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ragstone.domain.bulk import BulkPart, BulkRun, ShardProgress, owner_of, parts_of, run_id
from ragstone.domain.errors import NotFound, RagstoneError, Unavailable
from ragstone.domain.retrieval import Vector
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.bulk_runner import BulkRunner
from ragstone.ports.bulk_stage import BulkStage
from ragstone.use_cases.index_writer import check_vectors

_LOOK = 1.0  # seconds between looks at the progress
_ROUNDS = 3  # of shards, each of which must have brought something
_log = logging.getLogger(__name__)

Told = Callable[[tuple[ShardProgress, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """`shards`: how many work at once where nobody says otherwise. `least`: fewer texts are embedded by whoever writes them.

    `window`: chunks of a space that are embedded ahead of being written. `part`: texts that are staged together, and lost together.
    """

    shards: int = 4
    least: int = 2_000
    window: int = 20_000
    part: int = 128


@dataclass(frozen=True, slots=True)
class Ahead:
    """Vectors by content hash that shards have embedded, for documents up to path `until` (empty: all of a job's)."""

    vectors: Mapping[str, Vector] = field(default_factory=dict)
    until: str = ""


class BulkEmbedding:
    """Orders texts, has them embedded, and brings the vectors. What it brings is a start for whoever writes: a text that it lacks is embedded there.

    `runner` None: this process has nothing embedded in bulk, and only tells how far others are.
    """

    def __init__(self, stage: BulkStage, runner: BulkRunner | None, settings: BulkSettings, *, look: float = _LOOK) -> None:
        self._stage = stage
        self._runner = runner
        self.settings = settings
        self._look = look

    async def embed(
        self,
        owner: str,
        space: EmbeddingSpace,
        documents: Sequence[tuple[str, Mapping[str, str]]],
        told: Told,
        *,
        shards: int = 0,
    ) -> dict[str, Vector]:
        """Vectors by content hash. `documents`: paths, with the texts that have no vector yet, by content hash. `told` hears how far the shards are.

        What an earlier call for the same owner and space has staged is taken up, whoever made it. Fewer than `least` texts start no shard.
        Raises `Unavailable` when a shard fails again and again, and what stage and runner raise: what was staged stays.
        """
        name = run_id(owner, space.id)
        run = BulkRun(name, space.model, shards or self.settings.shards, time.time())
        brought = _Brought(self._stage, run)
        await brought.fetch()
        for _ in range(_ROUNDS):
            before = len(brought.vectors)
            parts = await asyncio.to_thread(self._parts, run, documents, brought.vectors)
            if not parts:
                return brought.vectors
            await self._stage.order(run, parts)
            await self._run(run, brought, told)
            if run.id not in await self._stage.runs():
                raise Unavailable("The bulk work was given up meanwhile; it is tried again.", field="bulk", retry_after=1.0)
            await brought.fetch()
            if len(brought.vectors) == before:
                break
        if all(hashed in brought.vectors for _, texts in documents for hashed in texts):
            return brought.vectors
        raise Unavailable("The shards ended without having embedded every text; it is tried again.", field="bulk", retry_after=5.0)

    async def forget(self, owner: str) -> None:
        """Deletes what is staged for a job or a build, and ends what still works for it. Idempotent."""
        for name in await self._stage.runs():
            if owner_of(name) == owner:
                await self._stage.discard(name)

    async def owners(self) -> set[str]:
        """Jobs and builds that something is staged for."""
        return {owner_of(name) for name in await self._stage.runs()}

    async def progress(self, owner: str, space: EmbeddingSpace) -> tuple[ShardProgress, ...]:
        """How far the shards of a job or build are, whichever process started them; () when none are at work."""
        try:
            run = await self._stage.run(run_id(owner, space.id))
        except NotFound:
            return ()
        return _progress(await self._stage.progress(run.id), [0] * run.shards, time.time() - run.started_at)

    def _parts(self, run: BulkRun, documents: Sequence[tuple[str, Mapping[str, str]]], vectors: Mapping[str, Vector]) -> list[BulkPart]:
        """Of the texts that lack a vector; none where they are too few for shards."""
        missing = [(path, {hashed: text for hashed, text in texts.items() if hashed not in vectors}) for path, texts in documents]
        parts = parts_of(missing, run.shards, self.settings.part)
        return parts if sum(len(part.texts) for part in parts) >= self.settings.least else []

    async def _run(self, run: BulkRun, brought: _Brought, told: Told) -> None:
        if self._runner is None:
            raise AssertionError("nothing is embedded in bulk here")
        watching = asyncio.create_task(self._watch(run, brought, told), name="bulk progress")
        try:
            await self._runner.run(run)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        with contextlib.suppress(RagstoneError):  # it is for people
            await told(_progress(await self._stage.progress(run.id), [0] * run.shards, time.time() - run.started_at))

    async def _watch(self, run: BulkRun, brought: _Brought, told: Told) -> None:
        began, first = time.monotonic(), [done for done, _ in await self._stage.progress(run.id)]
        while True:
            try:
                await told(_progress(await self._stage.progress(run.id), first, time.monotonic() - began))
                await brought.fetch()  # while shards work on; what is left at the end is little
            except RagstoneError as error:
                _log.info("the progress of the shards is not known just now: %s", error.message)
            await asyncio.sleep(self._look)


class _Brought:
    """The vectors of a run, by content hash, as far as they have been fetched."""

    def __init__(self, stage: BulkStage, run: BulkRun) -> None:
        self._stage = stage
        self._run = run
        self._parts: set[str] = set()
        self.vectors: dict[str, Vector] = {}

    async def fetch(self) -> None:
        """What has been staged since the last time, by the run's model. Raises `InternalError` for vectors that can't be right, and what the stage raises."""
        try:
            if (await self._stage.run(self._run.id)).model != self._run.model:
                return
        except NotFound:
            return
        for part in await self._stage.vectors(self._run.id, self._parts):
            check_vectors(part.rows, len(part.hashes), self._run.model.dimension)
            self.vectors.update(zip(part.hashes, part.rows, strict=True))
            self._parts.add(part.id)


def _progress(counts: Sequence[tuple[int, int]], first: Sequence[int], seconds: float) -> tuple[ShardProgress, ...]:
    """`first`: what each shard had done when the clock was started."""
    found = []
    for shard, (done, total) in enumerate(counts):
        rate = (done - (first[shard] if shard < len(first) else 0)) / seconds if seconds > 0 else 0.0
        found.append(ShardProgress(shard, done, total, rate, (total - done) / rate if rate > 0 else None if done < total else 0.0))
    return tuple(found)
