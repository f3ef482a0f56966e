"""Runs: what is measured of a piece of work and kept for comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import InvalidInput

_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ -]{0,249}", re.ASCII)  # what trackers take: "recall_at_5", never "recall@5"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an experiment. `key` says what it records, once in its experiment; `name` is what people see. Times are Unix seconds.

    Raises `InvalidInput` for a metric's name that trackers refuse.
    """

    experiment: str
    key: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    began_at: float = 0.0
    ended_at: float = 0.0

    def __post_init__(self) -> None:
        for name in self.metrics:
            if not _METRIC.fullmatch(name):
                raise InvalidInput(f"metrics: {name[:80]!r} is not a metric's name; use letters, digits and _ . / - only.", field="metrics")


def run_of_commit(collection: Collection, commit: Commit, accepted_at: float) -> Run:
    """The run of a published commit. `accepted_at`: when its job was accepted; from then to the publish is its duration."""
    space = next((space for space in collection.spaces if space.id == commit.space_id), None)  # it may have been dropped since
    stats = commit.stats
    return Run(
        experiment=f"ragstone/{collection.name}",
        key=f"{collection.uid}-{commit.seq}",
        name=f"#{commit.position} {commit.id[:10]}",
        parameters={
            **(
                {
                    "embedding_model": space.model.name,
                    "embedding_revision": space.model.revision,
                    "embedding_digest": space.model.digest,
                }
                if space is not None
                else {}
            ),
            "embedding_space": commit.space_id,
            "language": collection.language,
        },
        metrics={
            "documents": stats.documents,
            "documents_added": stats.documents_added,
            "documents_changed": stats.documents_changed,
            "documents_removed": stats.documents_removed,
            "chunks": stats.chunks,
            "chunks_added": stats.chunks_added,
            "chunks_removed": stats.chunks_removed,
            "chunks_kept": stats.chunks_kept,
            "chunks_embedded": stats.chunks_embedded,
            "chunks_reused": stats.chunks_reused,
            "seconds": max(0.0, commit.created_at - accepted_at),
        },
        tags={
            "ragstone.collection": collection.name,
            "ragstone.commit": commit.id,
            "ragstone.seq": str(commit.seq),
            "ragstone.position": str(commit.position),
            "ragstone.job": commit.job_id,
            "ragstone.author": commit.author[:1000],
        },
        began_at=accepted_at,
        ended_at=commit.created_at,
    )
