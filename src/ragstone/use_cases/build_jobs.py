"""Builds of spaces, told as jobs. They are read from the builds' own records and are in no queue (ADR 0034)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from ragstone.domain.access import no_job
from ragstone.domain.builds import Build
from ragstone.domain.bulk import ShardProgress
from ragstone.domain.collections import Collection
from ragstone.domain.commits import CommitStats
from ragstone.domain.errors import Gone, NotFound
from ragstone.domain.jobs import TERMINAL, ChangeRequest, Job, JobResult, JobState, Progress
from ragstone.domain.uploads import JobProgress
from ragstone.ports.catalog import Catalog
from ragstone.use_cases.bulk import BulkEmbedding
from ragstone.use_cases.progress import ProgressBoard, watched

_STATES: dict[str, JobState] = {"preparing": "queued", "filling": "running"}


class BuildJobs:
    """A build that waits or is filled is a job `queued` or `running`. One that became ready is `unchanged`, for it published nothing; one that was given up before is `failed`.

    `bulk`: knows how far shards are, whichever process has them at work.
    """

    def __init__(self, catalog: Catalog, board: ProgressBoard, bulk: BulkEmbedding | None) -> None:
        self._catalog = catalog
        self._board = board
        self._bulk = bulk

    @property
    def in_bulk(self) -> bool:
        """Whether shards may embed."""
        return self._bulk is not None

    async def get(self, job_id: str) -> tuple[Job, Progress]:
        """Raises `NotFound`."""
        for collection in await self._catalog.collections():
            for build in _builds(collection):
                if build.job_id == job_id:
                    return _job(collection, build), await self._progress(collection, build)
        raise no_job(job_id)

    async def page(self, collections: Iterable[Collection], *, before: str | None, limit: int) -> list[tuple[Job, Progress]]:
        """Those of these collections, newest first."""
        found = [(build, of) for of in collections for build in _builds(of) if before is None or build.id < before]
        found.sort(key=lambda pair: pair[0].id, reverse=True)
        return [(_job(of, build), await self._progress(of, build)) for build, of in found[:limit]]

    def watch(self, job_id: str) -> AsyncIterator[JobProgress]:
        """See `watched`."""

        async def look() -> tuple[bool, Progress]:
            job, progress = await self.get(job_id)
            return job.state in TERMINAL, progress

        return watched(self._board, job_id, look)

    async def shards(self, build: Build) -> tuple[ShardProgress, ...]:
        """How far those are that embed what is filled next; () where none are at work, or nobody here can know."""
        if self._bulk is None or build.state != "filling":
            return ()
        return await self._bulk.progress(build.id, build.space)

    async def _progress(self, collection: Collection, build: Build) -> Progress:
        if build.ended_at is not None:
            total, chunks = (build.documents, build.chunks) if build.since else (0, 0)  # of one that was given up nobody knows
            counts = (build.documents, total, build.chunks, chunks, build.embedded, build.reused)
            return Progress("done", *counts, rate=build.rate(), seconds_left=0.0)
        try:
            head = await self._catalog.head(collection.name)
        except NotFound:  # deleted meanwhile: other collections' jobs are listed all the same
            head = None
        total = head.stats.documents if head else 0
        return Progress(
            "embedding" if build.state == "filling" else "queued",
            build.documents,
            total,
            build.chunks,
            embedded=build.embedded,
            reused=build.reused,
            rate=build.rate(),
            seconds_left=build.seconds_left(total),
            shards=await self.shards(build),
        )


def _builds(collection: Collection) -> list[Build]:
    return [build for build in (*collection.past_builds, *collection.builds) if build.job_id is not None]


def _job(collection: Collection, build: Build) -> Job:
    result = _result(build) if build.ended_at is not None else None
    return Job(
        build.id,
        collection.name,
        0,
        ChangeRequest(()),
        build.principal,
        _STATES[build.state] if result is None else result.outcome,
        build.started_at,
        build.ended_at,
        result,
        build.space.id,
    )


def _result(build: Build) -> JobResult:
    """`since` is set in a build that became ready, whatever became of its space later."""
    stats = CommitStats(chunks_embedded=build.embedded, chunks_reused=build.reused)
    if build.since:
        return JobResult("unchanged", None, None, None, stats)
    message = f"The build of embedding space {build.space.id} was given up before it was ready."
    return JobResult("failed", None, None, None, stats, error_code=Gone.code, error=message, status=Gone.status)
