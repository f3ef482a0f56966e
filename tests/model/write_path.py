"""The write path as a model (DESIGN.md sections 4 and 5): every atomic step of writers, recovery and the network, and what must always hold.

A lease that may expire at any time is a lease that anyone may take over at any time, so there is no clock: each takeover of a living worker's
lease is a fault. A paused worker is one whose next step comes late. Faults are bounded, nothing else is; without them every job ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ragstone.domain.commits import OPEN
from tests.model.properties import Properties, Scenario
from tests.model.states import TERMINAL, Attempt, Commit, Gaps, Point, Prune, Request, State, Weakness, Worker, erased, plan, snapshot, told

W = Weakness
Step = tuple[tuple[object, ...], State]
_BY_PATH = {W.NUMBERS, W.ALL_NUMBERS}
_ANY_ORDER = {W.ANY_ORDER, *_BY_PATH}


class WritePath:
    """Implements `checker.Model`."""

    def __init__(self, scenario: Scenario, *weakened: W) -> None:
        self.jobs, self.scenario, self.weak = scenario.jobs, scenario, frozenset(weakened)
        self._properties = Properties(scenario)

    def initial(self) -> State:
        empty = ("",) * len(self.scenario.seeds[0])
        commits, points = [Commit(0, empty, frozenset(), 0)], frozenset[Point]()
        for seq, tree in enumerate(self.scenario.seeds, 1):
            opens, closes = plan(snapshot(points, seq - 1, frozenset()), commits[-1].tree, tree, seq)
            points = frozenset(p._replace(seq_to=seq) if p.id in closes else p for p in points) | frozenset(opens)
            commits.append(Commit(seq, tree, frozenset(), 0))
        return State(
            ("open",) * len(self.jobs), (), tuple(commits), len(self.scenario.seeds), frozenset(), points, frozenset(), (), self.scenario.faults,
            self.scenario.prunes, numbers=(0,) * len(empty) if self.weak & _BY_PATH else (),
        )  # fmt: skip

    def successors(self, s: State) -> Iterator[Step]:
        if len(s.workers) < self.scenario.workers:
            for job, state in enumerate(s.jobs, 1):
                if state == "open" and ("open" not in s.jobs[: job - 1] or self.weak & _ANY_ORDER):
                    yield from self._take(s, job)
        for worker in dict.fromkeys(s.workers):
            yield from getattr(self, f"_{worker.at}")(s, worker)
            if s.faults:
                yield from self._stop(s, worker)
        for request in s.late:
            yield (request, "of", request.worker, "arrives late"), self._arrive(s, request)._replace(late=s.late - {request})
        yield from self._recover(s)
        yield from self._prune(s)

    # ---- a worker's steps, in their order

    def _take(self, s: State, job: int) -> Iterator[Step]:
        """A message is delivered, once or again, to any idle worker, which takes the oldest job that is not ended.

        It does so too when the message is a newer one's. A message of an ended job is acknowledged, which changes nothing.
        """
        active = [attempt.seq for attempt in s.attempts if attempt.state == "active"]
        taken_over = any(worker.seq in active for worker in s.workers)
        if taken_over > s.faults:
            return
        after = s._replace(faults=s.faults - taken_over)
        for seq in () if W.TWO_ACTIVE in self.weak else active:
            after = after.with_attempt(seq, "aborted")
        seq = max([s.head.seq, *(attempt.seq for attempt in s.attempts)]) + 1
        if W.SEQ_FROM_HEAD in self.weak:
            seq = s.head.seq + 1
        if W.ATTEMPT_REVIVED in self.weak:
            seq = next((attempt.seq for attempt in after.attempts if attempt.job == job and attempt.state == "aborted"), seq)
        others = tuple(attempt for attempt in after.attempts if attempt.seq != seq)
        worker = Worker(job, "stage", seq, s.head.seq, after.gaps)
        after = after._replace(attempts=tuple(sorted((*others, Attempt(seq, job, "active")))), workers=tuple(sorted((*s.workers, worker))))
        yield (
            (
                "job",
                job,
                self.jobs[job - 1],
                "is taken, with the lease of a living worker" if taken_over else "is taken",
                "as attempt",
                seq,
            ),
            after,
        )

    def _stage(self, s: State, w: Worker) -> Iterator[Step]:
        """On the head's commit, under the lease: resolve the job against the head, build the commit on a branch."""
        job, head = self.jobs[w.job - 1], s.commit(w.head).tree
        base = s.main if W.STAGE_FROM_MAIN in self.weak else w.head
        restored = s.commit(job.restore).tree if job.restore else None
        tree = None if job.restore in s.pruned else job.apply(s.commit(base).tree, restored, self._newer(s, w))
        if tree is None or tree == head:
            outcome = "failed" if tree is None else "unchanged"
            yield (w, "finds it", outcome), s.with_worker(w, w._replace(at="end", outcome=outcome))
        else:
            after = s._replace(branches=s.branches | {(w.seq, base)})
            yield (w, "stages", told(tree)), after.with_worker(w, w._replace(at="plan", tree=tree))

    def _newer(self, s: State, w: Worker) -> set[int]:
        """Documents that the job leaves alone, where numbers by path take the place of the order."""
        job = self.jobs[w.job - 1]
        removed = {document for document, text in job.writes if not text and len(job.writes) > 1 and W.NUMBERS in self.weak}
        return {document for document, number in enumerate(s.numbers) if number > w.job and document in job.named} - removed

    def _end(self, s: State, w: Worker) -> Iterator[Step]:
        """The transaction that ends a job without a commit."""
        after = s.with_worker(w, None)
        if s.attempt(w.seq) != "active" and W.END_UNCHECKED not in self.weak:
            yield (w, "is refused to end its job and gives up"), after
            return
        after = after.with_job(w.job, w.outcome).with_attempt(w.seq, "aborted" if w.outcome == "failed" else "unchanged")
        if w.outcome == "unchanged":
            after = after._replace(numbers=self._numbers(s, w, ()))
        yield (w, "ends its job:", w.outcome), after

    def _plan(self, s: State, w: Worker) -> Iterator[Step]:
        gaps: Gaps = frozenset() if W.PLAN_WITHOUT_GAPS in self.weak else w.gaps
        opens, closes = plan(snapshot(s.points, w.head, gaps), s.commit(w.head).tree, w.tree, w.seq)
        if W.IDS_WITHOUT_ATTEMPT in self.weak:
            opens = tuple(point._replace(id=(*point.id[:2], 0)) for point in opens)
        after = s.with_worker(w, w._replace(at="write", opens=opens, closes=closes, planned=(len(opens), len(closes))))
        yield (w, "reads the head's points:", len(opens), "to open,", len(closes), "to close"), after

    def _write(self, s: State, w: Worker) -> Iterator[Step]:
        """Inserts, then closes, one request each; then the counts."""
        if not (w.opens or w.closes):
            opened = sum(point.seq_from == w.seq for point in s.points)
            closed = sum(point.seq_to == w.seq for point in s.points)
            if (opened, closed) == w.planned or W.NO_VERIFY in self.weak:
                yield (w, "counts what it wrote"), s.with_worker(w, w._replace(at="mirror" if W.MIRROR_FIRST in self.weak else "publish"))
            else:
                yield (w, "counts", opened, "opened,", closed, "closed, and gives up"), self._abort(s, w).with_worker(w, None)
            return
        if w.opens:
            request, after = Request("insert", w, point=w.opens[0]), w._replace(opens=w.opens[1:])
        else:
            request, after = Request("close", w, id=w.closes[0]), w._replace(closes=w.closes[1:])
        done = self._arrive(s, request).with_worker(w, after)
        yield (w, "asks the index for", request), done
        if s.faults:
            cost = s.faults - 1
            yield (w, "asks the index for", request, "which is acknowledged but not done"), s.with_worker(w, after)._replace(faults=cost)
            yield (w, "asks the index for", request, "and a duplicate is on its way"), done._replace(late=s.late | {request}, faults=cost)
            yield from self._stop(s._replace(late=s.late | {request}), w, request)

    def _publish(self, s: State, w: Worker) -> Iterator[Step]:
        done, request = self._published(s, w), Request("publish", w)
        if done is None:
            yield (w, "is refused to publish and gives up"), s.with_worker(w, None)
        elif W.JOB_FIRST in self.weak and s.jobs[w.job - 1] == "open":
            yield (w, "marks its job published"), s.with_job(w.job, "published")
        else:
            then = "tell" if W.HEAD_FIRST in self.weak else "drop" if W.MIRROR_FIRST in self.weak else "mirror"
            yield (w, "publishes"), done.with_worker(w, w._replace(at=then))
            if s.faults:
                yield (w, "publishes, the reply is lost"), done.with_worker(w, w._replace(at="ask"))._replace(faults=s.faults - 1)
        if s.faults:
            sent = s._replace(late=s.late | {request})
            yield (
                (w, "sends its publish, which does not arrive yet"),
                sent.with_worker(w, w._replace(at="ask"))._replace(faults=s.faults - 1),
            )
            yield from self._stop(sent, w, request)

    def _tell(self, s: State, w: Worker) -> Iterator[Step]:
        yield (w, "marks its job published"), s.with_job(w.job, "published").with_worker(w, w._replace(at="mirror"))

    def _ask(self, s: State, w: Worker) -> Iterator[Step]:
        """The outcome of publish is unknown: the attempt's state tells it."""
        state = s.attempt(w.seq)
        then = {"published": "mirror", "active": "publish"}.get(state)
        yield (w, "reads its attempt's state:", state), s.with_worker(w, w._replace(at=then) if then else None)

    def _mirror(self, s: State, w: Worker) -> Iterator[Step]:
        after = s._replace(main=max(s.main, w.seq))
        if W.BRANCH_DROPPED_FIRST in self.weak and (w.seq, w.head) in s.branches:
            yield (w, "drops its branch"), s._replace(branches=s.branches - {(w.seq, w.head)})
        else:
            yield (w, "moves main"), after.with_worker(w, w._replace(at="publish" if W.MIRROR_FIRST in self.weak else "drop"))

    def _drop(self, s: State, w: Worker) -> Iterator[Step]:
        yield (w, "drops its branch and is done"), self._without_branches(s, w.seq).with_worker(w, None)

    # ---- what may go wrong at any step

    def _stop(self, s: State, w: Worker, sent: Request | None = None) -> Iterator[Step]:
        """Killed, with its attempt left active and perhaps a request on its way.

        Failing and handing the attempt back comes to the same, for nothing may be done to the attempt before the next one either way. Where the
        attempt may be published, it is a step of its own. Failing for good (the disk is full) ends the job too, whatever was written.
        """
        gone = s.with_worker(w, None)._replace(faults=s.faults - 1)
        killed = gone.with_job(w.job, "forgotten") if W.ACK_ON_TAKE in self.weak and gone.jobs[w.job - 1] == "open" else gone
        yield (w, "is killed", *(("with", sent, "on its way") if sent else ())), killed
        if s.attempt(w.seq) == "active":
            yield (w, "fails for good", *(("with", sent, "on its way") if sent else ())), self._abort(gone, w).with_job(w.job, "given up")
        if w.at == "ask":
            yield (w, "fails and hands its attempt back"), self._abort(gone, w)

    def _abort(self, s: State, w: Worker) -> State:
        may = {"active", "published"} if W.ABORT_PUBLISHED in self.weak else {"active"}
        return s.with_attempt(w.seq, "aborted") if s.attempt(w.seq) in may else s

    # ---- requests, as index and catalog carry them out, in time or late

    def _arrive(self, s: State, request: Request) -> State:
        w = request.worker
        if request.point:
            others = frozenset(point for point in s.points if point.id != request.point.id)
            return s if len(others) < len(s.points) and W.OVERWRITE not in self.weak else s._replace(points=others | {request.point})
        if request.id:
            closable: Gaps = frozenset({OPEN}) if W.CLOSE_OPEN_ONLY in self.weak else w.gaps | {OPEN}
            hit = [p for p in s.points if p.id == request.id and (p.seq_to in closable or W.CLOSE_ALWAYS in self.weak)]
            return s._replace(points=s.points - set(hit) | {point._replace(seq_to=w.seq) for point in hit})
        return self._published(s, w) or s

    def _published(self, s: State, w: Worker) -> State | None:
        """The publishing transaction; None when it is refused."""
        attempt_checked = not self.weak & {W.PUBLISH_UNCHECKED, W.PUBLISH_BLIND}
        head_checked = not self.weak & {W.HEAD_UNCHECKED, W.PUBLISH_BLIND}
        if (attempt_checked and s.attempt(w.seq) != "active") or (head_checked and s.head.seq != w.head):
            return None
        gaps: Gaps = frozenset() if W.NO_GAPS in self.weak else frozenset(gap for gap in s.gaps if gap < w.seq)
        changed = [document for document, text in enumerate(w.tree) if text != s.commit(w.head).tree[document]]
        after = s.with_attempt(w.seq, "published")._replace(
            commits=(*s.commits, Commit(w.seq, w.tree, gaps, w.job)), numbers=self._numbers(s, w, changed)
        )
        return after if W.HEAD_FIRST in self.weak else after.with_job(w.job, "published")

    def _numbers(self, s: State, w: Worker, changed: Sequence[int]) -> tuple[int, ...]:
        """After the job has ended, where numbers by path take the place of the order."""
        job = self.jobs[w.job - 1]
        if W.ALL_NUMBERS in self.weak:
            changed = range(len(s.numbers)) if job.restore else job.named
        return tuple(max(number, w.job) if document in changed else number for document, number in enumerate(s.numbers))

    # ---- recovery and cleanup, at any time, each step by itself and as often as wanted

    def _recover(self, s: State) -> Iterator[Step]:
        head = s.head.seq
        if s.main < head and not any(worker.at == "mirror" for worker in s.workers):
            yield ("recovery moves main to the head",), s._replace(main=head)
        if s.branches and s.main == head and not any(worker.at in ("mirror", "drop") for worker in s.workers):
            after = self._without_branches(s, head)
            if after != s:
                yield ("recovery drops branches of published attempts",), after
        if W.CLEAN_BY_HEAD in self.weak:
            points = erased(s.points, lambda seq: head < seq < OPEN)
            if points != s.points:
                yield ("cleanup erases what is above the head",), s._replace(points=points)
        for attempt in s.attempts:
            if attempt.state == "aborted" and s.jobs[attempt.job - 1] in TERMINAL:
                yield from self._clean(s, attempt.seq)

    def _clean(self, s: State, seq: int) -> Iterator[Step]:
        """Deletes, then reopens; and when nothing is left and nothing can come, the gap is retired."""
        opened = frozenset(point for point in s.points if point.seq_from == seq)
        closed = frozenset(point for point in s.points if point.seq_to == seq)
        gone = all(worker.seq != seq for worker in (*s.workers, *(request.worker for request in s.late)))
        if opened:
            yield ("cleanup deletes the points of attempt", seq), s._replace(points=s.points - opened)
        elif closed and W.CLEAN_WITHOUT_REOPENING not in self.weak:
            yield ("cleanup reopens what was closed by attempt", seq), s._replace(points=erased(s.points, lambda other: other == seq))
        elif gone or W.RETIRE_EARLY in self.weak:
            after = s.with_attempt(seq, "retired")
            yield ("cleanup retires attempt", seq), after._replace(branches=frozenset(b for b in s.branches if b[0] != seq))

    # ---- pruning, by a process of its own, which keeps the head and what waiting rollbacks restore

    def _prune(self, s: State) -> Iterator[Step]:
        """Marks in one transaction, reads the gaps, waits until nothing of a published attempt can arrive any more, deletes by facts."""
        now = s.prune
        if now is None:
            if s.prunes:
                yield ("a prune begins",), s._replace(prunes=s.prunes - 1, prune=Prune())
            return
        late = any(s.attempt(request.worker.seq) == "published" for request in s.late)
        gaps_first, unmarked = W.PRUNE_GAPS_FIRST in self.weak, W.PRUNE_UNMARKED in self.weak
        if now.gaps is None and (now.runs is not None or gaps_first):
            yield ("prune reads the gaps:", sorted(s.gaps)), s._replace(prune=now._replace(gaps=s.gaps))
        elif now.runs is None:
            pins = {self.jobs[number].restore for number, state in enumerate(s.jobs) if state == "open"}
            pins = set() if W.PRUNE_UNPINNED in self.weak else pins
            kept = [commit.seq for commit in s.commits if commit.seq in {0, s.head.seq, *pins} and commit.seq not in s.pruned]
            marked = frozenset(commit.seq for commit in s.commits) - set(kept)
            after = s._replace(prune=now._replace(runs=tuple(pairwise(kept))), pruned=s.pruned if unmarked else s.pruned | marked)
            yield ("prune finds" if unmarked else "prune marks", sorted(marked - s.pruned)), after
        elif not late or W.PRUNE_AT_ONCE in self.weak:
            spared = frozenset[int]() if W.PRUNE_GAPS in self.weak else now.gaps or frozenset()
            doomed = {
                point
                for point in s.points
                for k1, k2 in now.runs
                if point.seq_from > k1 and point.seq_to <= k2 and point.seq_to not in spared
            }
            yield ("prune deletes", len(doomed), "points"), s._replace(prune=None, points=s.points - doomed)

    def _without_branches(self, s: State, seq: int) -> State:
        """Without the branches of `seq` and of all published attempts before it, which main has reached."""
        if W.OWN_BRANCH_ONLY in self.weak:
            return s._replace(branches=frozenset(b for b in s.branches if b[0] != seq))
        reached = {commit.seq for commit in s.commits if commit.seq <= s.main}
        return s._replace(branches=frozenset(b for b in s.branches if b[0] not in reached))

    def broken(self, s: State, at_rest: bool) -> str | None:
        return self._properties.broken(s, at_rest)

    def describe(self, s: State) -> str:
        jobs = ", ".join(f"{number} ({job}): {state}" for number, (job, state) in enumerate(zip(self.jobs, s.jobs, strict=True), 1))
        attempts = ", ".join(f"{attempt.seq} (job {attempt.job}): {attempt.state}" for attempt in s.attempts)
        commits = "\n".join(f"  commit {c.seq}: {told(c.tree)}, gaps {sorted(c.gaps)}" for c in s.commits[1:])
        points = "\n".join(
            f"  d{p.id[0]} {p.id[1]!r} at {p.place}: [{p.seq_from}, {'open' if p.seq_to == OPEN else p.seq_to})" for p in sorted(s.points)
        )
        pruned = f", pruned {sorted(s.pruned)}" if s.pruned else ""
        return f"jobs: {jobs}\nattempts: {attempts}\ncommits (main {s.main}{pruned}):\n{commits}\npoints:\n{points}"
