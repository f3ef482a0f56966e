"""Erasure: one document is taken out of every commit, every index and every logged answer; an audit record stays (ADR 0010).

Commit ids stay. The record is written first, so that a purge that was cut short is finished at the next start; each step can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

from ragstone.domain.access import Principal, Scope
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import InternalError, NotFound, Unavailable
from ragstone.domain.ids import new_id
from ragstone.domain.interactions import InteractionFilter
from ragstone.domain.jobs import TERMINAL, Delete
from ragstone.domain.names import check_document_path
from ragstone.domain.retention import Purge
from ragstone.ports.catalog import Catalog
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.bulk import BulkEmbedding
from ragstone.use_cases.dead_letters import DeadLetterOffice
from ragstone.use_cases.ingest import Ingest
from ragstone.use_cases.maintenance import Maintenance
from ragstone.use_cases.snapshots import Snapshots

_PAGE = 1000
_DELETED_WITHIN = 300.0  # seconds that the deletion of the document may wait for older jobs


class Erasure:
    """Purges documents."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        interactions: InteractionLog,
        ingest: Ingest,
        snapshots: Snapshots,
        maintenance: Maintenance,
        letters: DeadLetterOffice,
        bulk: BulkEmbedding | None = None,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._interactions = interactions
        self._ingest = ingest
        self._snapshots = snapshots
        self._maintenance = maintenance
        self._letters = letters
        self._bulk = bulk

    async def purge(self, name: str, path: str, *, principal: str = "local", reason: str = "") -> Purge:
        """Erases the document at `path` from all of the collection's past and present; returns the audit record, done.

        Raises `NotFound` when neither a commit nor a logged answer holds it, `Unavailable` when its deletion waits too long for older jobs.
        """
        path = check_document_path(path)
        collection = await self._catalog.collection(name)
        head = await self._catalog.head(name)
        if head is None or not (await self._holding(collection, path) or await self._logged(name, path)):
            raise NotFound(f"no commit of collection {name!r} and no logged answer holds {path[:200]!r}.", field="path")
        same = await self._same_content(collection, head, path)
        async with self._maintenance.exclusive(name):
            record = Purge(new_id(), name, path, await self._deleted(collection, path, principal), principal, reason, "begun", time.time())
            begun = await self._catalog.begin_purge(replace(record, same_content=same))
            if begun.id != record.id:  # an earlier one, of an earlier seq, that was cut short
                await self._erase(collection, begun)
                begun = await self._catalog.begin_purge(replace(record, same_content=same))
            # From here no rollback is published; one that was before may have brought the document back.
            return await self._erase(collection, replace(begun, seq=await self._deleted(collection, path, principal)))

    async def resume(self) -> None:
        """Finishes what an earlier process began."""
        for collection in await self._catalog.collections():
            for record in await self._catalog.purges(collection.name):
                if record.state == "begun":
                    async with self._maintenance.exclusive(collection.name):
                        await self._erase(collection, await self._catalog.begin_purge(record))

    async def purges(self, name: str) -> list[Purge]:
        """The audit records, newest first."""
        return await self._catalog.purges(name)

    async def _erase(self, collection: Collection, record: Purge) -> Purge:
        self._snapshots.purged(record)  # from now on nobody logs what it read before
        await self._letters.purge(collection.name, record.path)
        await self._forget_staged(collection)
        points = 0
        # Read now: a space that was registered before the document was deleted may hold it; and the index of one that was dropped, until it is deleted.
        for index in (await self._catalog.collection(collection.name)).indexes:
            if not await self._index.exists(index):
                continue
            points += await self._index.erase_path(index, record.path, record.seq)
            await self._index.flush(index)
            await self._index.compact(index)
        holding = await self._holding(collection, record.path, until=record.seq)
        commits = await self._versions.forget(collection.uid, record.path, holding)
        await self._drop_branches(collection, record.seq)
        kept = [commit.id async for commit in self._readable(collection.name)]  # newest first; what is published meanwhile stays too
        await self._versions.collect(collection.uid, kept, since=kept[0] if kept else None)
        interactions = await self._interactions.erase(collection.name, record.path)
        await self._forget_staged(collection)  # what was ordered just when the document was deleted
        await self._catalog.compact()
        done = replace(
            record,
            state="done",
            done_at=time.time(),
            commits=record.commits + commits,
            points=record.points + points,
            interactions=record.interactions + interactions,
        )
        await self._catalog.finish_purge(done)
        return done

    async def _forget_staged(self, collection: Collection) -> None:
        """Texts that wait for shards may be the document's. Jobs before its deletion have ended; a build begins its window anew."""
        if self._bulk is not None:
            for build in (await self._catalog.collection(collection.name)).builds:
                await self._bulk.forget(build.id)

    async def _drop_branches(self, collection: Collection, seq: int) -> None:
        """Those of attempts before `seq` that came to nothing, and never will: what they brought must not be kept for their sake."""
        states = await self._catalog.attempts(collection.name)
        branches = [attempt for attempt in await self._versions.attempts(collection.uid) if attempt < seq]
        await self._versions.drop_attempts(collection.uid, [attempt for attempt in branches if states.get(attempt) != "published"])

    async def _deleted(self, collection: Collection, path: str, principal: str) -> int:
        """The seq of a commit from which on the document is not in the head; it is deleted if need be."""
        head = await self._catalog.head(collection.name)
        if head is None or path not in await self._versions.infos(collection.uid, head.id, [path]):
            return head.seq if head else 0
        job = await self._ingest.submit_change(
            collection.name, Delete(path), f"Purge {path}", principal=Principal(principal, Scope.ADMIN), author=principal
        )
        job = await self._ingest.wait(job.id, _DELETED_WITHIN)
        if job.state not in TERMINAL:
            raise Unavailable("The document's deletion waits for older jobs; purge it again when they are done.", retry_after=60.0)
        if job.result is None or job.result.seq is None:
            raise InternalError(
                f"The document could not be deleted ({job.result.error if job.result else 'no result'}); nothing was purged."
            )
        return job.result.seq

    async def _holding(self, collection: Collection, path: str, until: int | None = None) -> list[str]:
        """Ids of the readable commits that hold the document."""
        return [
            commit.id
            async for commit in self._readable(collection.name)
            if (until is None or commit.seq <= until) and path in await self._versions.infos(collection.uid, commit.id, [path])
        ]

    async def _readable(self, name: str) -> AsyncIterator[Commit]:
        before: int | None = None
        while page := await self._catalog.commits(name, before=before, limit=_PAGE):
            for commit in page:
                if commit.pruned_at is None:
                    yield commit
            before = page[-1].seq

    async def _logged(self, name: str, path: str) -> bool:
        return bool(await self._interactions.page(InteractionFilter(collection=name, path=path), limit=1))

    async def _same_content(self, collection: Collection, head: Commit, path: str) -> tuple[str, ...]:
        """Other documents of the head with the very same bytes."""
        known = await self._versions.infos(collection.uid, head.id, [path])
        found: list[str] = []
        after = ""
        while known and (page := await self._versions.documents(collection.uid, head.id, after=after, limit=_PAGE)):
            found += [info.path for info in page if info.checksum == known[path].checksum and info.path != path]
            after = page[-1].path
        return tuple(found)
