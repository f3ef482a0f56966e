"""Following a job to its end, with progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragstone.cli.api import Json, ProblemError, url
from ragstone.cli.output import Output
from ragstone.cli.progress import bar, duration

if TYPE_CHECKING:
    from ragstone.cli.client import Client

TERMINAL = frozenset({"published", "unchanged", "failed"})


async def follow(client: Client, job: Json, output: Output, title: str) -> Json:
    """The job when it is over. Raises `ProblemError` when it failed."""
    with bar(output, title) as shown:
        if job["state"] not in TERMINAL:
            async for event in client.events("GET", url("jobs", job["id"], "events")):
                job = event.data["job"]
                progress = job["progress"]
                shown.show(_done(progress), _total(progress), describe(progress))
        if job["state"] not in TERMINAL:  # the stream ended early: ask
            job = (await client.get(url("jobs", job["id"])))["job"]
    if job["state"] == "failed":
        raise ProblemError(problem_of(job))
    return job


def problem_of(job: Json) -> Json:
    """A failed job as a problem document."""
    result = job.get("result") or {}
    code = result.get("error_code") or "internal-error"
    return {
        "type": f"urn:ragstone:problem:{code}",
        "title": "The job failed",
        "status": result.get("status") or 500,
        "detail": result.get("error") or f"Job {job['id']} failed.",
        "failures": result.get("failures") or [],
        "job_id": job["id"],
        **(result.get("conflict") or {}),
    }


def describe(progress: Json) -> str:
    """Phase, counts, rate and time left on one line, what matters most first: a narrow terminal shows its beginning."""
    phase = progress.get("phase", "queued")
    parts = [phase]
    if total := progress.get("chunks_total"):
        parts.append(f"{progress.get('chunks', 0):,}/{total:,} chunks")
    if shards := progress.get("shards"):
        parts.append(f"{len(shards)} shards {sum(shard['done'] for shard in shards):,}/{sum(shard['total'] for shard in shards):,}")
    if phase == "embedding" and (rate := progress.get("rate")):
        parts.append(f"{rate:,.0f}/s")
    if left := progress.get("seconds_left"):
        parts.append(f"{duration(left)} left")
    if total := progress.get("documents_total"):
        parts.append(f"{progress.get('documents', 0):,}/{total:,} documents")
    if progress.get("chunks_total"):
        parts.append(f"{progress.get('embedded', 0):,} embedded, {progress.get('reused', 0):,} reused")
    return ", ".join(parts)


def _done(progress: Json) -> float:
    return float(progress.get("chunks") or 0 if progress.get("chunks_total") else progress.get("documents") or 0)


def _total(progress: Json) -> float | None:
    return progress.get("chunks_total") or progress.get("documents_total") or None
