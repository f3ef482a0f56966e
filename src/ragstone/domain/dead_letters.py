"""Jobs that were given up for reasons that were not their sender's, kept with their bytes until someone looks at them."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.jobs import JobResult

_OURS = (500, 503)  # not 507: a full disk is not helped by keeping the bytes, and the client knows that it has to send them again


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a job was given up: the error's stable `code` and sentence, after `tries`, by which `worker`. `created_at`: Unix seconds."""

    job_id: str
    collection: str
    code: str
    error: str
    tries: int
    worker: str
    created_at: float


def leaves_letter(result: JobResult) -> bool:
    """Whether a job that ended so was given up by us, rather than refused for what it asks."""
    return result.outcome == "failed" and result.status in _OURS
