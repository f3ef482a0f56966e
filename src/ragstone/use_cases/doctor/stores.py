"""The check-up of everything but the points: branches and commits, jobs and their bytes, the catalog, free space."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ragstone.domain.errors import DataDirectoryError, NotFound
from ragstone.domain.findings import Finding
from ragstone.domain.ids import made_at
from ragstone.domain.jobs import TERMINAL, Job, Put
from ragstone.ports.catalog import Catalog
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.staging import Staging
from ragstone.ports.storage import Storage
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.doctor.points import SPARE
from ragstone.use_cases.doctor.truth import Facts
from ragstone.use_cases.doctor.words import finding
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.recovery import Recovery

_AGAIN = (0.1, 0.4)  # seconds after which what a writer may be about to do is looked at again
_ACCEPTING = 600.0  # seconds that may lie between a job's id and its acceptance: its documents are being received
_ENDING = 60.0  # seconds that a job's bytes may outlive it
_AMPLE = 4  # times the space that is needed
_PAGE = 1000

Cure = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ailment:
    """A finding with its cure, if there is one."""

    finding: Finding
    cure: Cure | None = None


class Stores:
    """Looks at the stores beside running writers: what may be on its way is looked at again before it is told."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        staging: Staging,
        queue: JobQueue,
        progress: ProgressBoard,
        recovery: Recovery,
        storage: Storage | None,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._staging = staging
        self._queue = queue
        self._progress = progress
        self._recovery = recovery
        self._storage = storage

    async def whole(self) -> list[Ailment]:
        """What belongs to no collection."""
        found = [Ailment(finding("damaged-catalog", None, sentence)) for sentence in await self._catalog.check()]
        if self._storage is not None:
            free, needed = await self._storage.free()
            if free < _AMPLE * needed:
                left = f"{free / 2**20:,.0f} MiB left, {needed / 2**20:,.0f} MiB needed"
                found.append(Ailment(finding("little-space", None, left, count=free, severity="error" if free < needed else "warning")))
        return [*found, *await self._leftovers(), *await self._deleted()]

    async def commits(self, facts: Facts) -> tuple[list[Ailment], frozenset[str]]:
        """The version store against the catalog; and the ids of the kept commits that can't be read whole."""
        collection = facts.collection
        try:
            found = [*await self._main(facts), *await self._branches(facts)]
            unreadable = frozenset(await self._versions.verify(collection.uid, [commit.id for commit in facts.readable]))
        except (NotFound, DataDirectoryError) as error:
            lost = Ailment(finding("lost-versions", collection.name, error.message))
            return [lost], frozenset(commit.id for commit in facts.readable)
        for commit in facts.readable:
            if commit.id in unreadable:
                what = f"commit #{commit.position} ({commit.id[:12]})"
                found.append(Ailment(finding("unreadable-commit", collection.name, what)))
        return found, unreadable

    async def jobs(self, facts: Facts) -> list[Ailment]:
        """Jobs that nobody works on, and such whose bytes are gone."""
        name = facts.collection.name
        found = [Ailment(finding("lost-bytes", name, f"job {job.id}")) for job in await self._robbed(name)]
        stuck = await self._stuck(name)
        if stuck is not None:
            found.append(Ailment(finding("stuck-job", name, f"job {stuck.id} ({stuck.state})"), partial(self._enqueue, stuck)))
        remains = await self._catalog.aborted(name)
        if remains:
            await asyncio.sleep(_AGAIN[-1])  # whoever gave them up may be at cleaning
            remains = [attempt for attempt in await self._catalog.aborted(name) if attempt in remains]
        if remains:
            what = f"attempts {_listed(remains)}"
            found.append(Ailment(finding("remains", name, what, count=len(remains)), partial(self._recovery.clean, name)))
        return found

    async def _main(self, facts: Facts) -> list[Ailment]:
        collection, head = facts.collection, facts.head
        main = before = await self._versions.main(collection.uid)
        for pause in _AGAIN:
            if head is None or main == head.id:
                return []
            await asyncio.sleep(pause)  # a writer has just published, and is bringing it forward
            head, main = await self._catalog.head(collection.name), await self._versions.main(collection.uid)
        if head is None or main == head.id or main != before:  # it follows
            return []
        forward = partial(self._versions.advance, collection.uid, head.id)
        if main is None:
            return [Ailment(finding("lost-main", collection.name, "branch main"), forward)]
        if main in facts.published.values():
            return [Ailment(finding("main-behind", collection.name, f"branch main at {main[:12]}"), forward)]
        return [Ailment(finding("foreign-main", collection.name, f"branch main at {main[:12]}"))]

    async def _branches(self, facts: Facts) -> list[Ailment]:
        repo, name = facts.collection.uid, facts.collection.name
        doomed = await self._ended(repo, name)
        if doomed:
            await asyncio.sleep(_AGAIN[-1])  # whoever ended them may be about to drop them
            doomed = [attempt for attempt in await self._ended(repo, name) if attempt in doomed]
        drop = partial(self._versions.drop_attempts, repo, doomed)
        return [Ailment(finding("orphan-branch", name, f"attempt {_listed(doomed)}", count=len(doomed)), drop)] if doomed else []

    async def _ended(self, repo: str, name: str) -> list[int]:
        """Attempts with a branch that are neither at work nor still to be cleaned. Branches are read first: their attempts are older."""
        branches = await self._versions.attempts(repo)
        states = await self._catalog.attempts(name) if branches else {}
        return [attempt for attempt in branches if states.get(attempt) not in ("active", "aborted")]

    async def _robbed(self, name: str) -> list[Job]:
        """Jobs that wait for bytes which are not there."""
        waiting = [job for job in await self._catalog.jobs(name, limit=_PAGE) if job.state not in TERMINAL]
        kept = set(await self._staging.jobs()) if waiting else set()
        suspects = [job for job in waiting if _staged(job) and (job.id not in kept or await self._lacks(job))]
        return [job for job in suspects if (await self._catalog.job(job.id)).state not in TERMINAL]  # else its end took them

    async def _lacks(self, job: Job) -> bool:
        for put in _staged(job):
            try:
                await self._staging.get(job.id, put.staged)
            except NotFound:
                return True
        return False

    async def _stuck(self, name: str) -> Job | None:
        """The oldest unfinished job, if nobody has it."""
        job = await self._idle(name)
        if job is None:
            return None
        await asyncio.sleep(sum(_AGAIN))
        again = await self._idle(name)
        return again if again is not None and again.id == job.id else None

    async def _idle(self, name: str) -> Job | None:
        job = await self._catalog.next_job(name)
        if job is None or self._progress.get(job.id).phase != "queued" or "active" in (await self._catalog.attempts(name)).values():
            return None
        return job

    async def _enqueue(self, job: Job) -> None:
        await self._catalog.release(job.id)
        await self._queue.enqueue(job.collection, job.id)

    async def _leftovers(self) -> list[Ailment]:
        """Staged bytes that no job needs."""
        return [
            Ailment(finding("leftover-bytes", None, f"staged for {owner}"), partial(self._staging.discard, owner))
            for owner in await self._staging.jobs()
            if await self._needless(owner)
        ]

    async def _deleted(self) -> list[Ailment]:
        """Indexes and repositories of collections that are no more, and indexes that an earlier repair did not end. They are listed first: each is younger than its collection's record."""
        doomed = await self._ownerless()
        if doomed:
            await asyncio.sleep(_AGAIN[-1])  # whoever deletes the collection may be at it
            doomed = [one for one in await self._ownerless() if one in doomed]
        drops = {"index": self._index.drop, "versions": self._versions.delete}
        return [Ailment(finding("orphan-collection", None, f"{kind} {name}"), partial(drops[kind], name)) for kind, name in doomed]

    async def _ownerless(self) -> list[tuple[str, str]]:
        indexes, repositories = await self._index.names(), await self._versions.repositories()
        uids = {collection.uid for collection in await self._catalog.collections()}
        orphans = [("index", name) for name in indexes if name.endswith(SPARE) or name.rsplit("-", 2)[-2:][0] not in uids]
        return orphans + [("versions", repo) for repo in repositories if repo not in uids]

    async def _needless(self, owner: str) -> bool:
        try:
            job = await self._catalog.job(owner)
        except NotFound:
            return time.time() - (made_at(owner) or 0.0) > _ACCEPTING
        return job.state in TERMINAL and time.time() - (job.finished_at or 0.0) > _ENDING


def _staged(job: Job) -> list[Put]:
    return [change for change in job.request.changes if isinstance(change, Put)]


def _listed(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    return ", ".join(listed[:10]) + (" …" if len(listed) > 10 else "")
