"""Builds: how an embedding space comes to stand beside those that a collection has, and how one goes (DESIGN.md section 4, Spaces)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ragstone.domain.bulk import ShardProgress
from ragstone.domain.spaces import EmbeddingSpace

BuildState = Literal["preparing", "filling", "ready", "dropped"]
UNFINISHED: frozenset[BuildState] = frozenset({"preparing", "filling"})


@dataclass(frozen=True, slots=True)
class Build:
    """What is known of a space that was not there from the collection's beginning, or that goes.

    `preparing`: it has no index yet, and ingests do not write it. `filling`: it is registered, so ingests write it, and the documents up to path `after` are
    in it. `ready`: all are; reads may go there. `dropped`: it is not registered any more, and its index is to be deleted.

    `since`: the attempt that made it ready; in every commit from there on the space holds what the commit holds. `documents` of the head that were gone
    through, `chunks` written for them, of which `embedded` went through the model and `reused` had a vector; `seconds` that this took so far.
    `started_at`, `dropped_at`: Unix seconds; `ended_at`: when it became ready, or was given up before that. `shards`: how many shall embed at once where there is a
    runner of bulk work, 0: as many as its settings say.
    """

    id: str
    space: EmbeddingSpace
    principal: str
    state: BuildState
    started_at: float = 0.0
    after: str = ""
    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0
    since: int = 0
    dropped_at: float | None = None
    shards: int = 0
    ended_at: float | None = None

    @property
    def job_id(self) -> str | None:
        """Under which it is told among the jobs: its own id. None for what ended before builds were told there, and for a first space that goes, which nobody built."""
        return self.id if self.state in UNFINISHED or self.ended_at is not None else None

    def rate(self) -> float:
        """Chunks a second."""
        return self.chunks / self.seconds if self.seconds > 0 else 0.0

    def seconds_left(self, total: int) -> float | None:
        """Until all of `total` documents are in the space; None when unknown, and when it is not being filled."""
        if self.state != "filling" or not self.documents or self.seconds <= 0:
            return None
        return max(0, total - self.documents) * self.seconds / self.documents


@dataclass(frozen=True, slots=True)
class SpaceUse:
    """What is read from a space. `live`: the id of the head's space. `kept`: commits that are not pruned and are read from this one. `left_at`: when the head went on to another one."""

    live: str
    kept: int
    left_at: float | None


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One space of a collection, for people.

    `state`: `live` (reads of the head use it), `old` (complete, and written by ingests, so that it may be switched to; earlier commits may be read from it), or
    as in `Build`. `build`: None for the first one. `documents_total`: of the head. `rate`: chunks a second; `seconds_left`: None when unknown.
    `model_loaded`: this process has its model. `shards`: how far those are that embed what is filled next.
    """

    space: EmbeddingSpace
    state: Literal["live", "old", "preparing", "filling", "ready", "dropped"]
    build: Build | None
    documents_total: int
    rate: float
    seconds_left: float | None
    model_loaded: bool
    shards: tuple[ShardProgress, ...] = ()
