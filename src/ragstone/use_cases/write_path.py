"""The write path: one job, one attempt, one commit (DESIGN.md section 4, steps 2 to 9)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, CommitStats, DocumentChange
from ragstone.domain.documents import StoredDocument
from ragstone.domain.errors import (
    Busy,
    Conflict,
    InternalError,
    LeaseLost,
    NotFound,
    PreconditionFailed,
    RagstoneError,
    StorageFull,
    Unavailable,
)
from ragstone.domain.jobs import DocumentFailure, Job, JobResult, Move, Put, Restore
from ragstone.domain.retrieval import Vector
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import Catalog
from ragstone.ports.document_parser import DocumentParser
from ragstone.ports.staging import Staging
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.bulk_jobs import BulkJobs, Vectors
from ragstone.use_cases.dead_letters import DeadLetterOffice
from ragstone.use_cases.index_writer import ChangedDocument, IndexWriter, WriteStats
from ragstone.use_cases.lease_guard import LeaseGuard
from ragstone.use_cases.preconditions import Preconditions
from ragstone.use_cases.preparation import Preparation, Resolved
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.space_switch import SpaceSwitch, Survey, switch_of
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.turns import Turns
from ragstone.use_cases.visibility import Visibility

LEASE_TTL = 60.0  # seconds
_FILLING = 40.0  # seconds that the lease of whoever fills a space is waited for: more than it lasts
_LOOK = 0.2  # seconds between two looks at it
_log = logging.getLogger(__name__)

Published = Callable[[Collection, Commit], None]


class WritePath:
    """Runs accepted jobs. One instance a process; `holder` names it in leases. `published` is told of every new head. `clock`: seconds, monotonic.

    `lease_ttl`: seconds that a collection stays locked by a worker that was killed; more than an index request may take.
    """

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        staging: Staging,
        parser: DocumentParser,
        spaces: Spaces,
        progress: ProgressBoard,
        letters: DeadLetterOffice,
        visibility: Visibility,
        published: Published,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        lease_ttl: float = LEASE_TTL,
        turns: Turns | None = None,
        bulk: BulkJobs | None = None,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._staging = staging
        self._parser = parser
        self._spaces = spaces
        self._progress = progress
        self._letters = letters
        self._visibility = visibility
        self._published = published
        self._holder = holder
        self._clock = clock
        self._lease_ttl = lease_ttl
        self._preconditions = Preconditions(catalog, versions)
        self._turns = turns or Turns()
        self._bulk = bulk
        self._switching = SpaceSwitch(catalog, versions, index)

    async def run(self, collection: str, job_id: str) -> None:
        """Handles a delivered message (`JobHandler`). Raises `Unavailable` when it shall be delivered again.

        A message is a hint, and may overtake another: whatever is older than its job is worked off before it (ADR 0009).
        """
        number = (await self._catalog.job(job_id)).number
        while (job := await self._catalog.next_job(collection)) is not None and job.number <= number:
            await self._attempt(job)
            await self._ended(job.id)
        await self._ended(job_id)

    async def _ended(self, job_id: str) -> None:
        if not await self._letters.keeps(job_id):
            await self._staging.discard(job_id)
        if self._bulk is not None:
            await self._bulk.forget(job_id)
        self._progress.done(job_id)

    async def _attempt(self, job: Job) -> None:
        collection = await self._catalog.collection(job.collection)
        documents = Preparation(
            self._versions,
            self._parser,
            lambda put: self._staging.get(job.id, put.staged),
            lambda: self._progress.advance(job.id, documents=1),
        )
        self._progress.phase(job.id, "parsing", documents_total=sum(isinstance(change, Put) for change in job.request.changes), documents=0)
        error: Exception | None = None
        survey: Survey | None = None
        embedded: Vectors = {}
        try:
            head = await self._catalog.head(collection.name)
            await documents.parse(collection.uid, head.id if head else None, job.request)
            if self._bulk is not None:
                embedded = await self._bulk.embed(job, collection, documents.parsed)
            if switch := switch_of(job):
                survey = await self._switching.survey(collection, switch.space_id)
        except* Exception as group:  # told below, under the lease that failing a job needs
            error = _first(group)
        async with self._turns.turn(collection.name):
            await self._under_lease(job, documents, embedded, survey, error)

    async def _under_lease(
        self, job: Job, documents: Preparation, embedded: Vectors, survey: Survey | None, error: Exception | None
    ) -> None:
        try:
            asked, lease = await self._acquire(job)
        except Busy as busy:
            raise Unavailable(busy.message, retry_after=busy.retry_after) from busy
        except Conflict:  # another worker has just ended it
            return
        try:
            if error is not None:
                raise error
            async with LeaseGuard(self._catalog, lease, asked, self._clock) as guard:
                if switch := switch_of(job):
                    await self._switch(job, guard, switch.space_id, survey)
                else:
                    await self._commit(job, guard, documents, embedded)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(lease))
            raise
        except RagstoneError as failure:
            await self._failed(lease, failure)
        except Exception as failure:
            _log.exception("job %s failed", job.id)
            await self._failed(lease, InternalError(f"The job failed unexpectedly ({type(failure).__name__}); see the log."))

    async def _acquire(self, job: Job) -> tuple[float, Lease]:
        """When it was asked for, and the lease. Whoever fills a space in another process holds it for moments only; that is waited for here."""
        until: float | None = None
        while True:
            asked = self._clock()
            try:
                return asked, await self._catalog.acquire(job.id, self._holder, self._lease_ttl)
            except Busy as busy:
                if until is None:
                    filling = (await self._catalog.collection(job.collection)).unfinished is not None
                    until = asked + min(busy.retry_after or 0.0, _FILLING) if filling else asked
                if asked >= until:
                    raise
                await asyncio.sleep(_LOOK)

    async def _switch(self, job: Job, guard: LeaseGuard, space_id: str, survey: Survey | None) -> None:
        """From a held lease to a commit of the same documents in another space."""
        head = await self._catalog.head(job.collection)
        if head is None:
            raise Conflict(f"collection {job.collection!r} is empty; there is nothing to switch.", field="space")
        if head.space_id == space_id:
            await self._catalog.finish_unchanged(guard.lease, JobResult("unchanged", head.id, head.seq, head.position, head.stats))
            return
        commit = await self._switching.commit(job, guard.lease, head, space_id, survey)
        await guard.check()
        self._progress.phase(job.id, "publishing")
        await self._publish(guard.lease, commit, ())

    async def _commit(self, job: Job, guard: LeaseGuard, documents: Preparation, embedded: Vectors) -> None:
        """From a held lease to a published commit (or to `unchanged`). `embedded`: vectors that shards have made ahead; what they lack is embedded here."""
        lease, request = guard.lease, job.request
        await self._preconditions.check(lease.collection, request)
        self._progress.phase(job.id, "staging")
        staged, resolved = await self._stage(job, lease, documents)
        if staged is None:
            head = await self._catalog.head(job.collection)
            result = JobResult(
                "unchanged",
                lease.head_id,
                lease.head_seq or None,
                head.position if head else None,
                failures=resolved.failures,
                stats=CommitStats(documents=head.stats.documents, chunks=head.stats.chunks) if head else CommitStats(),
            )
            await self._catalog.finish_unchanged(guard.lease, result)
            return
        changes = await self._versions.diff(lease.collection.uid, lease.head_id, staged)
        changed = await self._changed(lease.collection.uid, staged, changes, resolved.puts)
        paths = [change.path for change in changes]
        written: dict[str, WriteStats] = {}
        moves = [
            (change.source, change.target) for change in request.changes if isinstance(change, Move) and change.target in resolved.puts
        ]
        await self._visibility.inherit(lease.collection, moves)
        for space in lease.collection.spaces:
            written[space.id] = await self._write(guard, space, staged, changed, paths, embedded.get(space.id, {}))
        await self._visibility.inherit(lease.collection, moves)  # the source may have been given groups since
        self._progress.phase(job.id, "publishing")
        await self._publish(guard.lease, await self._record(job, guard.lease, staged, changes, written), resolved.failures)

    async def _write(
        self,
        guard: LeaseGuard,
        space: EmbeddingSpace,
        staged: str,
        changed: Sequence[ChangedDocument],
        paths: Sequence[str],
        known: Mapping[str, Vector],
    ) -> WriteStats:
        """One space's index. Raises `LeaseLost` when the space is dropped meanwhile: the job is tried again without it."""
        collection = guard.lease.collection
        writer = IndexWriter(self._index, self._spaces.embedder(space), self._progress, self._visibility)
        try:
            written = await writer.write(collection, space, guard, staged, changed, paths, known)
            await self._index.flush(collection.index_name(space.id))
        except NotFound:
            if not (await self._catalog.collection(collection.name)).has_space(space.id):
                raise LeaseLost("An embedding space was dropped meanwhile; the job will be tried again.") from None
            raise
        return written

    async def _stage(self, job: Job, lease: Lease, documents: Preparation) -> tuple[str | None, Resolved]:
        repo, request = lease.collection.uid, job.request
        notes = {"ragstone-seq": str(lease.attempt), "ragstone-job": job.id}
        if request.changes and isinstance(request.changes[0], Restore):
            target = request.changes[0].commit_id
            await self._catalog.commit(job.collection, target)  # raises Gone: pruned before this job was accepted
            commit = await self._versions.restore(
                repo, lease.attempt, lease.head_id, target, author=request.author, message=request.message, metadata=notes
            )
            return commit, Resolved({}, frozenset(), ())
        resolved = await documents.resolve(repo, lease.head_id, request)
        effective = bool(resolved.puts or resolved.removes)
        if resolved.failures and (
            request.strict or (len(resolved.failures) >= len(request.changes) + len(request.rejected) and not effective)
        ):
            raise JobRejected(resolved.failures)
        commit = await self._versions.stage(
            repo,
            lease.attempt,
            lease.head_id,
            list(resolved.puts.values()),
            resolved.removes,
            author=request.author,
            message=request.message,
            metadata=notes,
        )
        return commit, resolved

    async def _changed(
        self, repo: str, staged: str, changes: Sequence[DocumentChange], puts: dict[str, StoredDocument]
    ) -> list[ChangedDocument]:
        changed = []
        for change in changes:
            if change.kind != "removed":
                document = puts.get(change.path) or await self._versions.read(repo, staged, change.path)
                changed.append(ChangedDocument(document.info, document.extracted))
        return changed

    async def _record(
        self, job: Job, lease: Lease, staged: str, changes: Sequence[DocumentChange], written: dict[str, WriteStats]
    ) -> Commit:
        """What is to be published."""
        collection = lease.collection
        head = await self._catalog.head(collection.name)
        space_id = head.space_id if head else collection.space_id
        return Commit(
            collection.name,
            lease.attempt,
            0,
            staged,
            lease.head_id,
            space_id,
            frozenset(),
            job.id,
            job.request.author,
            job.request.message,
            0.0,
            _stats(head, changes, written[space_id]),
        )

    async def _publish(self, lease: Lease, commit: Commit, failures: tuple[DocumentFailure, ...]) -> None:
        collection = lease.collection
        result = JobResult("published", commit.id, lease.attempt, None, commit.stats, failures)
        try:
            commit = await self._catalog.publish(lease, commit, result)
        except LeaseLost:
            raise
        except Unavailable:  # the outcome is unknown: the attempt's state tells it
            match await self._catalog.attempt(collection.name, lease.attempt):
                case "published":
                    commit = await self._catalog.commit(collection.name, commit.id)
                case "active":
                    commit = await self._catalog.publish(lease, commit, result)
                case _:
                    raise
        self._published(collection, commit)
        try:
            await self._versions.advance(collection.uid, commit.id, lease.attempt)
        except RagstoneError as error:  # the catalog's head is the truth; whoever sees main behind brings it forward
            _log.warning("main of %s stays behind its head: %s", collection.name, error.message)

    async def _failed(self, lease: Lease, error: RagstoneError) -> None:
        """Ends the attempt; then either the job too, or it goes back to be tried again: the queue bounds how often."""
        if isinstance(error, Unavailable) and not isinstance(error, StorageFull):
            await self._hand_back(lease)
            raise error
        failures = error.failures if isinstance(error, JobRejected) else ()
        result = JobResult(
            "failed",
            None,
            None,
            None,
            failures=failures,
            error_code=error.code,
            error=error.message,
            status=error.status,
            conflict=error.conflict if isinstance(error, PreconditionFailed) else None,
        )
        try:
            await self._letters.fail(lease, result)
        except LeaseLost:
            await self._catalog.release(lease.job_id)
            raise

    async def _hand_back(self, lease: Lease) -> None:
        await self._catalog.abort(lease)
        await self._catalog.release(lease.job_id)


class JobRejected(RagstoneError):
    """Documents of a job that make it fail as a whole; tells the first one's reason."""

    def __init__(self, failures: tuple[DocumentFailure, ...]) -> None:
        super().__init__(failures[0].message, field=failures[0].path)
        self.failures = failures
        self.code = failures[0].code
        self.status = failures[0].status


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, Exception):
        raise error
    return error


def _stats(head: Commit | None, changes: Sequence[DocumentChange], written: WriteStats) -> CommitStats:
    before = head.stats if head else CommitStats()
    kinds = [change.kind for change in changes]
    added, removed = kinds.count("added"), kinds.count("removed")
    return CommitStats(
        documents_added=added,
        documents_changed=kinds.count("changed"),
        documents_removed=removed,
        chunks_added=written.added,
        chunks_removed=written.removed,
        chunks_kept=written.kept,
        chunks_embedded=written.embedded,
        chunks_reused=written.reused,
        documents=before.documents + added - removed,
        chunks=before.chunks + written.added - written.removed,
    )
