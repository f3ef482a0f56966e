"""What the model's world consists of: catalog, version store, index, requests on their way, workers; and the ways to weaken the protocol."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from enum import StrEnum
from typing import NamedTuple

from ragstone.domain.commits import OPEN, visible

Tree = tuple[str, ...]  # the text of each document; "" where there is none. A text is its chunks, a letter each
PointId = tuple[int, str, int]  # document, chunk, attempt
Gaps = frozenset[int]
TERMINAL = frozenset({"published", "unchanged", "failed", "given up"})


class Job(NamedTuple):
    """An accepted request: texts to write ("" deletes; a mirror deletes what it does not put), a move, or the seq of a commit to restore."""

    writes: tuple[tuple[int, str], ...] = ()
    move: tuple[int, int] | None = None
    restore: int = 0

    def __str__(self) -> str:
        told = [f"put d{document}={text}" if text else f"delete d{document}" for document, text in self.writes]
        moved = f"move d{self.move[0]} to d{self.move[1]}" if self.move else f"rollback to seq {self.restore}"
        return ", ".join(told) or moved

    @property
    def named(self) -> tuple[int, ...]:
        return (*(document for document, _ in self.writes), *(self.move or ()))

    def apply(self, tree: Tree, restored: Tree | None, newer: Container[int] = ()) -> Tree | None:
        """The tree after it, documents in `newer` left alone; None when it fails: nothing to delete, or a move that is not possible."""
        if restored:
            return restored
        texts = list(tree)
        writes = [(document, text) for document, text in self.writes if document not in newer]
        if self.move and not any(document in newer for document in self.move):
            source, target = self.move
            if not tree[source] or tree[target]:
                return None
            writes = [(target, tree[source]), (source, "")]
        elif writes and not any(text or tree[document] for document, text in writes):
            return None
        for document, text in writes:
            texts[document] = text
        return tuple(texts)


class Attempt(NamedTuple):
    """`state`: active, aborted, retired (aborted, and no longer a gap), published or unchanged."""

    seq: int
    job: int
    state: str


class Commit(NamedTuple):
    """A published commit record. Trees are addressed by content, so the tree stands for the commit id too."""

    seq: int
    tree: Tree
    gaps: Gaps
    job: int


class Point(NamedTuple):
    """One chunk in the index; `place` is its position in the text."""

    id: PointId
    place: int
    seq_from: int
    seq_to: int


class Worker(NamedTuple):
    """A process at work on a job: its lease, and what it knows. `at` names its next step."""

    job: int
    at: str
    seq: int
    head: int
    gaps: Gaps
    tree: Tree = ()
    outcome: str = ""
    opens: tuple[Point, ...] = ()
    closes: tuple[PointId, ...] = ()
    planned: tuple[int, int] = (0, 0)  # numbers of opens and of closes

    def __str__(self) -> str:
        return f"attempt {self.seq} (job {self.job})"


class Request(NamedTuple):
    """What a worker sent to the index or the catalog; it may arrive late, and after its sender is gone."""

    kind: str  # insert, close, publish
    worker: Worker
    point: Point | None = None
    id: PointId | None = None

    def __str__(self) -> str:
        if self.point:
            return f"the insert of d{self.point.id[0]} {self.point.id[1]!r}"
        return f"the close of d{self.id[0]} {self.id[1]!r} (opened by {self.id[2]})" if self.id else "the publish"


class Prune(NamedTuple):
    """A prune at work. `runs`: (k1, k2) for neighbours of the kept commits, once it has marked the others. `gaps`: once it has read them."""

    runs: tuple[tuple[int, int], ...] | None = None
    gaps: Gaps | None = None


class State(NamedTuple):
    """`main`: a seq. `branches`: attempt and the seq it is based on. `pruned`: seqs of commits that nobody is given any more."""

    jobs: tuple[str, ...]  # open or a terminal state; given up: failed for a reason that is not in the request
    attempts: tuple[Attempt, ...]
    commits: tuple[Commit, ...]
    main: int
    branches: frozenset[tuple[int, int]]
    points: frozenset[Point]
    late: frozenset[Request]
    workers: tuple[Worker, ...]  # sorted: workers differ in nothing but what they do
    faults: int  # how many more may happen
    prunes: int = 0  # how many more may begin
    prune: Prune | None = None
    pruned: frozenset[int] = frozenset()
    numbers: tuple[int, ...] = ()  # by document, the newest job that decided it; only where numbers by path take the place of the order

    def commit(self, seq: int) -> Commit:
        return next(commit for commit in self.commits if commit.seq == seq)

    @property
    def gaps(self) -> Gaps:
        return frozenset(attempt.seq for attempt in self.attempts if attempt.state == "aborted")

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def attempt(self, seq: int) -> str:
        return next(attempt.state for attempt in self.attempts if attempt.seq == seq)

    def with_attempt(self, seq: int, state: str) -> State:
        return self._replace(attempts=tuple(a._replace(state=state) if a.seq == seq else a for a in self.attempts))

    def with_worker(self, old: Worker, new: Worker | None) -> State:
        workers = list(self.workers)
        workers.remove(old)
        return self._replace(workers=tuple(sorted([*workers, new] if new else workers)))

    def with_job(self, job: int, state: str) -> State:
        return self._replace(jobs=(*self.jobs[: job - 1], state, *self.jobs[job:]))


def told(tree: Tree) -> str:
    return "{" + ", ".join(f"d{document}={text}" for document, text in enumerate(tree) if text) + "}"


def snapshot(points: Iterable[Point], seq: int, gaps: Gaps) -> list[Point]:
    """What a reader of the commit sees (the product's own rule)."""
    return [point for point in points if visible(point.seq_from, point.seq_to, seq, gaps)]


def plan(old: Iterable[Point], before: Tree, after: Tree, seq: int) -> tuple[tuple[Point, ...], tuple[PointId, ...]]:
    """Points to open and ids to close, as `ragstone.use_cases.chunk_plan`: a chunk whose place moved is closed and opened again."""
    changed = [document for document in range(len(after)) if before[document] != after[document]]
    present = {point.id[:2]: point for point in sorted(old) if point.id[0] in changed}
    opens = []
    for document in changed:
        for place, chunk in enumerate(after[document]):
            known = present.get((document, chunk))
            if known and known.place == place:
                del present[document, chunk]
            else:
                opens.append(Point((document, chunk, seq), place, seq, OPEN))
    return tuple(opens), tuple(sorted(point.id for point in present.values()))


def erased(points: Iterable[Point], erase: Callable[[int], bool]) -> frozenset[Point]:
    """As `VectorIndex.erase_attempts`."""
    return frozenset(point._replace(seq_to=OPEN) if erase(point.seq_to) else point for point in points if not erase(point.seq_from))


class Weakness(StrEnum):
    """One thing that the protocol does, done otherwise."""

    SEQ_FROM_HEAD = "the attempt's number is the head's seq + 1 instead of a counter's"
    ATTEMPT_REVIVED = "a retry goes on with the job's aborted attempt instead of a new one"
    TWO_ACTIVE = "taking the lease does not abort the earlier attempt"
    PUBLISH_UNCHECKED = "publish checks the head but not the attempt"
    PUBLISH_BLIND = "publish checks neither attempt nor head"
    END_UNCHECKED = "ending a job without a commit does not check the attempt"
    HEAD_UNCHECKED = "publish checks the attempt but not the head"
    JOB_FIRST = "the job is marked published in a transaction before the head moves"
    HEAD_FIRST = "the head moves in a transaction before the job is marked published"
    ABORT_PUBLISHED = "a failing worker marks its attempt aborted though it was published"
    NO_GAPS = "a commit record has no gaps"
    PLAN_WITHOUT_GAPS = "the plan is made from a read of the head without gaps"
    CLOSE_ALWAYS = "closing is unconditional"
    CLOSE_OPEN_ONLY = "only open points are closed, not those that a gap closed"
    OVERWRITE = "an insert overwrites a point of the same id"
    IDS_WITHOUT_ATTEMPT = "point ids do not contain the attempt"
    NO_VERIFY = "publish without counting what was written"
    CLEAN_BY_HEAD = "cleanup compares with the head instead of asking for aborted attempts"
    CLEAN_WITHOUT_REOPENING = "cleanup deletes opened points but does not reopen closed ones"
    RETIRE_EARLY = "a gap is retired before its holder is surely gone"
    STAGE_FROM_MAIN = "a commit is staged from main instead of the head's commit"
    MIRROR_FIRST = "main moves before the commit is published"
    BRANCH_DROPPED_FIRST = "the attempt's branch is dropped before main moves"
    OWN_BRANCH_ONLY = "moving main on drops no branch but the new head's"
    ACK_ON_TAKE = "a message is acknowledged when it is taken"
    PRUNE_GAPS = "prune deletes points that an aborted attempt closed"
    PRUNE_GAPS_FIRST = "prune reads the gaps before it marks"
    PRUNE_UNMARKED = "prune deletes before it marks"
    PRUNE_AT_ONCE = "prune deletes while requests of published attempts may still arrive"
    PRUNE_UNPINNED = "prune does not keep what a waiting rollback restores"
    ANY_ORDER = "a job takes the lease while an older one is not ended"
    NUMBERS = "instead of the order: a write is left out when a newer job has changed its path (a mirror's removals are not)"
    ALL_NUMBERS = "instead of the order: a write is left out when a newer job named its path, or rolled back"
