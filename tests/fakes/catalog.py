"""A catalog in plain dicts: the model that the SQLite one must agree with."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ragstone.domain import building
from ragstone.domain.builds import Build, SpaceUse
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, Tag
from ragstone.domain.errors import Busy, Conflict, Gone, IdempotencyMismatch, InternalError, InvalidInput, LeaseLost, NotFound, Unavailable
from ragstone.domain.jobs import TERMINAL, Job, JobResult, JobState, Progress, Put, Restore, is_rollback
from ragstone.domain.retention import PURGING, Keep, Pruning, Purge
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import AttemptState, KnownState


@dataclass
class _Attempt:
    state: AttemptState
    job_id: str | None
    retired: bool = False
    lost_at: float | None = None


@dataclass
class _State:
    """Everything of one collection."""

    collection: Collection
    jobs: dict[str, Job] = field(default_factory=dict)
    job_count: int = 0
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # (principal, key) -> (body digest, job id)
    attempts: dict[int, _Attempt] = field(default_factory=dict)
    holder: str | None = None
    expires_at: float = 0.0
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, Tag] = field(default_factory=dict)
    purges: list[Purge] = field(default_factory=list)

    def oldest(self) -> Job | None:
        return min((job for job in self.jobs.values() if job.state not in TERMINAL), key=lambda job: job.number, default=None)

    def active(self) -> int | None:
        return next((number for number, attempt in self.attempts.items() if attempt.state == "active"), None)

    def gaps(self) -> frozenset[int]:
        return frozenset(number for number, attempt in self.attempts.items() if attempt.state == "aborted" and not attempt.retired)


class InMemoryCatalog:
    """Implements `Catalog`. Nothing here awaits, so each call is atomic on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._order: list[str] = []  # job ids in the order accepted
        self._locks: dict[str, tuple[str, float]] = {}  # holder and end by name
        self._cursors: dict[str, int] = {}
        self._progress: dict[str, Progress] = {}

    async def create_collection(self, name: str, language: str, description: str, space: EmbeddingSpace) -> Collection:
        if name in self._states:
            raise Conflict(f"collection {name!r} exists already; choose another name.", field="name")
        collection = Collection(name, secrets.token_hex(6), language, description, self._clock(), (space,), 1, space.id)
        self._states[name] = _State(collection)
        return collection

    async def collection(self, name: str) -> Collection:
        return self._state(name).collection

    async def collections(self) -> list[Collection]:
        return [self._states[name].collection for name in sorted(self._states)]

    async def delete_collection(self, name: str) -> Collection:
        state = self._state(name)
        del self._states[name]
        self._order = [job_id for job_id in self._order if job_id not in state.jobs]
        return state.collection

    async def add_space(self, collection: str, space: EmbeddingSpace) -> Collection:
        state = self._state(collection)
        state.collection = building.registered(state.collection, space)
        return state.collection

    async def begin_build(self, collection: str, build: Build) -> Collection:
        state = self._state(collection)
        state.collection = building.begun(state.collection, build, self._clock())
        return state.collection

    async def acquire_fill(self, collection: str, holder: str, ttl: float) -> Lease:
        state = self._state(collection)
        build = state.collection.unfinished
        if build is None or build.state != "filling":
            raise Conflict(f"no embedding space of collection {collection!r} is being filled.", field="space")
        return self._take(state, None, build.id, holder, ttl)

    async def finish_fill(self, lease: Lease, build: Build) -> Collection:
        state = self._leased(lease)
        self._check_head(state, lease)
        state.collection = building.filled(state.collection, build, lease.attempt, self._clock())
        state.attempts[lease.attempt].state = "filled"
        state.holder = None
        return state.collection

    async def drop_space(self, collection: str, space_id: str, principal: str, keep: float | None = None) -> Collection:
        state = self._state(collection)
        own = [commit for commit in state.commits if commit.space_id == space_id]
        kept = sum(commit.pruned_at is None and commit.seq >= state.collection.oldest(space_id) for commit in own)
        later = [commit.created_at for commit in state.commits if own and commit.seq > own[-1].seq]
        live = state.commits[-1].space_id if state.commits else state.collection.space_id
        use = SpaceUse(live, kept, later[0] if later else None)
        state.collection = building.dropped(
            state.collection, space_id, use, keep, build_id=secrets.token_hex(8), principal=principal, now=self._clock()
        )
        return state.collection

    async def forget_space(self, collection: str, space_id: str) -> None:
        state = self._state(collection)
        state.collection = building.forgotten(state.collection, space_id)

    async def accept(self, job: Job, *, idempotency_key: str | None = None, body_digest: str = "") -> Job:
        state = self._state(job.collection)
        if idempotency_key is not None and (known := state.keys.get((job.principal, idempotency_key))):
            if known[0] != body_digest:
                raise IdempotencyMismatch("this Idempotency-Key came with another body before; use a new key.", field="Idempotency-Key")
            return state.jobs[known[1]]
        if job.id in self._order:
            raise Conflict(f"job {job.id} exists already.")
        state.job_count += 1
        written = replace(job, number=state.job_count, state="queued", created_at=self._clock(), finished_at=None, result=None)
        state.jobs[job.id] = written
        self._order.append(job.id)
        if idempotency_key is not None:
            state.keys[job.principal, idempotency_key] = (body_digest, job.id)
        return written

    async def job(self, job_id: str) -> Job:
        return self._state_of_job(job_id).jobs[job_id]

    async def jobs(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Job]:
        states = [self._state(collection)] if collection is not None else list(self._states.values())
        found = sorted((job for state in states for job in state.jobs.values()), key=lambda job: job.id, reverse=True)
        return [job for job in found if before is None or job.id < before][:limit]

    async def pending(self, collection: str) -> int:
        return sum(job.state not in TERMINAL for job in self._state(collection).jobs.values())

    async def next_job(self, collection: str) -> Job | None:
        return self._state(collection).oldest()

    async def release(self, job_id: str) -> None:
        state = self._state_of_job(job_id)
        active = state.active()
        held = active is not None and state.attempts[active].job_id == job_id
        if state.jobs[job_id].state == "running" and not held:
            state.jobs[job_id] = replace(state.jobs[job_id], state="queued")

    async def requeue_orphans(self) -> list[Job]:
        for state in self._states.values():
            self._abort_active(state)
            for job in list(state.jobs.values()):
                if job.state == "running":
                    state.jobs[job.id] = replace(job, state="queued")
        everything = {job.id: job for state in self._states.values() for job in state.jobs.values()}
        return [everything[job_id] for job_id in self._order if everything[job_id].state == "queued"]

    async def orphans(self) -> list[Job]:
        now = self._clock()
        free = [state.oldest() for state in self._states.values() if state.holder is None or state.expires_at <= now]
        return sorted((job for job in free if job is not None), key=lambda job: self._order.index(job.id))

    async def report(self, job_id: str, progress: Progress) -> None:
        if any(job_id in state.jobs for state in self._states.values()):
            self._progress[job_id] = progress

    async def progress(self, job_id: str) -> Progress | None:
        jobs = [state.jobs[job_id] for state in self._states.values() if job_id in state.jobs]
        return self._progress.get(job_id) if jobs and jobs[0].state not in TERMINAL else None

    async def acquire(self, job_id: str, holder: str, ttl: float) -> Lease:
        state = self._state_of_job(job_id)
        if state.jobs[job_id].state in TERMINAL:
            raise Conflict(f"job {job_id} is done.")
        if state.oldest() != state.jobs[job_id]:
            raise Busy("an older job of the collection is not done; try again later.")
        lease = self._take(state, job_id, job_id, holder, ttl)
        state.jobs[job_id] = replace(state.jobs[job_id], state="running")
        return lease

    def _take(self, state: _State, job_id: str | None, known_by: str, holder: str, ttl: float) -> Lease:
        now = self._clock()
        if state.holder is not None and state.holder != holder and state.expires_at > now:
            raise Busy("another writer holds the collection; try again later.", retry_after=state.expires_at - now)
        self._abort_active(state)
        number = len(state.attempts) + 1
        gaps = state.gaps()
        state.attempts[number] = _Attempt("active", job_id)
        state.holder, state.expires_at = holder, now + ttl
        head = state.commits[-1] if state.commits else None
        head_id, head_seq = (head.id, head.seq) if head else (None, 0)
        return Lease(state.collection, known_by, number, holder, head_id, head_seq, gaps, now + ttl, ttl)

    async def renew(self, lease: Lease) -> Lease:
        state = self._leased(lease)
        state.expires_at = self._clock() + lease.ttl
        return replace(lease, expires_at=state.expires_at)

    async def abort(self, lease: Lease) -> None:
        state = self._states.get(lease.collection.name)
        if state is None or state.collection.uid != lease.collection.uid:
            return
        if state.active() == lease.attempt:
            self._abort_active(state)
        state.attempts[lease.attempt].lost_at = None

    async def attempt(self, collection: str, attempt: int) -> AttemptState:
        attempts = self._state(collection).attempts
        if attempt not in attempts:
            raise NotFound(f"collection {collection!r} has no attempt {attempt}.")
        return attempts[attempt].state

    async def aborted(self, collection: str, *, gone_after: float = 0.0) -> list[int]:
        state, before = self._state(collection), self._clock() - gone_after
        owners = {number: state.attempts[number].job_id for number in state.gaps()}
        ended = [number for number, job_id in owners.items() if job_id is None or state.jobs[job_id].state in TERMINAL]
        return sorted(number for number in ended if (lost_at := state.attempts[number].lost_at) is None or lost_at <= before)

    async def retire(self, collection: str, attempts: Sequence[int]) -> None:
        state = self._state(collection)
        for number in state.gaps() & set(attempts):
            state.attempts[number].retired = True

    async def finish_unchanged(self, lease: Lease, result: JobResult) -> None:
        state = self._leased(lease)
        self._finish(state, lease, "unchanged", "unchanged", result)

    async def fail(self, lease: Lease, result: JobResult) -> None:
        state = self._leased(lease)
        self._finish(state, lease, "aborted", "failed", result)

    async def publish(self, lease: Lease, commit: Commit, result: JobResult) -> Commit:
        state = self._leased(lease)
        head = self._check_head(state, lease)
        if any(purge.state == "begun" for purge in state.purges) and is_rollback(state.jobs[lease.job_id].request):
            raise Unavailable(PURGING, retry_after=1.0)
        if (commit.seq, commit.collection, commit.job_id) != (lease.attempt, lease.collection.name, lease.job_id):
            raise InternalError("the commit record does not belong to the lease.")
        if head and commit.space_id != head.space_id and not state.collection.complete(commit.space_id):
            raise Conflict(building.incomplete(commit), field="space")
        created_at = max(self._clock(), head.created_at if head else 0.0)
        position = len(state.commits) + 1
        gaps = frozenset(gap for gap in state.gaps() if gap < lease.attempt)
        stored = replace(commit, gaps=gaps, position=position, created_at=created_at)
        state.commits.append(stored)
        self._finish(state, lease, "published", "published", replace(result, position=position))
        return stored

    async def head(self, collection: str) -> Commit | None:
        commits = self._state(collection).commits
        return commits[-1] if commits else None

    async def commit(self, collection: str, commit_id: str) -> Commit:
        commits = self._state(collection).commits
        if len(commit_id) < 7:
            raise InvalidInput("commit: give at least 7 digits of the commit id.", field="commit")
        matches = [commit for commit in commits if commit.id.startswith(commit_id)]
        exact = [commit for commit in matches if commit.id == commit_id]
        if len({commit.id for commit in matches}) > 1 and not exact:
            raise InvalidInput(f"commit: {commit_id!r} fits more than one commit; give more digits.", field="commit")
        if not matches:
            raise NotFound(f"collection {collection!r} has no commit {commit_id[:64]!r}.", field="commit")
        return _kept(sorted(exact or matches, key=lambda commit: (commit.pruned_at is None, commit.seq))[-1])

    async def commit_at_position(self, collection: str, position: int) -> Commit:
        commits = self._state(collection).commits
        if not 1 <= position <= len(commits):
            raise NotFound(f"collection {collection!r} has no commit at position {position}.", field="position")
        return _kept(commits[position - 1])

    async def commit_at_time(self, collection: str, time: float) -> Commit:
        found = [commit for commit in self._state(collection).commits if commit.created_at <= time]
        if not found:
            raise NotFound(f"collection {collection!r} had no commit at that time.", field="as_of")
        return _kept(found[-1])

    async def commits(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[Commit]:
        return [commit for commit in reversed(self._state(collection).commits) if before is None or commit.seq < before][:limit]

    async def commits_since(self, collection: str, seq: int, limit: int = 100) -> list[Commit]:
        return [commit for commit in self._state(collection).commits if commit.seq > seq][:limit]

    async def tag(self, collection: str, name: str, commit_id: str) -> Tag:
        state = self._state(collection)
        commit = await self.commit(collection, commit_id)
        if known := state.tags.get(name):
            if known.commit_id != commit.id:
                raise Conflict(f"tag {name!r} is taken by another commit; remove it first or choose another name.", field="tag")
            return known
        state.tags[name] = Tag(collection, name, commit.id, commit.seq, self._clock())
        return state.tags[name]

    async def untag(self, collection: str, name: str) -> None:
        if self._state(collection).tags.pop(name, None) is None:
            raise NotFound(f"collection {collection!r} has no tag {name!r}.", field="tag")

    async def tags(self, collection: str) -> list[Tag]:
        return list(reversed(self._state(collection).tags.values()))

    async def hold(self, lock: str, holder: str, ttl: float) -> bool:
        now = self._clock()
        owner, end = self._locks.get(lock, (holder, now))
        if owner == holder or end <= now:
            self._locks[lock] = (holder, now + ttl)
        return self._locks[lock][0] == holder

    async def let_go(self, lock: str, holder: str) -> None:
        if self._locks.get(lock, ("", 0.0))[0] == holder:
            del self._locks[lock]

    async def cursor(self, name: str) -> int:
        return self._cursors.get(name, 0)

    async def move_cursor(self, name: str, value: int) -> None:
        self._cursors[name] = max(value, self._cursors.get(name, 0))

    async def gaps(self, collection: str) -> frozenset[int]:
        return self._state(collection).gaps()

    async def prune(self, collection: str, keep: Keep, *, dry_run: bool = False) -> Pruning:
        state = self._state(collection)
        waiting = [change for job in state.jobs.values() if job.state not in TERMINAL for change in job.request.changes]
        readable = [commit for commit in state.commits if commit.pruned_at is None]
        pins = {change.commit_id for change in waiting if isinstance(change, Restore)}
        kept = keep.of(readable, {tag.seq for tag in state.tags.values()}, pins)
        pruned = tuple(replace(commit, pruned_at=self._clock()) for commit in readable if commit not in kept)
        if not dry_run:
            marked = {commit.seq: commit for commit in pruned}
            state.commits = [marked.get(commit.seq, commit) for commit in state.commits]
        return Pruning(kept, pruned)

    async def begin_purge(self, purge: Purge) -> Purge:
        state = self._state(purge.collection)
        for job in list(state.jobs.values()):
            if job.state in TERMINAL:
                changes = tuple(
                    replace(change, metadata={}) if isinstance(change, Put) and change.path == purge.path else change
                    for change in job.request.changes
                )
                state.jobs[job.id] = replace(job, request=replace(job.request, changes=changes))
        for known in state.purges:
            if known.path == purge.path and known.state == "begun":
                return known
        state.purges.append(purge)
        return purge

    async def finish_purge(self, purge: Purge) -> None:
        for state in self._states.values():
            for number, known in enumerate(state.purges):
                if known.id == purge.id:
                    state.purges[number] = purge
                    return
        raise NotFound(f"there is no purge {purge.id!r}.")

    async def purges(self, collection: str, path: str | None = None) -> list[Purge]:
        return [purge for purge in reversed(self._state(collection).purges) if path in (None, purge.path)]

    async def attempts(self, collection: str) -> dict[int, KnownState]:
        return {n: "retired" if attempt.retired else attempt.state for n, attempt in self._state(collection).attempts.items()}

    async def check(self) -> list[str]:
        return []

    async def compact(self) -> None:
        """Nothing is left of what was deleted."""

    async def close(self) -> None:
        """Nothing to close."""

    def _state(self, name: str) -> _State:
        if name not in self._states:
            raise NotFound(f"there is no collection {name[:80]!r}.", field="collection")
        return self._states[name]

    def _state_of_job(self, job_id: str) -> _State:
        for state in self._states.values():
            if job_id in state.jobs:
                return state
        raise NotFound(f"there is no job {job_id[:80]!r}.", field="job")

    def _leased(self, lease: Lease) -> _State:
        state = self._states.get(lease.collection.name)
        if state is None or state.collection.uid != lease.collection.uid or state.active() != lease.attempt:
            raise LeaseLost("the attempt is no longer the active one; another writer took over.")
        return state

    def _check_head(self, state: _State, lease: Lease) -> Commit | None:
        head = state.commits[-1] if state.commits else None
        if ((head.id, head.seq) if head else (None, 0)) != (lease.head_id, lease.head_seq):
            raise LeaseLost("the head moved; the attempt cannot be published.")
        if state.collection.spaces_version != lease.collection.spaces_version:
            raise LeaseLost("the collection's embedding spaces changed; the attempt cannot be published.")
        return head

    def _abort_active(self, state: _State) -> None:
        active = state.active()
        if active is not None:
            state.attempts[active].state = "aborted"
            state.attempts[active].lost_at = self._clock()
        state.holder = None

    def _finish(self, state: _State, lease: Lease, attempt: AttemptState, job: JobState, result: JobResult) -> None:
        state.attempts[lease.attempt].state = attempt
        state.holder = None
        state.jobs[lease.job_id] = replace(state.jobs[lease.job_id], state=job, finished_at=self._clock(), result=result)


def _kept(commit: Commit) -> Commit:
    if commit.pruned_at is not None:
        raise Gone(f"Commit #{commit.position} of collection {commit.collection!r} was pruned.", field="commit")
    return commit
