"""Jobs that are given up: marked failed, so that the collection's next job runs, with their bytes kept until they are replayed or discarded."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass

from ragstone.domain.access import no_dead_letter
from ragstone.domain.collections import Lease
from ragstone.domain.dead_letters import DeadLetter, leaves_letter
from ragstone.domain.errors import Busy, Conflict, Gone, NotFound, RagstoneError, Unavailable, WorkerLost
from ragstone.domain.ids import new_id
from ragstone.domain.jobs import TERMINAL, Job, JobResult, Put
from ragstone.ports.catalog import Catalog
from ragstone.ports.dead_letters import DeadLetters
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.staging import Staging
from ragstone.use_cases.progress import ProgressBoard

_TTL = 60.0  # seconds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A letter, and the job that it is about."""

    letter: DeadLetter
    job: Job


class DeadLetterOffice:
    """Writes letters, shows them, and does with them what a person says. `holder` names this process."""

    def __init__(
        self, catalog: Catalog, staging: Staging, letters: DeadLetters, queue: JobQueue, progress: ProgressBoard, holder: str
    ) -> None:
        self._catalog = catalog
        self._staging = staging
        self._letters = letters
        self._queue = queue
        self._progress = progress
        self._holder = holder

    async def give_up(self, collection: str, job_id: str, tries: int, error: RagstoneError | None) -> bool:
        """Ends what the tries at a job failed at (`GiveUp`): the oldest job that it has to wait for, or it itself.

        Returns whether the job itself has ended. Raises `Unavailable` when that can't be done now.
        """
        try:
            asked = await self._catalog.job(job_id)
        except NotFound:  # its collection was deleted
            return True
        job = await self._catalog.next_job(collection)
        if job is None or job.number > asked.number:
            return True
        try:
            lease = await self._catalog.acquire(job.id, self._holder, _TTL)
        except Busy as busy:
            raise Unavailable(busy.message, retry_after=busy.retry_after) from busy
        except Conflict:  # it has just ended elsewhere
            return job.id == job_id
        reason = error or WorkerLost(
            f"Workers took the job {tries} times, and the last one did not come back to say how it went: it was killed, or ran out of memory."
        )
        await self.fail(
            lease, JobResult("failed", None, None, None, error_code=reason.code, error=reason.message, status=reason.status), tries
        )
        self._progress.done(job.id)
        return job.id == job_id

    async def fail(self, lease: Lease, result: JobResult, tries: int = 1) -> None:
        """Ends a job as failed; when that was not its sender's fault, a letter is there before anybody sees the job failed."""
        if leaves_letter(result):
            collection, code, error = lease.collection.name, result.error_code or "", result.error or ""
            await self._letters.put(DeadLetter(lease.job_id, collection, code, error, tries, self._holder, time.time()))
            _log.error("job %s of %s is given up: %s `ragstone dead-letters` shows it.", lease.job_id, collection, error)
        await self._catalog.fail(lease, result)

    async def page(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[DeadJob]:
        """The latest first. Raises `NotFound` for the collection."""
        if collection is not None:
            await self._catalog.collection(collection)
        found: list[DeadJob] = []
        while len(found) < limit and (letters := await self._letters.page(collection, before=before, limit=limit)):
            found += [dead for letter in letters if (dead := await self._dead(letter)) is not None]
            before = letters[-1].job_id
        return found[:limit]

    async def get(self, job_id: str) -> DeadJob:
        """Raises `NotFound`."""
        dead = await self._dead(await self._letters.get(job_id))
        if dead is None:
            raise no_dead_letter(job_id)
        return dead

    async def replay(self, job_id: str, principal: str = "local") -> Job:
        """Queues the same request with the same bytes as a new job; the letter goes. Done again after a crash, it gives the same new job.

        Raises `NotFound`, `Gone` when its bytes are no longer there, `StorageFull`.
        """
        dead = (await self.get(job_id)).job
        fresh = new_id()
        try:
            for change in dead.request.changes:
                if isinstance(change, Put):
                    await self._staging.put(fresh, await self._staging.get(job_id, change.staged))
            digest = hashlib.sha256(job_id.encode()).hexdigest()
            job = Job(fresh, dead.collection, 0, dead.request, principal, "queued", 0.0)
            accepted = await self._catalog.accept(job, idempotency_key=f"dead-letter/{job_id}", body_digest=digest)
        except NotFound as error:
            await self._staging.discard(fresh)
            raise Gone(f"The bytes of job {job_id} are no longer kept; discard its letter and send the documents again.") from error
        if accepted.id != fresh:
            await self._staging.discard(fresh)
        await self._forget(job_id)
        if accepted.state not in TERMINAL:
            try:
                await self._queue.enqueue(accepted.collection, accepted.id)
            except RagstoneError as error:  # the job is accepted, whoever sweeps will find it
                _log.warning("job %s of %s waits to be swept up: %s", accepted.id, accepted.collection, error.message)
        return accepted

    async def discard(self, job_id: str) -> DeadJob:
        """The letter and the bytes go; the job stays failed. Raises `NotFound`."""
        dead = await self.get(job_id)
        await self._forget(job_id)
        return dead

    async def purge(self, collection: str, path: str) -> None:
        """Forgets every letter whose bytes hold a document that is being erased."""
        before: str | None = None
        while letters := await self._letters.page(collection, before=before):
            for letter in letters:
                dead = await self._dead(letter)
                if dead is not None and any(isinstance(change, Put) and change.path == path for change in dead.job.request.changes):
                    await self._forget(letter.job_id)
            before = letters[-1].job_id

    async def keeps(self, job_id: str) -> bool:
        """Whether a finished job's bytes are still wanted."""
        try:
            job = await self._catalog.job(job_id)
            if job.result is None or not leaves_letter(job.result):
                return False
            await self._letters.get(job_id)
        except NotFound:
            return False
        return True

    async def _dead(self, letter: DeadLetter) -> DeadJob | None:
        """None when the job went on after all (the letter comes first), or went with its collection; that letter is taken away."""
        try:
            job = await self._catalog.job(letter.job_id)
        except NotFound:
            await self._forget(letter.job_id)
            return None
        if job.state in TERMINAL and job.state != "failed":
            await self._letters.remove(letter.job_id)
        return DeadJob(letter, job) if job.state == "failed" else None

    async def _forget(self, job_id: str) -> None:
        await self._letters.remove(job_id)  # first: bytes without a letter are swept up, a letter without bytes would promise too much
        await self._staging.discard(job_id)
