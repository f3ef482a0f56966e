"""Brings metrics of jobs and commits up to date from the catalog, when they are read."""

from __future__ import annotations

import time

from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.telemetry.metrics import Metrics
from ragstone.use_cases.platform import Platform

_PAGE = 200


class Follower:
    """Counts each job accepted since it was made exactly once, when it is found finished."""

    def __init__(self, platform: Platform, metrics: Metrics) -> None:
        self._platform = platform
        self._metrics = metrics
        self._since = time.time()
        self._newest = ""
        self._open: set[str] = set()

    async def refresh(self) -> None:
        """Reads the jobs and heads that are new since the last time."""
        for job_id in sorted(self._open):
            try:
                self._note(await self._platform.ingest.job(job_id))
            except NotFound:  # its collection was deleted
                self._open.discard(job_id)
        for job in await self._new_jobs():
            self._note(job)
        await self._heads()

    async def _new_jobs(self) -> list[Job]:
        found: list[Job] = []
        before: str | None = None
        while True:
            page = await self._platform.ingest.jobs(before=before, limit=_PAGE)
            fresh = [job for job in page if job.id > self._newest and job.created_at >= self._since]
            found += fresh
            if len(fresh) < len(page) or len(page) < _PAGE:
                break
            before = page[-1].id
        self._newest = max([self._newest, *(job.id for job in found)])
        return found

    def _note(self, job: Job) -> None:
        if job.state not in TERMINAL:
            self._open.add(job.id)
            return
        self._open.discard(job.id)
        self._metrics.jobs.labels(job.state).inc()
        if job.result is not None and job.state == "published":
            self._metrics.chunks_embedded.inc(job.result.stats.chunks_embedded)
            self._metrics.chunks_reused.inc(job.result.stats.chunks_reused)

    async def _heads(self) -> None:
        catalog, metrics = self._platform.adapters.catalog, self._metrics
        for gauge in (metrics.documents, metrics.chunks, metrics.head_position, metrics.jobs_pending):
            gauge.clear()
        for collection in await catalog.collections():
            try:
                head, pending = await catalog.head(collection.name), await catalog.pending(collection.name)
            except NotFound:  # deleted meanwhile
                continue
            metrics.jobs_pending.labels(collection.name).set(pending)
            metrics.documents.labels(collection.name).set(head.stats.documents if head else 0)
            metrics.chunks.labels(collection.name).set(head.stats.chunks if head else 0)
            metrics.head_position.labels(collection.name).set(head.position if head else 0)
