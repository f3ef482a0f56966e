"""What the world of the spaces' model consists of, and the ways to weaken the protocol of spaces (ADR 0028).

The old space is 0 and the new one 1. Branches and `main` are left out: they are the other model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tests.model.states import Attempt, Gaps, Job, Point, PointId, Tree

OLD, NEW = 0, 1
Index = frozenset[Point] | None  # None: there is no such index


class Switch(NamedTuple):
    """An accepted request that reads go to another space."""

    to: int

    def __str__(self) -> str:
        return f"switch to space {self.to}"


class Commit(NamedTuple):
    """A published commit record."""

    seq: int
    tree: Tree
    gaps: Gaps
    job: int
    space: int


class Write(NamedTuple):
    """One request to the index of a space: the insert of a point, or the close of an id."""

    space: int
    point: Point | None = None
    id: PointId | None = None

    def __str__(self) -> str:
        what = f"insert of d{self.point.id[0]} {self.point.id[1]!r}" if self.point else f"close of d{self.id[0]} {self.id[1]!r}"  # type: ignore[index]
        return f"the {what} in space {self.space}"


class Worker(NamedTuple):
    """A process at work on a job, or (`job` 0) on filling the new space. `before`: what a filler read of the document before it had the lease."""

    job: int
    at: str
    seq: int = 0
    head: int = 0
    gaps: Gaps = frozenset()
    version: int = 0
    spaces: frozenset[int] = frozenset()
    tree: Tree = ()
    document: int = 0
    before: str = ""
    writes: tuple[Write, ...] = ()
    planned: tuple[tuple[int, int, int], ...] = ()  # space, opens, closes

    def __str__(self) -> str:
        what = f"job {self.job}" if self.job else f"filling d{self.document}"
        return f"attempt {self.seq} ({what})" if self.seq else f"a filler of d{self.document}"


class Request(NamedTuple):
    """A write that may arrive late, and after its sender is gone."""

    worker: Worker
    write: Write


class State(NamedTuple):
    """`build` is the new space's: "" none, preparing, filling or ready. `cursor`: so many documents are in it. `since`: the attempt that made it ready.

    `dropped`: spaces that are not registered any more, and whose index is still to be deleted. `pruned`: seqs nobody is given any more. `lost`: seqs of kept
    commits whose space was dropped all the same: nobody may be given them any more.
    """

    jobs: tuple[str, ...]
    attempts: tuple[Attempt, ...]  # job 0: it filled
    commits: tuple[Commit, ...]
    indexes: tuple[Index, Index]
    registered: frozenset[int]
    version: int
    faults: int
    starts: int
    drops: int
    prunes: int
    build: str = ""
    cursor: int = 0
    since: int = 0
    dropped: frozenset[int] = frozenset()
    pruned: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    workers: tuple[Worker, ...] = ()
    late: frozenset[Request] = frozenset()

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    @property
    def gaps(self) -> Gaps:
        return frozenset(attempt.seq for attempt in self.attempts if attempt.state == "aborted")

    def complete(self, space: int) -> bool:
        """Whether reads may go to the space."""
        return space in self.registered and (space == OLD or self.build == "ready")

    def holds(self, commit: Commit) -> bool:
        """Whether the commit is read from its space: one that was built holds what came since."""
        return commit.space in self.registered and (commit.space == OLD or 0 < self.since <= commit.seq)

    def attempt(self, seq: int) -> str:
        return next((attempt.state for attempt in self.attempts if attempt.seq == seq), "published")

    def with_attempt(self, seq: int, state: str) -> State:
        return self._replace(attempts=tuple(a._replace(state=state) if a.seq == seq else a for a in self.attempts))

    def with_worker(self, old: Worker, new: Worker | None) -> State:
        workers = list(self.workers)
        workers.remove(old)
        return self._replace(workers=tuple(sorted([*workers, new] if new else workers, key=repr)))

    def with_job(self, job: int, state: str) -> State:
        return self._replace(jobs=(*self.jobs[: job - 1], state, *self.jobs[job:]))

    def with_index(self, space: int, index: Index) -> State:
        return self._replace(indexes=(index, self.indexes[NEW]) if space == OLD else (self.indexes[OLD], index))


@dataclass(frozen=True, slots=True)
class Scenario:
    """`seed`: the head at first, seq 1. `starts`, `drops`, `prunes`: how many may happen (an abort is the drop of a space without commits).

    `force`: a space may be dropped though kept commits are read from it.
    """

    jobs: tuple[Job | Switch, ...]
    seed: Tree
    faults: int
    starts: int = 1
    drops: int = 0
    prunes: int = 0
    workers: int = 2
    force: bool = False


class Weakness(StrEnum):
    """One thing that the protocol of spaces does, done otherwise."""

    ONE_WRITE = "until the switch, ingests write the old space alone"
    PLAN_AT_HEAD = "a writer reads a space at the head's seq instead of at its own attempt"
    STALE_FILL = "a filler writes what it read before it had the lease"
    CURSOR_FIRST = "the filled documents are recorded before their points are written"
    FILL_UNCHECKED = "what was filled is recorded without checking the attempt"
    FILL_UNCOUNTED = "what was filled is recorded without counting the points"
    FILL_BLIND = "a filler does not look whether another has filled its documents meanwhile"
    VERSION_UNCHECKED = "publish does not check the version of the spaces"
    FILL_VERSION_UNCHECKED = "what was filled is recorded without checking the version of the spaces"
    SWITCH_EARLY = "the switch does not ask whether the space is ready"
    ONE_SPACE_AFTER = "after the switch, ingests write the new space alone, while the old one is registered"
    DROP_NEEDED = "a space is dropped that a kept commit needs"
    READ_REBUILT = "a commit is read from its space whenever that is registered, also if it was dropped and built again"
    DELETE_AT_ONCE = "an index is deleted while requests of attempts that came to their end may still arrive"
    BUILD_AT_ONCE = "a space is built again before its old index is deleted"
    CLEAN_ONE = "cleanup erases in the head's space alone"
    CLEAN_REGISTERED = "cleanup erases in registered spaces only, not in an index that is being prepared"
    FILL_AS_GAP = "a filler's attempt is marked aborted when it has ended, for it published nothing"
