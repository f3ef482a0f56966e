"""The switch of a collection's reads to another space: one more commit record of the head's commit (DESIGN.md section 4, Spaces; ADR 0028)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, CommitStats
from ragstone.domain.errors import Conflict
from ragstone.domain.jobs import Job, Switch
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.index_writer import batches

_PAGE = 500


def switch_of(job: Job) -> Switch | None:
    """The switch that a job asks for; it is all that the job does."""
    return next((change for change in job.request.changes if isinstance(change, Switch)), None)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found before the lease was taken: whether every document of the commit `head_id` is in the space. `missing`: the first few that are not."""

    head_id: str
    missing: tuple[str, ...]


class SpaceSwitch:
    """Looks whether a space holds every document of the head, and makes the commit record that is to be published."""

    def __init__(self, catalog: Catalog, versions: VersionStore, index: VectorIndex) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index

    async def survey(self, collection: Collection, space_id: str) -> Survey | None:
        """Goes through all documents of the head, which takes long where there are many. None for a space that is not complete anyway."""
        head = await self._catalog.head(collection.name)
        if head is None or not collection.complete(space_id):
            return None
        build = collection.build(space_id)
        seq = max(head.seq, build.since) if build else head.seq
        gaps = await self._catalog.gaps(collection.name)
        missing: list[str] = []
        after = ""
        while page := await self._versions.documents(collection.uid, head.id, after=after, limit=_PAGE):
            missing += await self._missing(collection, space_id, seq, gaps, [info.path for info in page])
            after = page[-1].path
        return Survey(head.id, tuple(missing))

    async def commit(self, job: Job, lease: Lease, head: Commit, space_id: str, survey: Survey | None) -> Commit:
        """The record, under the lease. Raises `Conflict` when the space is not complete, or lacks documents after all."""
        collection = lease.collection
        if survey is None or not collection.complete(space_id):
            raise Conflict(
                f"embedding space {space_id[:80]} of collection {collection.name!r} does not hold every document yet; wait until it is ready.",
                field="space",
            )
        changes = await self._versions.diff(collection.uid, survey.head_id, head.id)
        kinds = {change.path: change.kind for change in changes}
        missing = [path for path in survey.missing if path not in kinds]
        seq, name = lease.attempt - 1, collection.index_name(space_id)
        for part in batches([path for path, kind in kinds.items() if kind != "removed"], _PAGE):
            missing += await self._missing(collection, space_id, seq, lease.gaps, part)
        if missing:
            raise Conflict(
                f"embedding space {space_id} lacks {len(missing)} documents, {missing[0]} for one; nothing was switched. "
                "Run `ragstone doctor --repair`, or drop the space and build it again.",
                field="space",
            )
        stats = CommitStats(documents=head.stats.documents, chunks=await self._index.count_visible(name, seq, lease.gaps))
        return Commit(
            collection=collection.name,
            seq=lease.attempt,
            position=0,
            id=head.id,
            parent_id=head.id,
            space_id=space_id,
            gaps=frozenset(),
            job_id=job.id,
            author=job.request.author,
            message=job.request.message,
            created_at=0.0,
            stats=stats,
        )

    async def _missing(self, collection: Collection, space_id: str, seq: int, gaps: Iterable[int], paths: Sequence[str]) -> list[str]:
        chunks = await self._index.visible(collection.index_name(space_id), seq, frozenset(gaps), paths)
        present = {chunk.path for chunk in chunks}
        return [path for path in paths if path not in present]
