"""Jobs: accepted requests for change, and how far they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ragstone.domain.bulk import ShardProgress
from ragstone.domain.commits import CommitStats, HeadConflict
from ragstone.domain.documents import Metadata

JobState = Literal["queued", "running", "published", "unchanged", "failed"]
TERMINAL: frozenset[JobState] = frozenset({"published", "unchanged", "failed"})
Phase = Literal["queued", "parsing", "staging", "embedding", "publishing", "done"]


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes for a path. `staged` is their SHA-256, by which the staging area keeps them; `size` in bytes."""

    path: str
    media_type: str
    staged: str
    size: int
    metadata: Metadata = field(default_factory=dict)
    kind: Literal["put"] = "put"


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes the document at `path`; with `prefix`, every document whose path begins with it."""

    path: str
    prefix: bool = False
    kind: Literal["delete"] = "delete"


@dataclass(frozen=True, slots=True)
class Move:
    """Gives the document at `source` the path `target`; nothing is embedded."""

    source: str
    target: str
    kind: Literal["move"] = "move"


@dataclass(frozen=True, slots=True)
class Restore:
    """Makes the collection equal to an earlier commit (rollback)."""

    commit_id: str
    kind: Literal["restore"] = "restore"


@dataclass(frozen=True, slots=True)
class Switch:
    """Makes reads of the head use another embedding space; documents stay as they are."""

    space_id: str
    kind: Literal["switch"] = "switch"


Change = Put | Delete | Move | Restore | Switch


@dataclass(frozen=True, slots=True)
class DocumentFailure:
    """A document that was left out, and why."""

    path: str
    code: str
    message: str
    status: int = 422


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """One ingestion, to become one commit.

    `mirror`: after the changes, documents not named by a Put are removed (those under `mirror_prefix` only, when given).
    `rejected`: documents that were refused before the job was accepted. `strict`: one unreadable document fails the whole.
    `expected_head`: commit id since which nothing may have changed that the request touches (If-Match), else 412; empty: there is no
    commit yet. `exact_head`: nothing at all may have changed since.
    """

    changes: tuple[Change, ...]
    mirror: bool = False
    mirror_prefix: str = ""
    strict: bool = False
    expected_head: str | None = None
    author: str = "anonymous"
    message: str = ""
    rejected: tuple[DocumentFailure, ...] = ()
    exact_head: bool = False


def touches_everything(request: ChangeRequest) -> bool:
    """Whether it may change documents that it does not name."""
    return request.mirror or any(
        isinstance(change, Restore) or (isinstance(change, Delete) and change.prefix) for change in request.changes
    )


def changed_paths(changes: Iterable[Change]) -> frozenset[str]:
    """The documents that changes name; a prefix is none."""
    found: set[str] = set()
    for change in changes:
        match change:
            case Put(path=path) | Delete(path=path, prefix=False):
                found.add(path)
            case Move(source=source, target=target):
                found |= {source, target}
    return frozenset(found)


def is_rollback(request: ChangeRequest) -> bool:
    """Whether it restores an earlier commit."""
    return any(isinstance(change, Restore) for change in request.changes)


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of a job. `commit_id`, `seq` and `position` are the published commit's, or the head's when nothing changed."""

    outcome: JobState
    commit_id: str | None
    seq: int | None
    position: int | None
    stats: CommitStats = field(default_factory=CommitStats)
    failures: tuple[DocumentFailure, ...] = ()
    error_code: str | None = None
    error: str | None = None
    status: int = 200
    conflict: HeadConflict | None = None  # of a failed If-Match


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is. `rate` in chunks per second; `seconds_left` None when unknown. `shards`: of bulk work, empty where there is none."""

    phase: Phase = "queued"
    documents: int = 0
    documents_total: int = 0
    chunks: int = 0
    chunks_total: int = 0
    embedded: int = 0
    reused: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    shards: tuple[ShardProgress, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted request. `number` rises with each accepted job of the collection, whose jobs end in this order. Times are Unix seconds.

    `space_id`: the embedding space that is built; None for everything else. Such a job is shown, but not queued: its number is 0 (ADR 0034).
    """

    id: str
    collection: str
    number: int
    request: ChangeRequest
    principal: str
    state: JobState
    created_at: float
    finished_at: float | None = None
    result: JobResult | None = None
    space_id: str | None = None


def named_paths(job: Job) -> frozenset[str]:
    """The documents that a job's request or its result names."""
    result = job.result
    told = () if result is None else [failure.path for failure in result.failures]
    conflicts = () if result is None or result.conflict is None else result.conflict.paths
    return changed_paths(job.request.changes).union((failure.path for failure in job.request.rejected), told, conflicts)
