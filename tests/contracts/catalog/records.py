"""Records of a catalog, for its tests."""

from __future__ import annotations

from dataclasses import replace

from ragstone.domain.builds import Build
from ragstone.domain.collections import Lease
from ragstone.domain.commits import Commit, CommitStats
from ragstone.domain.jobs import ChangeRequest, DocumentFailure, Job, JobResult, Put
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity
from ragstone.ports.catalog import Catalog

SPACE = EmbeddingSpace(ModelIdentity("model", "r1", "d" * 64, 3, "mean", 256), ("text/1",), ChunkerSettings(), Bm25Settings())
THIRD_SPACE = replace(SPACE, model=replace(SPACE.model, revision="r3"))
OTHER_SPACE = replace(SPACE, model=replace(SPACE.model, revision="r2"))
BUILD = Build("build-1", OTHER_SPACE, "ada", "preparing")
UNCHANGED = JobResult("unchanged", None, None, None)
FAILED = JobResult(
    "failed", None, None, None, failures=(DocumentFailure("a", "too-large", "no", 413),), error_code="x", error="y", status=422
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(number: int, collection: str = "docs", principal: str = "ada") -> Job:
    return Job(f"job-{number:04}", collection, 0, ChangeRequest((Put(f"p{number}", "text/plain", "0" * 64, 3),)), principal, "queued", 0.0)


async def lease_for(catalog: Catalog, number: int, holder: str = "h", ttl: float = 30.0) -> Lease:
    await catalog.accept(job(number))
    return await catalog.acquire(f"job-{number:04}", holder, ttl)


def record(lease: Lease, commit_id: str | None = None) -> tuple[Commit, JobResult]:
    commit_id = commit_id or f"{lease.attempt:040x}"
    space = lease.collection.space_id
    stats = CommitStats(documents_added=1, chunks_embedded=2)
    commit = Commit("docs", lease.attempt, 0, commit_id, lease.head_id, space, frozenset(), lease.job_id, "Ada", "why", 0.0, stats)
    return commit, JobResult("published", commit_id, lease.attempt, None, stats)


async def publish(catalog: Catalog, lease: Lease, commit_id: str | None = None) -> Commit:
    return await catalog.publish(lease, *record(lease, commit_id))


async def published(catalog: Catalog, number: int, commit_id: str | None = None) -> Commit:
    return await publish(catalog, await lease_for(catalog, number), commit_id)


async def filling(catalog: Catalog) -> Build:
    """A collection with a commit, whose second space is being filled."""
    await published(catalog, 1)
    await catalog.begin_build("docs", BUILD)
    build = (await catalog.add_space("docs", OTHER_SPACE)).unfinished
    assert build is not None
    return build


async def ready(catalog: Catalog) -> int:
    """The same, filled: the attempt that did it."""
    build = await filling(catalog)
    lease = await catalog.acquire_fill("docs", "h", 30.0)
    await catalog.finish_fill(lease, replace(build, state="ready"))
    return lease.attempt
