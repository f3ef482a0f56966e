"""Spaces as a model (DESIGN.md section 4, Spaces; ADR 0028): builds, ingests into every space, switches and drops, and what must always hold.

Time and faults are treated as in `write_path`: anyone may take a lease over, at the cost of a fault, and any step may come late.
"""

from __future__ import annotations

from collections.abc import Iterator

from ragstone.domain.commits import OPEN
from tests.model.spaces_states import NEW, OLD, Commit, Index, Request, Scenario, State, Switch, Weakness, Worker, Write
from tests.model.states import TERMINAL, Attempt, Point, Tree, erased, plan, snapshot, told

W = Weakness
Step = tuple[tuple[object, ...], State]
_ENDED = {"published", "unchanged", "filled"}


class SpacesModel:
    """Implements `checker.Model`."""

    def __init__(self, scenario: Scenario, *weakened: W) -> None:
        self.scenario, self.jobs, self.weak = scenario, scenario.jobs, frozenset(weakened)

    def initial(self) -> State:
        seed, empty = self.scenario.seed, ("",) * len(self.scenario.seed)
        opens, _ = plan((), empty, seed, 1)
        return State(
            ("open",) * len(self.jobs), (), (Commit(1, seed, frozenset(), 0, OLD),), (frozenset(opens), None), frozenset({OLD}), 1,
            self.scenario.faults, self.scenario.starts, self.scenario.drops, self.scenario.prunes,
        )  # fmt: skip

    def successors(self, s: State) -> Iterator[Step]:
        if len(s.workers) < self.scenario.workers:
            job = next((number for number, state in enumerate(s.jobs, 1) if state not in TERMINAL), 0)
            if job:
                yield from self._lease(s, None, job)
            if s.build == "filling":
                # What it reads needs no lease: it is embedded, which takes long.
                reader = Worker(0, "lease", document=s.cursor, before=s.head.tree[s.cursor])
                yield (f"a filler reads d{s.cursor}",), s._replace(workers=tuple(sorted((*s.workers, reader), key=repr)))
        for worker in dict.fromkeys(s.workers):
            yield from getattr(self, f"_{worker.at}")(s, worker)
            if s.faults:
                yield (worker, "is killed"), s.with_worker(worker, None)._replace(faults=s.faults - 1)
        for request in s.late:
            yield (request.write, "of", request.worker, "arrives late"), self._arrive(s, request)._replace(late=s.late - {request})
        yield from self._spaces(s)
        yield from self._clean(s)

    # ---- writers: of jobs, and of what is missing in the new space

    def _lease(self, s: State, filler: Worker | None, job: int = 0) -> Iterator[Step]:
        if filler and s.build != "filling":
            yield (filler, "finds nothing to fill"), s.with_worker(filler, None)
            return
        active = [attempt.seq for attempt in s.attempts if attempt.state == "active"]
        taken_over = any(worker.seq in active for worker in s.workers)
        if taken_over > s.faults:
            return
        after = s.with_worker(filler, None) if filler else s
        for seq in active:
            after = after.with_attempt(seq, "aborted")
        seq = max([s.head.seq, *(attempt.seq for attempt in s.attempts)]) + 1
        held = Worker(job, "plan", seq, s.head.seq, after.gaps, s.version, s.registered)
        if filler:
            held = held._replace(document=filler.document, before=filler.before)
        after = after._replace(
            attempts=(*after.attempts, Attempt(seq, job, "active")),
            workers=tuple(sorted((*after.workers, held), key=repr)),
            faults=s.faults - taken_over,
        )
        yield (held, "is begun", "with the lease of a living worker" if taken_over else ""), after

    def _plan(self, s: State, w: Worker) -> Iterator[Step]:
        head = s.head
        if not w.job:
            yield from self._plan_fill(s, w)
            return
        job = self.jobs[w.job - 1]
        if isinstance(job, Switch):
            if head.space == job.to:
                yield from self._end(s, w, "unchanged")
            elif not s.complete(job.to) and W.SWITCH_EARLY not in self.weak:
                yield from self._end(s, w, "failed")
            else:
                yield (w, "checks the space"), s.with_worker(w, w._replace(at="publish", tree=head.tree))
            return
        tree = job.apply(head.tree, None)
        if tree is None or tree == head.tree:
            yield from self._end(s, w, "failed" if tree is None else "unchanged")
            return
        spaces = w.spaces
        if W.ONE_WRITE in self.weak or (W.ONE_SPACE_AFTER in self.weak and head.space == NEW):
            spaces = frozenset({head.space})
        yield (w, "plans", told(tree)), s.with_worker(w, self._planned(s, w, head.tree, tree, spaces)._replace(tree=tree))

    def _plan_fill(self, s: State, w: Worker) -> Iterator[Step]:
        if s.cursor != w.document and W.FILL_BLIND not in self.weak:
            yield (w, "finds that another was faster"), s.with_worker(w, None).with_attempt(w.seq, "aborted")
            return
        text = w.before if W.STALE_FILL in self.weak else s.head.tree[w.document]
        tree = (*s.head.tree[: w.document], text, *s.head.tree[w.document + 1 :])
        other = (*tree[: w.document], "\0", *tree[w.document + 1 :])  # so that this document alone counts as changed
        after = s.with_worker(w, self._planned(s, w, other, tree, frozenset({NEW})))
        yield (w, "plans"), self._recorded(after, w) if W.CURSOR_FIRST in self.weak else after

    def _planned(self, s: State, w: Worker, before: Tree, tree: Tree, spaces: frozenset[int]) -> Worker:
        writes: list[Write] = []
        planned = []
        for space in sorted(spaces):
            seen = snapshot(s.indexes[space] or (), w.head if W.PLAN_AT_HEAD in self.weak else w.seq - 1, w.gaps)
            opens, closes = plan(seen, before, tree, w.seq)
            writes += [Write(space, point=point) for point in opens] + [Write(space, id=closed) for closed in closes]
            planned.append((space, len(opens), len(closes)))
        return w._replace(at="write", writes=tuple(writes), planned=tuple(planned))

    def _write(self, s: State, w: Worker) -> Iterator[Step]:
        if not w.writes:
            counted = tuple((space, *self._counts(s.indexes[space], w.seq)) for space, _, _ in w.planned)
            if counted == w.planned or (not w.job and W.FILL_UNCOUNTED in self.weak):
                yield (w, "counts what it wrote"), s.with_worker(w, w._replace(at="publish" if w.job else "record"))
            else:
                yield (w, "counts, and gives up"), self._aborted(s, w).with_worker(w, None)
            return
        request, after = Request(w, w.writes[0]), w._replace(writes=w.writes[1:])
        if s.indexes[request.write.space] is None:
            yield (w, "finds no index, and gives up"), self._aborted(s, w).with_worker(w, None)
            return
        done = self._arrive(s, request).with_worker(w, after)
        yield (w, "asks for", request.write), done
        if s.faults:
            cost = s.faults - 1
            yield (w, "asks for", request.write, "which is not done"), s.with_worker(w, after)._replace(faults=cost)
            yield (w, "asks for", request.write, "and a duplicate is on its way"), done._replace(late=s.late | {request}, faults=cost)
            yield (
                (w, "is killed with", request.write, "on its way"),
                s.with_worker(w, None)._replace(late=s.late | {request}, faults=cost),
            )

    def _publish(self, s: State, w: Worker) -> Iterator[Step]:
        after = s.with_worker(w, None)
        job = self.jobs[w.job - 1]
        space = job.to if isinstance(job, Switch) else s.head.space
        stale = s.version != w.version and W.VERSION_UNCHECKED not in self.weak
        early = not s.complete(space) and W.SWITCH_EARLY not in self.weak and W.VERSION_UNCHECKED not in self.weak
        if s.attempt(w.seq) != "active" or s.head.seq != w.head or stale or early:
            yield (w, "is refused to publish"), self._aborted(after, w)
            return
        gaps = frozenset(gap for gap in s.gaps if gap < w.seq)
        commits = (*s.commits, Commit(w.seq, w.tree, gaps, w.job, space))
        yield (w, "publishes"), after.with_attempt(w.seq, "published").with_job(w.job, "published")._replace(commits=commits)

    def _end(self, s: State, w: Worker, outcome: str) -> Iterator[Step]:
        after = s.with_worker(w, None)
        if s.attempt(w.seq) != "active":
            yield (w, "is refused to end its job"), after
        else:
            state = "aborted" if outcome == "failed" else "unchanged"
            yield (w, "ends its job:", outcome), after.with_job(w.job, outcome).with_attempt(w.seq, state)

    def _record(self, s: State, w: Worker) -> Iterator[Step]:
        """The transaction that notes what was filled."""
        after = s.with_worker(w, None)
        active = s.attempt(w.seq) == "active" or W.FILL_UNCHECKED in self.weak
        same = (s.version == w.version or W.FILL_VERSION_UNCHECKED in self.weak) and s.build == "filling"
        if active and same:
            yield (w, "records it"), self._recorded(after, w)
        else:
            yield (w, "is refused to record it"), self._aborted(after, w)

    def _recorded(self, s: State, w: Worker) -> State:
        done = w.document + 1 == len(s.head.tree)
        state = "aborted" if W.FILL_AS_GAP in self.weak else "filled"
        after = s if W.CURSOR_FIRST in self.weak and w.at != "record" else s.with_attempt(w.seq, state)
        return after._replace(cursor=w.document + 1, build="ready" if done else "filling", since=w.seq if done else 0)

    def _aborted(self, s: State, w: Worker) -> State:
        return s.with_attempt(w.seq, "aborted") if s.attempt(w.seq) == "active" else s

    def _arrive(self, s: State, request: Request) -> State:
        w, (space, point, closed) = request.worker, request.write
        points = s.indexes[space]
        if points is None:
            return s
        if point:
            return s if any(known.id == point.id for known in points) else s.with_index(space, points | {point})
        hit = {known for known in points if known.id == closed and (known.seq_to == OPEN or known.seq_to in w.gaps)}
        return s.with_index(space, points - hit | {known._replace(seq_to=w.seq) for known in hit})

    @staticmethod
    def _counts(index: Index, seq: int) -> tuple[int, int]:
        points = index or frozenset()
        return sum(point.seq_from == seq for point in points), sum(point.seq_to == seq for point in points)

    # ---- what people and upkeep do: begin, drop, prune, delete, clean

    def _spaces(self, s: State) -> Iterator[Step]:
        if s.starts and not s.build and NEW not in s.registered and (NEW not in s.dropped or W.BUILD_AT_ONCE in self.weak):
            yield ("a build is asked for",), s._replace(starts=s.starts - 1, build="preparing")
        if s.build == "preparing":
            if s.indexes[NEW] is None:
                yield ("the new index is created",), s.with_index(NEW, frozenset())
            else:
                registered = s._replace(registered=s.registered | {NEW}, version=s.version + 1, build="filling", cursor=0, since=0)
                yield ("the new space is registered",), registered
        for space in (OLD, NEW):
            yield from self._drop(s, space)
        if s.prunes and len(s.commits) > 1:
            marked = frozenset(commit.seq for commit in s.commits[:-1])
            yield ("prune marks", sorted(marked)), s._replace(prunes=s.prunes - 1, pruned=s.pruned | marked)
        ended = any(s.attempt(request.worker.seq) in _ENDED for request in s.late)
        for space in s.dropped:
            if not ended or W.DELETE_AT_ONCE in self.weak:
                yield ("the index of space", space, "is deleted"), s.with_index(space, None)._replace(dropped=s.dropped - {space})

    def _drop(self, s: State, space: int) -> Iterator[Step]:
        there = space in s.registered or (space == NEW and s.build == "preparing")
        needed = {commit.seq for commit in s.commits if commit.space == space and commit.seq not in s.pruned}
        if not s.drops or not there or s.head.space == space:
            return
        if needed and not self.scenario.force and W.DROP_NEEDED not in self.weak:
            return
        after = s._replace(
            drops=s.drops - 1,
            registered=s.registered - {space},
            version=s.version + (space in s.registered),
            dropped=s.dropped | {space},
            lost=s.lost | needed if self.scenario.force else s.lost,
            build="" if space == NEW else s.build,
        )
        yield ("space", space, "is dropped"), after

    def _clean(self, s: State) -> Iterator[Step]:
        for attempt in s.attempts:
            if attempt.state != "aborted" or (attempt.job and s.jobs[attempt.job - 1] not in TERMINAL):
                continue
            # An index that was just created may have been hit already, by what was on its way to an earlier one of its name.
            left = [space for space in (OLD, NEW) if any(attempt.seq in point[-2:] for point in s.indexes[space] or ())]
            if W.CLEAN_REGISTERED in self.weak:
                left = [space for space in left if space in s.registered]
            if W.CLEAN_ONE in self.weak:
                left = [space for space in left if space == s.head.space]
            gone = all(worker.seq != attempt.seq for worker in (*s.workers, *(request.worker for request in s.late)))
            if left:
                points = erased(s.indexes[left[0]] or (), lambda seq, number=attempt.seq: seq == number)  # type: ignore[misc]
                yield ("cleanup erases attempt", attempt.seq, "in space", left[0]), s.with_index(left[0], points)
            elif gone:
                yield ("cleanup retires attempt", attempt.seq), s.with_attempt(attempt.seq, "retired")

    # ---- what must hold

    def broken(self, s: State, at_rest: bool) -> str | None:
        for commit in s.commits:
            if commit.seq not in s.pruned:
                held = commit.space in s.registered if W.READ_REBUILT in self.weak else s.holds(commit)
                if not held and commit.seq in s.lost:
                    continue
                if not held:
                    return f"commit {commit.seq} can't be read: its space is gone"
                if problem := _difference(s.indexes[commit.space], commit.seq, commit.gaps, commit.tree):
                    return f"a read of commit {commit.seq} in space {commit.space} {problem}"
        for space in s.registered:
            if s.complete(space) and s.indexes[space] is not None:
                now = max([s.head.seq, s.since])
                if problem := _difference(s.indexes[space], now, s.gaps, s.head.tree):
                    return f"space {space} counts as complete, but {problem}"
        return self._rest(s) if at_rest else None

    def _rest(self, s: State) -> str | None:
        if not TERMINAL.issuperset(s.jobs):
            return "a job never ends"
        if s.build in ("preparing", "filling"):
            return "a build never ends"
        if {space for space in (OLD, NEW) if s.indexes[space] is not None} != s.registered:
            return "an index remains of a space that is not registered, or is missing"
        aborted = {attempt.seq for attempt in s.attempts if attempt.state in ("aborted", "retired")}
        if any({point.seq_from, point.seq_to} & aborted for index in s.indexes for point in index or ()):
            return "points of an aborted attempt remain"
        tree = self.scenario.seed
        for job, state in zip(self.jobs, s.jobs, strict=True):
            if not isinstance(job, Switch) and state == "published":
                tree = job.apply(tree, None) or tree
        return None if tree == s.head.tree else f"the head is {told(s.head.tree)} instead of {told(tree)}"

    def describe(self, s: State) -> str:
        jobs = ", ".join(f"{number} ({job}): {state}" for number, (job, state) in enumerate(zip(self.jobs, s.jobs, strict=True), 1))
        attempts = ", ".join(f"{attempt.seq} (job {attempt.job}): {attempt.state}" for attempt in s.attempts)
        commits = "; ".join(f"{c.seq} in space {c.space}: {told(c.tree)}, gaps {sorted(c.gaps)}" for c in s.commits)
        spaces = "\n".join(f"space {space}: {_told(index)}" for space, index in enumerate(s.indexes))
        return f"jobs: {jobs}\nattempts: {attempts}\ncommits: {commits}\nregistered {sorted(s.registered)}, build {s.build or 'none'}\n{spaces}"


def _told(index: Index) -> str:
    if index is None:
        return "no index"
    return ", ".join(f"d{p.id[0]}={p.id[1]} [{p.seq_from}, {'open' if p.seq_to == OPEN else p.seq_to})" for p in sorted(index)) or "empty"


def _difference(index: Index, seq: int, gaps: frozenset[int], tree: Tree) -> str | None:
    points: frozenset[Point] = index or frozenset()
    shown = sorted((point.id[0], point.place, point.id[1]) for point in snapshot(points, seq, gaps))
    wanted = [(document, place, chunk) for document, text in enumerate(tree) for place, chunk in enumerate(text)]
    return None if shown == wanted else f"shows {shown} instead of {wanted}"
