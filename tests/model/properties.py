"""What must hold in every state of the write path, whatever went wrong on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.model.states import TERMINAL, Commit, Job, Point, State, Tree, snapshot, told


@dataclass(frozen=True, slots=True)
class Scenario:
    """`seeds`: commits already there, seq 1 and on."""

    jobs: tuple[Job, ...]
    seeds: tuple[Tree, ...]
    faults: int
    workers: int = 2
    prunes: int = 0


class Properties:
    """Checks of one scenario. What depends on few parts of a state is computed once for them."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._misread: dict[tuple[frozenset[Point], tuple[Commit, ...]], str | None] = {}
        self._lost: dict[tuple[tuple[str, ...], Tree], str | None] = {}

    def broken(self, s: State, at_rest: bool) -> str | None:
        """The first property that the state breaks."""
        return self._bookkeeping(s) or self._reads(s) or self._order(s) or (self._rest(s) if at_rest else None)

    def _bookkeeping(self, s: State) -> str | None:
        """Attempts, commits and version store."""
        seqs = [commit.seq for commit in s.commits]
        writers = [commit.job for commit in s.commits if commit.job]
        if sum(attempt.state == "active" for attempt in s.attempts) > 1:
            return "two attempts are active"
        if seqs != sorted(set(seqs)):
            return "the head's seq does not rise"
        if len(set(writers)) < len(writers):
            return "a job has two commits"
        if len(s.attempts) > len(s.jobs) + self._scenario.faults - s.faults:
            return "an attempt came to nothing though nothing had gone wrong"
        if s.main not in seqs:
            return "main is not a published commit"
        if not all(s.main >= seq or any(attempt == seq or base >= seq for attempt, base in s.branches) for seq in seqs):
            return "the version store can reach a published commit no more"
        return None

    def _reads(self, s: State) -> str | None:
        """Each published commit that is not pruned, read with its own gaps, shows its own tree: no more, no less, nothing twice."""
        readable = tuple(commit for commit in s.commits if commit.seq not in s.pruned) if s.pruned else s.commits
        known = (s.points, readable)
        if known not in self._misread:
            self._misread[known] = next(filter(None, (_difference(s.points, commit) for commit in readable)), None)
        return self._misread[known]

    def _order(self, s: State) -> str | None:
        """The head is what the ended jobs make one after another, in the order of their numbers."""
        known = (s.jobs, s.head.tree)
        if known not in self._lost:
            self._lost[known] = self._disorder(*known)
        return self._lost[known]

    def _disorder(self, states: tuple[str, ...], head: Tree) -> str | None:
        tree = self._scenario.seeds[-1]
        for number, (job, state) in enumerate(zip(self._scenario.jobs, states, strict=True), 1):
            if state in TERMINAL and state != "given up":
                after = job.apply(tree, self._scenario.seeds[job.restore - 1] if job.restore else None)
                if (after is None) != (state == "failed"):
                    return f"job {number} is {state}, which in the order of their numbers it can't be"
                tree = after or tree
        return None if tree == head else f"the head is {told(head)}; in the order of their numbers the ended jobs make {told(tree)}"

    def _rest(self, s: State) -> str | None:
        """Nothing can happen any more: every job is ended, and no trace of an aborted attempt is left."""
        if not TERMINAL.issuperset(s.jobs):
            return "a job never ends"
        aborted = {attempt.seq for attempt in s.attempts if attempt.state in ("aborted", "retired")}
        if any({point.seq_from, point.seq_to} & aborted for point in s.points):
            return "points of an aborted attempt remain"
        if s.branches or s.main != s.head.seq:
            return "a branch remains, or main is behind"
        return None


def _difference(points: Iterable[Point], commit: Commit) -> str | None:
    shown = sorted((point.id[0], point.place, point.id[1]) for point in snapshot(points, commit.seq, commit.gaps))
    wanted = [(document, place, chunk) for document, text in enumerate(commit.tree) for place, chunk in enumerate(text)]
    if shown == wanted:
        return None
    told_points = ", ".join(f"d{document}[{place}]={chunk}" for document, place, chunk in shown) or "nothing"
    return f"a read of commit {commit.seq} {told(commit.tree)} shows {told_points}"
