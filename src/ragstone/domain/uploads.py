"""What a client sends to be ingested, before it is accepted."""

from __future__ import annotations

from dataclasses import dataclass, field

from ragstone.domain.documents import Metadata
from ragstone.domain.jobs import Delete, DocumentFailure, Move, Progress


@dataclass(frozen=True, slots=True)
class Upload:
    """One document's bytes. `media_type` None: told from the path and the bytes. JSON Lines become one document a line.

    `groups`: who may see it from now on, everyone if empty; None leaves that as it is.
    """

    path: str
    content: bytes
    media_type: str | None = None
    metadata: Metadata = field(default_factory=dict)
    groups: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One ingestion. See `ChangeRequest` for the flags."""

    uploads: tuple[Upload, ...] = ()
    deletes: tuple[Delete, ...] = ()
    moves: tuple[Move, ...] = ()
    mirror: bool = False
    mirror_prefix: str = ""
    strict: bool = False
    expected_head: str | None = None
    exact_head: bool = False
    author: str = "anonymous"
    message: str = ""


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What an ingestion would do at the head `commit_id` (None: empty collection). Paths are sorted; counts are chunks.

    `chunks_to_embed` None: not told, for it depends on documents that are kept from whoever asks.
    """

    commit_id: str | None
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    chunks_added: int
    chunks_removed: int
    chunks_kept: int
    chunks_to_embed: int | None
    failures: tuple[DocumentFailure, ...]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job's progress as told to watchers; `finished` with the last one."""

    job_id: str
    progress: Progress
    finished: bool
