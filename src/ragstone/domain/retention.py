"""Retention and erasure: what is kept of a collection's history, and what was taken out of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ragstone.domain.commits import Commit

PURGING = "A document is being purged, which a rollback might bring back; roll back again when that is done."


@dataclass(frozen=True, slots=True)
class Keep:
    """Which commits stay besides the head, the tagged ones and the targets of rollbacks that wait: all that either rule keeps.

    `last`: so many newest ones. `since` (Unix seconds): those published then or later, and the one that was the head at that time.
    """

    last: int | None = None
    since: float | None = None

    def of(self, readable: Sequence[Commit], seqs: Collection[int], ids: Collection[str]) -> tuple[Commit, ...]:
        """The kept ones of `readable` (oldest first, the head last), with those of `seqs` and `ids`."""
        kept = {commit.seq for commit in readable[-1:]}
        if self.last:
            kept |= {commit.seq for commit in readable[-self.last :]}
        if self.since is not None:
            before = [commit.seq for commit in readable if commit.created_at < self.since]
            kept |= {*before[-1:], *(commit.seq for commit in readable if commit.created_at >= self.since)}
        return tuple(commit for commit in readable if commit.seq in kept or commit.seq in seqs or commit.id in ids)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune comes to, oldest first. `pruned`: commits that this prune marked (or would mark), not those marked before."""

    kept: tuple[Commit, ...]
    pruned: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class PruneReport:
    """`points` and `bytes` of documents and texts that were freed, or would be. Points free their bytes with the next compaction of the index."""

    pruning: Pruning
    points: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Purge:
    """The audit record of one erasure: a document at `path` was taken out of every commit up to `seq`. Times are Unix seconds.

    `commits`, `points`, `interactions`: in how many of each it was found. `same_content`: other paths of the head with the very same bytes,
    which stay.
    """

    id: str
    collection: str
    path: str
    seq: int
    principal: str
    reason: str
    state: Literal["begun", "done"]
    begun_at: float
    done_at: float | None = None
    commits: int = 0
    points: int = 0
    interactions: int = 0
    same_content: tuple[str, ...] = ()
