"""Bodies of the check-up."""

from __future__ import annotations

from pydantic import Field

from ragstone.domain.findings import CheckPhase, FindingKind, Severity
from ragstone.services.orchestrator.schemas.requests import Body
from ragstone.services.orchestrator.schemas.responses import Form


class DoctorBody(Body):
    """What to look at."""

    repair: bool = Field(default=False, description="mend what can be mended; without it, nothing is changed")
    collection: str | None = Field(default=None, description="only this collection", max_length=1000, examples=["handbook"])


class Finding(Form):
    """One thing that is not as it should be."""

    kind: FindingKind
    severity: Severity
    collection: str | None
    what: str = Field(description="the document, commit, branch, job or index")
    count: int = Field(description="points, branches, attempts or bytes that it is about")
    meaning: str = Field(description="what it means for those who ask and ingest")
    repair: str = Field(description="what a repair does; or what a person must do")
    repairable: bool
    repaired: bool


class CheckReport(Form):
    """Findings, what is left before what was repaired, worst first. `healthy`: nothing is left that is worth an alarm."""

    healthy: bool
    findings: list[Finding]
    unlisted: int = Field(description="further findings, which are not listed")
    repair: bool
    collections: int
    commits: int
    documents: int = Field(description="distinct versions of documents, in all commits")
    points: int
    seconds: float


class CheckProgress(Form):
    """`total` is 0 while it is unknown."""

    collection: str | None
    phase: CheckPhase
    done: int
    total: int
