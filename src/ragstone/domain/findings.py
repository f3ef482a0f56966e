"""What a check-up of the stores found (`ragstone doctor`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
CheckPhase = Literal["catalog", "versions", "documents", "points", "repair"]
FindingKind = Literal[
    "missing-points",
    "orphan-points",
    "stale-points",
    "ghost-points",
    "malformed-points",
    "overlapping-points",
    "remains",
    "lost-index",
    "broken-index",
    "other-model",
    "lost-main",
    "main-behind",
    "foreign-main",
    "unreadable-commit",
    "lost-versions",
    "orphan-branch",
    "stuck-job",
    "lost-bytes",
    "leftover-bytes",
    "purge-unfinished",
    "orphan-collection",
    "damaged-catalog",
    "damaged-collection",
    "little-space",
    "unusable-directory",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    `what` names the place: a document, branch, job, commit, file. `count`: how many points, branches or bytes it is about. `meaning` says what it
    means for people who ask and ingest, `repair` what a repair does, or what a person must do when `repairable` is False.
    """

    kind: FindingKind
    severity: Severity
    collection: str | None
    what: str
    count: int
    meaning: str
    repair: str
    repairable: bool
    repaired: bool = False

    @property
    def key(self) -> tuple[str, str | None, str]:
        """What tells it apart from other findings, and is the same when it is found again."""
        return self.kind, self.collection, self.what


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far a check-up is. `total` is 0 while it is unknown."""

    collection: str | None
    phase: CheckPhase
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The findings, worst first, and what was looked at. `unlisted`: findings beyond those that are listed. `seconds` of the whole."""

    findings: tuple[Finding, ...]
    unlisted: int
    repair: bool
    collections: int
    commits: int
    documents: int
    points: int
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether nothing is left that is worth an alarm."""
        return all(finding.repaired or finding.severity == "info" for finding in self.findings)
