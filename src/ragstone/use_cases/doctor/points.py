"""The check-up of a collection's indexes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from ragstone.domain.commits import Commit
from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound, Unavailable
from ragstone.domain.findings import CheckPhase, CheckProgress, Finding, FindingKind
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.doctor.examination import Examination, Repairs
from ragstone.use_cases.doctor.mending import Mending, quiet
from ragstone.use_cases.doctor.truth import Facts, Truth, TruthReader, runs
from ragstone.use_cases.doctor.words import finding
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility

_PAGE = 500  # points read in one call
SPARE = "_new"  # ends the name of an index that is being filled
_MODEL_FIRST = "Start ragstone with the collection's model (--model); then it can be made anew."
_BACKUP_FIRST = "It can't be made anew, for documents of the version store are damaged too: restore the data directory from a backup."
_ABORT_FIRST = "It was being built: give it up with `ragstone reembed abort`, and build it again."
_UNNAMED = "points whose payload can't be read"

Report = Callable[[CheckProgress], None]


@dataclass(slots=True)
class PointsCheck:
    """What was found in one index. `unusable`: it must be made anew. `truth` None: it could not be compared."""

    space: EmbeddingSpace
    findings: list[Finding]
    repairs: Repairs
    truth: Truth | None = None
    points: int = 0
    documents: int = 0
    unusable: bool = False


class Points:
    """Examines and mends indexes."""

    def __init__(
        self, catalog: Catalog, versions: VersionStore, index: VectorIndex, spaces: Spaces, visibility: Visibility, report: Report
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._spaces = spaces
        self._visibility = visibility
        self._report = report
        self._truths: dict[tuple[str, tuple[str, ...]], Truth] = {}

    async def check(self, facts: Facts, space: EmbeddingSpace, unreadable: frozenset[str]) -> PointsCheck:
        """`unreadable`: commits that can't be compared with."""
        collection = facts.collection
        name, found = collection.index_name(space.id), PointsCheck(space, [], Repairs())
        exists = await self._index.exists(name)
        try:
            self._spaces.embedder(space)
        except Unavailable as error:
            found.findings.append(finding("other-model", collection.name, error.message))
            if not exists:
                found.findings.append(finding("lost-index", collection.name, f"index {space.id}", repair=_MODEL_FIRST))
            return found
        build = collection.build(space.id)
        if not collection.complete(space.id):
            if not exists:
                found.findings.append(finding("lost-index", collection.name, f"index {space.id}", repair=_ABORT_FIRST))
            return found
        # A space that is complete holds every commit since, whichever space its reads use: ingests write all of them.
        since = build.since if build else 0
        commits = [commit for commit in facts.readable if commit.seq >= since and commit.id not in unreadable]
        truth = found.truth = await self._truth(facts, space, commits)
        found.documents = sum(map(len, truth.versions.values()))
        examination = Examination(facts, truth)
        advice = _BACKUP_FIRST if unreadable else None  # what is left of the index is all there is of them
        if not exists:
            found.findings.append(finding("lost-index", collection.name, f"index {space.id}", repair=advice))
            found.unusable = not unreadable
            return found
        try:
            await self._scan(facts, name, examination)
        except (DataDirectoryError, InternalError, NotFound) as error:
            found.findings.append(finding("broken-index", collection.name, f"index {space.id}: {error.message}", repair=advice))
            found.unusable = not unreadable
            return found
        await asyncio.to_thread(examination.finish)
        found.points, found.repairs = examination.points, examination.repairs
        found.findings += await asyncio.to_thread(_grouped, examination, truth, collection.name)
        return found

    async def repair(self, facts: Facts, found: PointsCheck) -> None:
        """Mends an index; makes one that is unusable anew beside it, and puts that in its place when it is whole."""
        collection, space = facts.collection, found.space
        if found.truth is None or not (found.unusable or found.repairs):
            return
        name = collection.index_name(space.id)
        mending = Mending(self._catalog, self._index, self._spaces.embedder(space), self._reader(facts, space), self._visibility)
        tell = self._tell(facts, "repair")
        if not found.unusable:
            await mending.apply(facts, name, found.truth, found.repairs, tell)
            await quiet(self._catalog, collection.name)  # who has read what was not mended yet ends; the next check sees what it wrote
            return
        if await self._completed(facts, space, found.truth):
            return
        spare, everything = name + SPARE, Examination(facts, found.truth)
        await asyncio.to_thread(everything.finish)
        await self._index.drop(spare)
        await self._index.create(spare, space)
        await mending.apply(facts, spare, found.truth, everything.repairs, tell)
        await self._index.replace(name, spare)

    async def _completed(self, facts: Facts, space: EmbeddingSpace, truth: Truth) -> bool:
        """Whether an index that is there can be read once what `create` adds to it is there too, such as field indexes; the next check sees the rest."""
        name = facts.collection.index_name(space.id)
        try:
            if not await self._index.exists(name):
                return False
            await self._index.create(name, space)
            await self._scan(facts, name, Examination(facts, truth))
        except (DataDirectoryError, InternalError, NotFound):
            return False
        return True

    async def _truth(self, facts: Facts, space: EmbeddingSpace, commits: list[Commit]) -> Truth:
        """Kept for the next check: commits don't change."""
        key = (facts.collection.index_name(space.id), tuple(f"{commit.seq}-{commit.id}" for commit in commits))
        if key not in self._truths:
            self._truths = {key: await self._reader(facts, space).read(commits, self._tell(facts, "documents"))}
        return self._truths[key]

    async def _scan(self, facts: Facts, name: str, examination: Examination) -> None:
        tell, total = self._tell(facts, "points"), facts.head.stats.chunks if facts.head else 0
        after: str | None = None
        while page := await self._index.scan(name, after, _PAGE):
            await asyncio.to_thread(examination.add, page)
            after = page[-1].id
            tell(examination.points, max(total, examination.points))

    def _reader(self, facts: Facts, space: EmbeddingSpace) -> TruthReader:
        return TruthReader(self._versions, facts.collection, space, self._spaces.embedder(space))

    def _tell(self, facts: Facts, phase: CheckPhase) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            self._report(CheckProgress(facts.collection.name, phase, done, total))

        return tell


def _grouped(examination: Examination, truth: Truth, collection: str) -> list[Finding]:
    """A finding a document and kind."""
    groups: dict[tuple[FindingKind, str], list[int]] = defaultdict(list)
    for fault in examination.faults:
        groups[fault.kind, fault.path].append(fault.commits)
    return [
        finding(kind, collection, f"{path or _UNNAMED}{_positions(truth, commits)}", count=len(commits))
        for (kind, path), commits in groups.items()
    ]


def _positions(truth: Truth, commits: list[int]) -> str:
    """` (#2 to #5, #9)`: where it shows."""
    everywhere = 0
    for some in commits:
        everywhere |= some
    numbers = [(truth.commits[first].position, truth.commits[last].position) for first, last in runs(everywhere)]
    named = [f"#{first}" if first == last else f"#{first} to #{last}" for first, last in numbers]
    listed = ", ".join(named[:5]) + (" …" if len(named) > 5 else "")
    return f" ({listed})" if named else ""
