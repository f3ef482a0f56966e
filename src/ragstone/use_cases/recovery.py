"""What an owner does at start, and what it cleans up after attempts that came to nothing (DESIGN.md section 4, Recovery)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ragstone.domain.builds import UNFINISHED
from ragstone.domain.collections import Collection
from ragstone.domain.errors import Conflict, DataDirectoryError, InternalError, NotFound
from ragstone.domain.ids import made_at
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.ports.catalog import Catalog
from ragstone.ports.staging import Staging
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.bulk import BulkEmbedding
from ragstone.use_cases.dead_letters import DeadLetterOffice
from ragstone.use_cases.turns import Turns

_SURELY_GONE = 24 * 3600.0  # seconds; no request and no lease lasts as long
_log = logging.getLogger(__name__)


class Recovery:
    """Ends what was left half done.

    In a process that is the only writer of its stores, a holder of an aborted attempt is surely gone once its call has returned. Where stores are
    `shared`, what others are at is left alone, and an attempt that was taken from its holder is cleaned up a day later.
    """

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        staging: Staging,
        letters: DeadLetterOffice,
        *,
        shared: bool = False,
        turns: Turns | None = None,
        bulk: BulkEmbedding | None = None,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._staging = staging
        self._letters = letters
        self._shared = shared
        self._turns = turns or Turns()
        self._bulk = bulk

    async def start(self) -> list[Job]:
        """Ends what an earlier process left half done; returns the jobs to be queued, oldest first."""
        if self._shared:
            return await self._catalog.orphans()
        jobs = await self._catalog.requeue_orphans()
        for owner in set(await self._staging.jobs()) - {job.id for job in jobs}:
            if await self._has_ended(owner, unknown=True):
                await self._staging.discard(owner)
        await self._tidy_bulk()
        for collection in await self._catalog.collections():
            with _damage_told(collection):
                await self._make(collection)
                await self._mirror(collection)
                await self.clean(collection.name)
        return jobs

    async def tidy(self) -> None:
        """The same for what this process left half done, while it runs: an error came between, or a call was given up."""
        for owner in await self._staging.jobs():
            if await self._has_ended(owner, unknown=False):
                await self._staging.discard(owner)
        await self._tidy_bulk()
        for collection in await self._catalog.collections():
            with _damage_told(collection):
                await self._make(collection)
                if collection.uid not in {known.uid for known in await self._catalog.collections()}:  # deleted meanwhile
                    await self._unmake(collection)
                    continue
                await self._mirror(collection)
                await self.clean(collection.name)

    async def _tidy_bulk(self) -> None:
        """What was staged by shards for jobs and builds that have ended. They are looked for after it, so nothing is younger than the answer."""
        if self._bulk is None or not (owners := await self._bulk.owners()):
            return
        builds = {build.id for collection in await self._catalog.collections() for build in collection.builds if build.state in UNFINISHED}
        for owner in owners - builds:
            try:
                ended = (await self._catalog.job(owner)).state in TERMINAL
            except NotFound:  # a build that is over, or what a deleted collection had
                ended = True
            if ended:
                await self._bulk.forget(owner)

    async def _make(self, collection: Collection) -> None:
        """Repository and indexes, where whoever created the collection did not come that far.

        What a collection with commits lacks was lost: an empty one in its place would hide that. `ragstone doctor` makes it anew.
        """
        if await self._catalog.head(collection.name) is not None:
            return
        await self._versions.create(collection.uid)
        for space in collection.spaces:
            await self._index.create(collection.index_name(space.id), space)

    async def _unmake(self, collection: Collection) -> None:
        for index in collection.indexes:
            await self._index.drop(index)
        await self._versions.delete(collection.uid)

    async def _has_ended(self, job_id: str, *, unknown: bool) -> bool:
        """And nobody wants its bytes any more. `unknown`: the answer for a job that is not there; while jobs are accepted, its bytes come before it."""
        try:
            job = await self._catalog.job(job_id)
        except NotFound:
            return unknown or _given_up(job_id)
        return job.state in TERMINAL and not await self._letters.keeps(job.id)

    async def _mirror(self, collection: Collection) -> None:
        """`main` to the head; then branches of attempts that came to their end go: an earlier `advance` failed, or nobody got to it."""
        head = await self._catalog.head(collection.name)
        if head is not None:
            await self._versions.advance(collection.uid, head.id, head.seq)
        attempts = await self._versions.attempts(collection.uid)
        states = await self._catalog.attempts(collection.name) if attempts else {}
        ended = [attempt for attempt in attempts if states.get(attempt) in ("published", "unchanged")]
        await self._versions.drop_attempts(collection.uid, ended)

    async def clean(self, name: str) -> None:
        """Erases what aborted attempts of finished jobs, or of none, wrote, then retires their numbers. Never compares with the head."""
        if await self._cleanable(name):
            async with self._turns.filling(name):  # whoever fills a space here has ended its call, and is surely gone
                await self._clean(name, await self._cleanable(name))

    async def _cleanable(self, name: str) -> list[int]:
        return await self._catalog.aborted(name, gone_after=_SURELY_GONE if self._shared else 0.0)

    async def _clean(self, name: str, attempts: list[int]) -> None:
        if not attempts:  # another was faster
            return
        collection = await self._catalog.collection(name)
        for space in collection.spaces:
            await self._index.erase_attempts(collection.index_name(space.id), attempts)
            await self._index.flush(collection.index_name(space.id))
        for index in set(collection.indexes) - {collection.index_name(space.id) for space in collection.spaces}:
            # One that is being prepared may have been hit by what was on its way to an earlier index of its name; it is registered as it is then.
            with suppress(NotFound):
                if await self._index.exists(index):
                    await self._index.erase_attempts(index, attempts)
        await self._versions.drop_attempts(collection.uid, attempts)
        await self._catalog.retire(name, attempts)


def _given_up(job_id: str) -> bool:
    """Whether its bytes were staged so long ago that whoever staged them is not about to accept it."""
    made = made_at(job_id)
    return made is not None and time.time() - made > _SURELY_GONE


@contextmanager
def _damage_told(collection: Collection) -> Iterator[None]:
    """One damaged collection keeps neither the others nor the doctor from starting."""
    try:
        yield
    except (Conflict, DataDirectoryError, InternalError, NotFound) as error:
        _log.error("collection %s is damaged; run `ragstone doctor`: %s", collection.name, error.message)
