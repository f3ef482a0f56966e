"""Reading and marking a collection's history: log, show, diff, tags, rollback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ragstone.domain.access import EVERYTHING, LOCAL, Principal, View
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, DocumentChange, Snapshot, Tag
from ragstone.domain.errors import Gone
from ragstone.domain.jobs import Job, Restore
from ragstone.domain.names import check_tag_name
from ragstone.domain.retrieval import IndexedChunk
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.ingest import Ingest
from ragstone.use_cases.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Difference:
    """What `after` has otherwise than `before`. A chunk that only moved is kept. `chunks_kept` None: not told, for some may be kept from whoever asks."""

    before: Commit | None
    after: Commit
    documents: tuple[DocumentChange, ...]
    chunks_added: tuple[IndexedChunk, ...]
    chunks_removed: tuple[IndexedChunk, ...]
    chunks_kept: int | None


class History:
    """Versioning of one collection, for people."""

    def __init__(self, catalog: Catalog, versions: VersionStore, index: VectorIndex, snapshots: Snapshots, ingest: Ingest) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._snapshots = snapshots
        self._ingest = ingest

    async def log(self, name: str, *, before: int | None = None, limit: int = 50) -> list[Commit]:
        """Commits, newest first; `before` is a seq."""
        await self._catalog.collection(name)
        return await self._catalog.commits(name, before=before, limit=limit)

    async def show(self, name: str, reference: str, view: View = EVERYTHING) -> Difference:
        """A commit against the one before it. Raises `Gone` when that one was pruned."""
        commit = await self._snapshots.commit(name, reference)
        try:
            parent = await self._catalog.commit(name, commit.parent_id) if commit.parent_id else None
        except Gone:
            raise Gone(
                f"The commit before #{commit.position} was pruned, so what #{commit.position} changed can't be shown; `ragstone log` has its counts."
            ) from None
        return await self._difference(await self._catalog.collection(name), parent, commit, view)

    async def diff(self, name: str, before: str, after: str, view: View = EVERYTHING) -> Difference:
        """Two commits, in any order; raises `NotFound`."""
        first, second = await self._snapshots.commit(name, before), await self._snapshots.commit(name, after)
        return await self._difference(await self._catalog.collection(name), first, second, view)

    async def tag(self, name: str, tag: str, reference: str) -> Tag:
        """Raises `InvalidInput` for a bad name, `Conflict` when another commit has it."""
        commit = await self._snapshots.commit(name, reference)
        return await self._catalog.tag(name, check_tag_name(tag), commit.id)

    async def untag(self, name: str, tag: str) -> None:
        """Raises `NotFound`."""
        await self._catalog.untag(name, tag)

    async def tags(self, name: str) -> list[Tag]:
        """Newest first."""
        await self._catalog.collection(name)
        return await self._catalog.tags(name)

    async def rollback(
        self,
        name: str,
        reference: str,
        *,
        principal: Principal = LOCAL,
        author: str = "local",
        message: str = "",
        expected_head: str | None = None,
    ) -> Job:
        """Queues a new commit whose documents equal those of `reference`; nothing is embedded. `expected_head`: the commit that must be the head."""
        commit = await self._snapshots.commit(name, reference)
        message = message or f"Roll back to #{commit.position} ({commit.id[:12]})"
        return await self._ingest.submit_change(
            name, Restore(commit.id), message, principal=principal, author=author, expected_head=expected_head
        )

    async def _difference(self, collection: Collection, before: Commit | None, after: Commit, view: View) -> Difference:
        async with self._snapshots.reading(collection, *(Snapshot.of(commit, was_head=False) for commit in (before, after) if commit)):
            changes = await self._versions.diff(collection.uid, before.id if before else None, after.id)
            documents = [change for change in changes if view.shows(change.path)]
            old = await self._chunks(collection, before, [change.path for change in documents if change.kind != "added"], view)
            new = await self._chunks(collection, after, [change.path for change in documents if change.kind != "removed"], view)
        keys_old, keys_new = _keys(old), _keys(new)
        return Difference(
            before,
            after,
            tuple(documents),
            tuple(chunk for key, chunk in keys_new.items() if key not in keys_old),
            tuple(chunk for key, chunk in keys_old.items() if key not in keys_new),
            after.stats.chunks - len(keys_new.keys() - keys_old.keys()) if view.whole else None,
        )

    async def _chunks(self, collection: Collection, commit: Commit | None, paths: list[str], view: View) -> list[IndexedChunk]:
        if commit is None or not paths:
            return []
        return await self._index.visible(collection.index_name(commit.space_id), commit.seq, commit.gaps, paths, groups=view.filter)


def _keys(chunks: Iterable[IndexedChunk]) -> dict[tuple[str, str, int], IndexedChunk]:
    return {(chunk.path, chunk.content_hash, chunk.occurrence): chunk for chunk in chunks}
