"""Which commit a read is answered from (DESIGN.md section 5, steps 1 and 3)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from collections.abc import Collection as Collection_
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, Snapshot
from ragstone.domain.errors import Gone, InvalidInput, NotFound, RagstoneError, Unavailable
from ragstone.domain.jobs import Job
from ragstone.domain.retention import Purge
from ragstone.ports.catalog import Catalog

HEAD_TTL = 1.0  # seconds; an answer is never older than this
_POSITION = re.compile(r"#([0-9]{1,12})")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Snapshots:
    """Resolves `as_of` and `min_commit`. Heads are kept in memory for `HEAD_TTL` seconds and only ever move forward."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._clock = clock
        self._heads: dict[str, tuple[float, Collection, Commit]] = {}
        self._told: dict[str, int] = {}  # seqs that a head has reached, until one was read later than that was told
        self._purged: list[Purge] = []

    async def resolve(
        self, name: str, as_of: str | None = None, min_commit: str | None = None, *, indexed: bool = True
    ) -> tuple[Collection, Snapshot]:
        """The collection and the one snapshot that a read uses. `indexed`: an index is read, not the version store alone.

        `as_of`: None or `head`, a commit id (or 7 or more of its digits), `#position`, a tag, or an ISO 8601 time. `min_commit`: a commit that the
        head must have reached. Raises `NotFound`, `InvalidInput`, `Gone`, `Unavailable`.
        """
        if as_of is None or as_of == "head":
            collection, head = await self._head(name, min_commit)
            return collection, Snapshot.of(head, was_head=True)
        commit = await self.commit(name, as_of)
        collection = await self._catalog.collection(name)  # read after the commit, whose space is registered before it
        if indexed:
            _ensure_held(collection, Snapshot.of(commit, was_head=False))
        if min_commit is not None and (await self._catalog.commit(name, min_commit)).seq > commit.seq:
            raise InvalidInput("min_commit: it is newer than as_of; leave one of them out.", field="min_commit")
        return collection, Snapshot.of(commit, was_head=False)

    async def commit(self, name: str, reference: str) -> Commit:
        """The commit that `reference` (as for `as_of`) names."""
        if reference == "head":
            return (await self._head(name, None))[1]
        if position := _POSITION.fullmatch(reference):
            return await self._catalog.commit_at_position(name, int(position[1]))
        if _COMMIT.fullmatch(reference):
            return await self._catalog.commit(name, reference)
        for tag in await self._catalog.tags(name):
            if tag.name == reference:
                return await self._catalog.commit(name, tag.commit_id)
        moment = _time(reference)
        if moment is None:
            raise NotFound(f"as_of: there is no commit, tag or time {reference[:100]!r} in collection {name!r}.", field="as_of")
        return await self._catalog.commit_at_time(name, moment)

    def published(self, collection: Collection, commit: Commit) -> None:
        """Tells that `commit` became a head; readers see it from now on."""
        known = self._heads.get(commit.collection)
        if known is None or known[1].uid != collection.uid or known[2].seq < commit.seq:
            self._heads[commit.collection] = (self._clock(), collection, commit)

    def told(self, job: Job) -> None:
        """Before anybody is told that a job has ended: whoever was told reads its commit, which another worker may have published, or this one in this moment."""
        if job.result is not None and job.result.seq is not None:
            self._told[job.collection] = max(job.result.seq, self._told.get(job.collection, 0))

    def forget(self, name: str) -> None:
        """Tells that the collection was deleted."""
        self._heads.pop(name, None)
        self._told.pop(name, None)

    @asynccontextmanager
    async def reading(self, collection: Collection, *snapshots: Snapshot, indexed: bool = True) -> AsyncIterator[None]:
        """Around reads of index or version store: raises `Gone`, whatever they raised or gave, when a snapshot was pruned or deleted meanwhile, or its space dropped."""
        try:
            yield
        except RagstoneError:
            for snapshot in snapshots:
                await self.ensure_readable(collection, snapshot, indexed=indexed)
            raise
        for snapshot in snapshots:
            await self.ensure_readable(collection, snapshot, indexed=indexed)

    async def ensure_readable(self, collection: Collection, snapshot: Snapshot, *, indexed: bool = True) -> None:
        """After the last read: what was read is still kept. Raises `Gone` if it was pruned or deleted meanwhile, or, where it was `indexed`, its space dropped.

        What is pruned is deleted no sooner than twice `HEAD_TTL` after it was marked (`retention.GRACE`). So for a head that memory confirms there
        is nothing to ask: at most `HEAD_TTL` ago it was the head, and no head is ever marked.
        """
        if snapshot.was_head and self._confirmed(collection, snapshot):
            return
        try:
            current = await self._catalog.collection(collection.name)
            await self._catalog.commit(collection.name, snapshot.commit_id)
        except NotFound:
            current = None
        if current is None or current.uid != collection.uid:
            raise Gone(f"Commit {snapshot.commit_id} of collection {collection.name!r} was removed while it was read.")
        if indexed:
            _ensure_held(current, snapshot)

    def purged(self, purge: Purge) -> None:
        """Tells that an erasure has begun: whoever read the document before must not store what it read."""
        self._purged.append(purge)

    def ensure_not_purged(self, snapshot: Snapshot, paths: Collection_[str]) -> None:
        """Before something that was read is stored. Raises `Gone` when one of the documents was purged since this process began."""
        for purge in self._purged:
            if purge.collection == snapshot.collection and snapshot.seq <= purge.seq and purge.path in paths:
                raise Gone(f"{purge.path} was purged while it was read; ask again.")

    async def purged_meanwhile(self, snapshot: Snapshot, paths: Collection_[str]) -> list[str]:
        """After something that was read is stored: which of the documents have been purged since, or are, by whichever process.

        A purge writes its record before it erases, so what was stored before it looked is erased by it, and what was stored later finds the record.
        """
        purges = await self._catalog.purges(snapshot.collection)
        return sorted({purge.path for purge in purges if snapshot.seq <= purge.seq and purge.path in paths})

    def _confirmed(self, collection: Collection, snapshot: Snapshot) -> bool:
        known = self._heads.get(collection.name)
        fresh = known is not None and self._clock() - known[0] <= HEAD_TTL
        return known is not None and fresh and (known[1].uid, known[2].seq) == (collection.uid, snapshot.seq)

    async def _head(self, name: str, min_commit: str | None) -> tuple[Collection, Commit]:
        known = self._heads.get(name)
        if known is None or self._clock() - known[0] > HEAD_TTL or known[2].seq < self._told.get(name, 0):
            known = await self._refresh(name)
        if min_commit is not None and known[2].id != min_commit:
            wanted = await self._catalog.commit(name, min_commit)
            if wanted.seq > known[2].seq:
                known = await self._refresh(name)
            if wanted.seq > known[2].seq:
                raise Unavailable("min_commit: this server has not seen that commit yet; try again.", field="min_commit", retry_after=1.0)
        return known[1], known[2]

    async def _refresh(self, name: str) -> tuple[float, Collection, Commit]:
        asked, told = self._clock(), self._told.get(name)
        collection, head = await asyncio.gather(self._catalog.collection(name), self._catalog.head(name))
        if head is None:
            raise NotFound(f"Collection {name!r} is empty; ingest a document first.", field="collection")
        if not collection.has_space(head.space_id):  # they were read at different times
            collection, head = await self._catalog.collection(name), await self._catalog.head(name) or head
        known = self._heads.get(name)
        if known is None or known[1].uid != collection.uid or known[2].seq <= head.seq:
            known = (asked, collection, head)
            self._heads[name] = known
        if self._told.get(name) == told:
            self._told.pop(name, None)
        return known


def _ensure_held(collection: Collection, snapshot: Snapshot) -> None:
    if not collection.holds(snapshot.space_id, snapshot.seq):
        raise Gone(
            f"Commit #{snapshot.position} of collection {collection.name!r} was read from embedding space {snapshot.space_id}, which was dropped; "
            "ask as of a later commit. Its documents are there.",
            field="as_of",
        )


def _time(reference: str) -> float | None:
    try:
        moment = datetime.fromisoformat(reference)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
