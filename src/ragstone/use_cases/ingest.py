"""Accepting changes: nothing is acknowledged before it is durable (DESIGN.md section 4, step 1)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, replace

from ragstone.domain.access import LOCAL, Principal, View
from ragstone.domain.collections import Collection
from ragstone.domain.deadline import deadline
from ragstone.domain.documents import checksum
from ragstone.domain.errors import Busy, InvalidInput, NotFound, RagstoneError, TooLarge
from ragstone.domain.ids import new_id
from ragstone.domain.jobs import (
    TERMINAL,
    Change,
    ChangeRequest,
    DocumentFailure,
    Job,
    Progress,
    Put,
    changed_paths,
    touches_everything,
)
from ragstone.domain.names import check_document_path
from ragstone.domain.uploads import IngestPlan, IngestRequest, JobProgress, Upload
from ragstone.ports.catalog import Catalog
from ragstone.ports.document_parser import DocumentParser
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.staging import Staging
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.admission import Admission
from ragstone.use_cases.chunk_plan import plan_chunks
from ragstone.use_cases.index_writer import ChangedDocument, batches, chunk_all
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.preconditions import Preconditions, check_form
from ragstone.use_cases.preparation import Preparation
from ragstone.use_cases.progress import LONGEST_LOOK, ProgressBoard, happens, watched
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility

_FIRST_LOOK = 0.05  # seconds after which a job is looked at again; then ever less often
_ENQUEUE = 5.0  # seconds that a hint may take
_log = logging.getLogger(__name__)


class Ingest:
    """Accepts requests for change, plans them (dry run), and tells how far they are."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        staging: Staging,
        queue: JobQueue,
        parser: DocumentParser,
        spaces: Spaces,
        progress: ProgressBoard,
        limits: Limits,
        visibility: Visibility,
        snapshots: Snapshots,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._staging = staging
        self._queue = queue
        self._parser = parser
        self._spaces = spaces
        self._progress = progress
        self._limits = limits
        self._visibility = visibility
        self._snapshots = snapshots
        self._admission = Admission(parser, limits)
        self._preconditions = Preconditions(catalog, versions)

    async def submit(self, name: str, request: IngestRequest, *, principal: Principal = LOCAL, idempotency_key: str | None = None) -> Job:
        """Stores the bytes and the job, durably, and queues it.

        Raises `NotFound` for the collection, `InvalidInput` when nothing acceptable is left or `strict` and one document is refused, `TooLarge`,
        `IdempotencyMismatch`, `PreconditionFailed`, `Busy` when too many jobs wait, `StorageFull`, and `Forbidden` for documents that the principal
        may not see. Groups of documents count from here on, whatever becomes of the job.
        """
        collection = await self._catalog.collection(name)
        check_form(request.expected_head)
        if await self._catalog.pending(name) >= self._limits.pending_jobs:
            raise Busy("Too many jobs wait for this collection; try again later.", retry_after=5.0)
        uploads, refused = await self._admit(request)
        await self._ensure_writable(collection, principal, request, uploads)
        # Only to refuse early: the lease is where it counts. With a key the job may be there already, and have moved the head itself.
        if request.expected_head is not None and idempotency_key is None:
            await self._preconditions.check(collection, await asyncio.to_thread(_planned, request, uploads, refused))
        groups = {upload.path: upload.groups for upload in uploads if upload.groups is not None}
        await self._visibility.give(collection, principal, groups)
        # A client that goes away between the two halves must not leave a job without its bytes.
        return await asyncio.shield(self._store(name, request, uploads, refused, principal.name, idempotency_key))

    async def submit_change(
        self,
        name: str,
        change: Change,
        message: str,
        *,
        principal: Principal = LOCAL,
        author: str = "local",
        expected_head: str | None = None,
    ) -> Job:
        """Queues one change that brings no bytes (rollback). Raises `PreconditionFailed`, `Forbidden`."""
        collection = await self._catalog.collection(name)
        request = ChangeRequest((change,), author=author, message=message, expected_head=expected_head)
        await self._visibility.ensure_writable(
            collection, principal, changed_paths(request.changes), everything=touches_everything(request)
        )
        await self._preconditions.check(collection, request)
        return await self.enqueue(await self._accept(name, new_id(), request, principal.name, None))

    async def plan(self, name: str, request: IngestRequest, *, principal: Principal = LOCAL) -> IngestPlan:
        """What `submit` would do now; changes nothing."""
        collection = await self._catalog.collection(name)
        uploads, refused = await self._admit(request)
        view = await self._ensure_writable(collection, principal, request, uploads)
        change = await asyncio.to_thread(_planned, request, uploads, refused)
        await self._preconditions.check(collection, change)
        head = await self._catalog.head(name)
        contents = {upload.path: upload.content for upload in uploads}

        async def load(put: Put) -> bytes:
            return contents[put.path]

        documents = Preparation(self._versions, self._parser, load)
        await documents.parse(collection.uid, head.id if head else None, change)
        resolved = await documents.resolve(collection.uid, head.id if head else None, change)
        paths = sorted({*resolved.puts, *resolved.removes})
        known = await self._versions.infos(collection.uid, head.id, paths) if head else {}
        space = collection.space(head.space_id if head else collection.space_id)
        index = collection.index_name(space.id)
        changed = [ChangedDocument(document.info, document.extracted) for document in resolved.puts.values()]
        chunks = await chunk_all(changed, self._spaces.embedder(space), space)
        old = await self._index.visible(index, head.seq, head.gaps, paths) if head else []
        plan = plan_chunks(old, chunks, attempt=0, commit_id="")
        return IngestPlan(
            head.id if head else None,
            tuple(path for path in paths if path in resolved.puts and path not in known),
            tuple(path for path in paths if path in resolved.puts and path in known),
            tuple(path for path in paths if path in resolved.removes and path in known),
            plan.added,
            plan.removed,
            plan.kept,
            await self._unknown(index, sorted({chunk.content_hash for chunk in plan.opens})) if view.whole else None,
            resolved.failures,
        )

    async def check(self, request: IngestRequest) -> None:
        """Raises what `submit` would raise for the request itself, whatever the collection; changes nothing."""
        await self._admit(request)

    async def job(self, job_id: str) -> Job:
        """Raises `NotFound`."""
        job = await self._catalog.job(job_id)
        self._snapshots.told(job)
        return job

    async def progress(self, job: Job) -> Progress:
        """How far a job is; phase `queued` for one that nobody has told anything of."""
        here = self._progress.get(job.id)
        if here.phase != "queued":
            return here
        if job.state in TERMINAL:
            return Progress("done")
        return await self._catalog.progress(job.id) or here

    async def jobs(self, name: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Job]:
        """Newest first, whoever asks."""
        return await self._catalog.jobs(name, before=before, limit=limit)

    async def wait(self, job_id: str, within: float) -> Job:
        """The job when it is terminal, or as it is after `within` seconds, or once this process works off no more jobs."""
        deadline = time.monotonic() + within
        pause = _FIRST_LOOK
        while True:
            change = self._progress.next_change(job_id)
            job = await self.job(job_id)
            left = deadline - time.monotonic()
            if job.state in TERMINAL or left <= 0 or self._progress.closed:
                return job
            # Another process may work on it, and tells nothing here.
            pause = min(LONGEST_LOOK, 1.5 * pause)
            await happens(change, min(left, pause))

    def watch(self, job_id: str) -> AsyncIterator[JobProgress]:
        """See `watched`."""

        async def look() -> tuple[bool, Progress]:
            job = await self.job(job_id)
            return job.state in TERMINAL, await self.progress(job)

        return watched(self._progress, job_id, look)

    def end_waits(self) -> None:
        """Whoever waits for a job gets it as it is. Call it when no job will be worked off any more."""
        self._progress.close()

    async def _admit(self, request: IngestRequest) -> tuple[list[Upload], list[DocumentFailure]]:
        for delete in request.deletes:
            if not delete.prefix:
                check_document_path(delete.path, "deletes.path")
        for move in request.moves:
            check_document_path(move.source, "moves.source")
            check_document_path(move.target, "moves.target")
        if sum(len(upload.content) for upload in request.uploads) > self._limits.request_bytes:
            raise TooLarge(
                f"documents: at most {self._limits.request_bytes:,} bytes in one request; split it into several.", field="documents"
            )
        uploads, refused = await asyncio.to_thread(self._admission.admit, request.uploads)
        if refused and (request.strict or not (uploads or request.deletes or request.moves)):
            raise Refused(refused)
        if not (uploads or request.deletes or request.moves or request.mirror):
            raise InvalidInput("documents: nothing to do; give documents, deletes or moves.", field="documents")
        return uploads, refused

    async def _ensure_writable(self, collection: Collection, principal: Principal, request: IngestRequest, uploads: list[Upload]) -> View:
        change = ChangeRequest((*request.moves, *request.deletes), mirror=request.mirror)
        paths = changed_paths(change.changes).union(upload.path for upload in uploads)
        return await self._visibility.ensure_writable(collection, principal, paths, everything=touches_everything(change))

    async def _stage(self, job_id: str, uploads: list[Upload]) -> list[Put]:
        puts: list[Put] = []
        for batch in batches(uploads, 32):
            # All of them end before an error is raised: bytes that come later would not be discarded.
            digests = await asyncio.gather(*(self._staging.put(job_id, upload.content) for upload in batch), return_exceptions=True)
            for upload, digest in zip(batch, digests, strict=True):
                if isinstance(digest, BaseException):
                    raise digest
                puts.append(_put(upload, digest))
        return puts

    async def _store(
        self,
        name: str,
        request: IngestRequest,
        uploads: list[Upload],
        refused: list[DocumentFailure],
        principal: str,
        idempotency_key: str | None,
    ) -> Job:
        job_id = new_id()
        try:
            puts = await self._stage(job_id, uploads)
        except BaseException:
            await self._staging.discard(job_id)
            raise
        changes: tuple[Change, ...] = (*request.moves, *request.deletes, *puts)
        try:
            accepted = await self._accept(name, job_id, _change_request(request, changes, refused), principal, idempotency_key)
        except Exception as error:  # whatever it was, the catalog knows whether the job is there
            accepted = await self._accepted(job_id, error)
        if accepted.id != job_id:  # sent before: that job has the bytes
            await self._staging.discard(job_id)
        return await self.enqueue(accepted)

    async def _accept(self, name: str, job_id: str, request: ChangeRequest, principal: str, key: str | None) -> Job:
        digest = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()
        job = Job(job_id, name, 0, request, principal, "queued", 0.0)
        return await self._catalog.accept(job, idempotency_key=key, body_digest=digest)

    async def _accepted(self, job_id: str, error: Exception) -> Job:
        """The job after all, when only the reply got lost; else its bytes go and `error` is raised. They stay when nobody knows."""
        try:
            return await self._catalog.job(job_id)
        except NotFound:
            await self._staging.discard(job_id)
        except RagstoneError:
            pass
        raise error

    async def enqueue(self, job: Job) -> Job:
        """Queues an accepted job, and returns it; a queue that is away is the sweeper's business."""
        if job.state not in TERMINAL:
            try:
                with deadline(_ENQUEUE):
                    await self._queue.enqueue(job.collection, job.id)
            except RagstoneError as error:  # the job is accepted, whoever sweeps will find it
                _log.warning("job %s of %s waits to be swept up: %s", job.id, job.collection, error.message)
        return job

    async def _unknown(self, index: str, hashes: list[str]) -> int:
        known = 0
        for batch in batches(hashes, 256):
            known += len(await self._index.vectors(index, batch))
        return len(hashes) - known


