"""Commits, snapshots, and the interval logic that decides which points a snapshot sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPEN = 2**62  # seq_to of a point that no published or running attempt has closed


def visible(seq_from: int, seq_to: int, seq: int, gaps: frozenset[int]) -> bool:
    """Whether a point with validity `[seq_from, seq_to)` is seen by the snapshot (`seq`, `gaps`). DESIGN.md section 5, step 2."""
    return seq_from <= seq and seq_from not in gaps and (seq_to > seq or seq_to in gaps)


@dataclass(frozen=True, slots=True)
class CommitStats:
    """What a commit did. `chunks_embedded` went through the model; `chunks_reused` were written with a vector known before."""

    documents_added: int = 0
    documents_changed: int = 0
    documents_removed: int = 0
    chunks_added: int = 0
    chunks_removed: int = 0
    chunks_kept: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    documents: int = 0  # in the collection after the commit
    chunks: int = 0  # visible after the commit


@dataclass(frozen=True, slots=True)
class Commit:
    """A published state of a collection. `gaps`: aborted attempts below `seq` whose remains may still lie in the index.

    `created_at`, `pruned_at`: Unix seconds. A pruned commit is remembered, but no longer readable.
    """

    collection: str
    seq: int
    position: int
    id: str
    parent_id: str | None
    space_id: str
    gaps: frozenset[int]
    job_id: str
    author: str
    message: str
    created_at: float
    stats: CommitStats
    pruned_at: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read is answered from. `was_head`: it was the head when it was resolved."""

    collection: str
    seq: int
    position: int
    commit_id: str
    space_id: str
    gaps: frozenset[int]
    was_head: bool

    @classmethod
    def of(cls, commit: Commit, *, was_head: bool) -> Snapshot:
        """The snapshot of a published commit."""
        return cls(commit.collection, commit.seq, commit.position, commit.id, commit.space_id, commit.gaps, was_head)


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One line of a diff between two commits."""

    path: str
    kind: Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class HeadConflict:
    """Why an If-Match failed: where the head is (None: no commit yet), and which documents the request touches that changed since.

    `paths` are the first of `count`; none when the request touches everything, or when the commit named is not known.
    """

    head_id: str | None
    position: int | None
    seq: int | None
    paths: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Tag:
    """A fixed name for a commit. `created_at`: Unix seconds."""

    collection: str
    name: str
    commit_id: str
    seq: int
    created_at: float
