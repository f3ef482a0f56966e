"""What an owner does at start, and what it cleans up after attempts that came to nothing (DESIGN.md section 4, Recovery)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ragstone.domain.collections import Collection
from ragstone.domain.errors import Conflict, DataDirectoryError, InternalError, NotFound
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.ports.catalog import Catalog
from ragstone.ports.staging import Staging
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore

_log = logging.getLogger(__name__)


class Recovery:
    """For a process that is the only writer of its stores: a holder of an aborted attempt is surely gone once its call has returned."""

    def __init__(self, catalog: Catalog, versions: VersionStore, index: VectorIndex, staging: Staging) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._staging = staging

    async def start(self) -> list[Job]:
        """Ends what an earlier process left half done; returns the jobs to be queued, oldest first."""
        jobs = await self._catalog.requeue_orphans()
        for owner in set(await self._staging.jobs()) - {job.id for job in jobs}:
            await self._staging.discard(owner)
        for collection in await self._catalog.collections():
            with _damage_told(collection):
                await self._make(collection)
                await self._mirror(collection)
                await self.clean(collection.name)
        return jobs

    async def tidy(self) -> None:
        """The same for what this process left half done, while it runs: an error came between, or a call was given up."""
        for owner in await self._staging.jobs():
            if await self._has_ended(owner):
                await self._staging.discard(owner)
        for collection in await self._catalog.collections():
            with _damage_told(collection):
                await self._make(collection)
                if collection.uid not in {known.uid for known in await self._catalog.collections()}:  # deleted meanwhile
                    await self._unmake(collection)
                    continue
                await self._mirror(collection)
                await self.clean(collection.name)

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
        for space in collection.spaces:
            await self._index.drop(collection.index_name(space.id))
        await self._versions.delete(collection.uid)

    async def _has_ended(self, job_id: str) -> bool:
        try:
            return (await self._catalog.job(job_id)).state in TERMINAL
        except NotFound:  # its bytes come before it
            return False

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
        """Erases what aborted attempts of finished jobs wrote, then retires their numbers. Never compares with the head."""
        attempts = await self._catalog.aborted(name)
        if not attempts:
            return
        collection = await self._catalog.collection(name)
        for space in collection.spaces:
            await self._index.erase_attempts(collection.index_name(space.id), attempts)
            await self._index.flush(collection.index_name(space.id))
        await self._versions.drop_attempts(collection.uid, attempts)
        await self._catalog.retire(name, attempts)


@contextmanager
def _damage_told(collection: Collection) -> Iterator[None]:
    """One damaged collection keeps neither the others nor the doctor from starting."""
    try:
        yield
    except (Conflict, DataDirectoryError, InternalError, NotFound) as error:
        _log.error("collection %s is damaged; run `ragstone doctor`: %s", collection.name, error.message)