class Refused(InvalidInput):
    """Every document of a request was refused, or one of a strict request; tells the first one's reason."""

    def __init__(self, failures: list[DocumentFailure]) -> None:
        super().__init__(failures[0].message, field=failures[0].path)
        self.code, self.status, self.failures = failures[0].code, failures[0].status, tuple(failures)


def _put(upload: Upload, digest: str) -> Put:
    if upload.media_type is None:
        raise AssertionError("admission sets the media type")
    return Put(upload.path, upload.media_type, digest, len(upload.content), upload.metadata)


def _planned(request: IngestRequest, uploads: list[Upload], refused: list[DocumentFailure]) -> ChangeRequest:
    """The change as it would be accepted, its bytes not staged."""
    puts = [_put(upload, checksum(upload.content)) for upload in uploads]
    return _change_request(request, (*request.moves, *request.deletes, *puts), refused)


def _change_request(request: IngestRequest, changes: tuple[Change, ...], refused: list[DocumentFailure]) -> ChangeRequest:
    return replace(
        ChangeRequest(changes),
        mirror=request.mirror,
        mirror_prefix=request.mirror_prefix,
        strict=request.strict,
        expected_head=request.expected_head,
        exact_head=request.exact_head,
        author=request.author,
        message=request.message,
        rejected=tuple(refused),
    )
