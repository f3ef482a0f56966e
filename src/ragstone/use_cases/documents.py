"""Reading documents as they were at a commit."""

from __future__ import annotations

from datetime import UTC, datetime

from ragstone.domain.access import EVERYTHING, View, no_document
from ragstone.domain.commits import Snapshot
from ragstone.domain.documents import DocumentInfo, StoredDocument
from ragstone.domain.errors import Gone, NotFound
from ragstone.domain.names import check_document_path
from ragstone.domain.retrieval import IndexedChunk
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.snapshots import Snapshots

_LEAST = 100  # documents looked at together, once some were left out


class Documents:
    """Every read takes `as_of` and `min_commit` as `Snapshots.resolve` does, and tells the snapshot it used."""

    def __init__(self, catalog: Catalog, versions: VersionStore, index: VectorIndex, snapshots: Snapshots) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._snapshots = snapshots

    async def page(
        self,
        name: str,
        *,
        as_of: str | None = None,
        min_commit: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        view: View = EVERYTHING,
    ) -> tuple[Snapshot, list[DocumentInfo]]:
        """Those that the view shows, in order of path, strictly after `after`."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit, indexed=False)
        found: list[DocumentInfo] = []
        wanted = limit
        async with self._snapshots.reading(collection, snapshot, indexed=False):
            while len(found) < limit:
                page = await self._versions.documents(collection.uid, snapshot.commit_id, prefix=prefix, after=after, limit=wanted)
                found += [info for info in page if view.shows(info.path)]
                if len(page) < wanted:
                    break
                after, wanted = page[-1].path, max(_LEAST, limit - len(found))
        return snapshot, found[:limit]

    async def get(
        self, name: str, path: str, *, as_of: str | None = None, min_commit: str | None = None, view: View = EVERYTHING
    ) -> tuple[Snapshot, StoredDocument]:
        """The document with its bytes and extracted text. Raises `NotFound`, and `Gone` for a document that was purged."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit, indexed=False)
        check_document_path(path)
        if not view.shows(path):
            raise no_document(path)
        try:
            async with self._snapshots.reading(collection, snapshot, indexed=False):
                return snapshot, await self._versions.read(collection.uid, snapshot.commit_id, path)
        except NotFound:
            await self._ensure_not_purged(snapshot, path)
            raise

    async def chunks(
        self, name: str, path: str, *, as_of: str | None = None, min_commit: str | None = None, view: View = EVERYTHING
    ) -> tuple[Snapshot, list[IndexedChunk]]:
        """The document's chunks in order; none where the view does not show it. Raises `Gone` for a document that was purged."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit)
        index = collection.index_name(snapshot.space_id)
        async with self._snapshots.reading(collection, snapshot):
            wanted = [path] if view.shows(check_document_path(path)) else []
            chunks = await self._index.visible(index, snapshot.seq, snapshot.gaps, wanted, groups=view.filter)
        if wanted and not chunks:
            await self._ensure_not_purged(snapshot, path)
        return snapshot, chunks

    async def _ensure_not_purged(self, snapshot: Snapshot, path: str) -> None:
        for purge in await self._catalog.purges(snapshot.collection, path):
            if snapshot.seq <= purge.seq:
                day = datetime.fromtimestamp(purge.begun_at, UTC).date()
                raise Gone(f"{path} was purged on {day}: it is in no commit of that time any more.", field="path")
