"""Reading documents as they were at a commit."""

from __future__ import annotations

from ragstone.domain.commits import Snapshot
from ragstone.domain.documents import DocumentInfo, StoredDocument
from ragstone.domain.names import check_document_path
from ragstone.domain.retrieval import IndexedChunk
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.snapshots import Snapshots


class Documents:
    """Every read takes `as_of` and `min_commit` as `Snapshots.resolve` does, and tells the snapshot it used."""

    def __init__(self, versions: VersionStore, index: VectorIndex, snapshots: Snapshots) -> None:
        self._versions = versions
        self._index = index
        self._snapshots = snapshots

    async def page(
        self, name: str, *, as_of: str | None = None, min_commit: str | None = None, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[Snapshot, list[DocumentInfo]]:
        """In order of path, strictly after `after`."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit)
        page = await self._versions.documents(collection.uid, snapshot.commit_id, prefix=prefix, after=after, limit=limit)
        return snapshot, page

    async def get(
        self, name: str, path: str, *, as_of: str | None = None, min_commit: str | None = None
    ) -> tuple[Snapshot, StoredDocument]:
        """The document with its bytes and extracted text. Raises `NotFound`."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit)
        return snapshot, await self._versions.read(collection.uid, snapshot.commit_id, check_document_path(path))

    async def chunks(
        self, name: str, path: str, *, as_of: str | None = None, min_commit: str | None = None
    ) -> tuple[Snapshot, list[IndexedChunk]]:
        """The document's chunks in order."""
        collection, snapshot = await self._snapshots.resolve(name, as_of, min_commit)
        chunks = await self._index.visible(
            collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, [check_document_path(path)]
        )
        await self._snapshots.ensure_readable(collection, snapshot)
        return snapshot, chunks
