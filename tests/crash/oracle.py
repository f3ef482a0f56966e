"""What has to be true of a collection after a recovery, seen from behind the failpoints; and what it shows, to be compared with another run's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ragstone.domain.chunking import chunk_document
from ragstone.domain.collections import Collection
from ragstone.domain.commits import OPEN, Commit, Snapshot, visible
from ragstone.domain.documents import DocumentInfo, ExtractedText
from ragstone.domain.errors import Gone
from ragstone.domain.jobs import TERMINAL, Put
from ragstone.domain.retrieval import IndexedChunk, RetrievalSettings, SearchQuery, StoredPoint
from ragstone.use_cases.platform import Adapters
from ragstone.use_cases.query import Question
from tests.crash.world import CHUNKER, CrashWorld

COLLECTION = "docs"
QUESTIONS = ("When does the ferry leave?", "lamp lit at dusk", "keepers count ships")
_PAGE = 500
_STATS = (
    "documents_added",
    "documents_changed",
    "documents_removed",
    "documents",
    "chunks_added",
    "chunks_removed",
    "chunks_kept",
    "chunks",
)

ChunkKey = tuple[str, str, int, int, int, str]  # path, content hash, occurrence, start, end, text


@dataclass
class Expected:
    """The chunks that documents have, worked out from the version store alone; remembered by path and content."""

    adapters: Adapters
    _known: dict[tuple[str, str], frozenset[ChunkKey]] = field(default_factory=dict)

    async def of(self, collection: Collection, commit: str, infos: Iterable[DocumentInfo]) -> frozenset[ChunkKey]:
        chunks: set[ChunkKey] = set()
        for info in infos:
            key = (info.path, info.checksum)
            if key not in self._known:
                extracted = await self.adapters.versions.extracted(collection.uid, commit, info.path)
                self._known[key] = self._cut(info, extracted)
            chunks |= self._known[key]
        return frozenset(chunks)

    def _cut(self, info: DocumentInfo, extracted: ExtractedText) -> frozenset[ChunkKey]:
        cut = chunk_document(extracted, info.title, self.adapters.embedder.count_tokens, CHUNKER)
        return frozenset((info.path, chunk.content_hash, chunk.occurrence, chunk.start, chunk.end, chunk.text) for chunk in cut)


def keys(chunks: Iterable[IndexedChunk]) -> frozenset[ChunkKey]:
    return frozenset((chunk.path, chunk.content_hash, chunk.occurrence, chunk.start, chunk.end, chunk.text) for chunk in chunks)


async def commits(adapters: Adapters) -> list[Commit]:
    """Those that can be read, oldest first."""
    found: list[Commit] = []
    before: int | None = None
    while page := await adapters.catalog.commits(COLLECTION, before=before, limit=_PAGE):
        found += page
        before = page[-1].seq
    return [commit for commit in reversed(found) if commit.pruned_at is None]


async def points(adapters: Adapters, index: str) -> list[StoredPoint]:
    """Every point of an index."""
    found: list[StoredPoint] = []
    while page := await adapters.index.scan(index, found[-1].id if found else None, _PAGE):
        found += page
    return found


async def findings(adapters: Adapters, *, checked: Iterable[Commit] | None = None) -> list[str]:
    """Sentences about what is not as a run without a crash leaves it. `checked`: the commits to be compared; all by default."""
    catalog, versions, index = adapters.catalog, adapters.versions, adapters.index
    collection = await catalog.collection(COLLECTION)
    history = await commits(adapters)
    found: list[str] = []
    jobs = await catalog.jobs(COLLECTION, limit=100_000)
    found += [f"job {job.number} is {job.state}" for job in jobs if job.state not in TERMINAL]
    if left := await catalog.aborted(COLLECTION):
        found.append(f"attempts {left} are not retired")
    if branches := await versions.attempts(collection.uid):
        found.append(f"branches of attempts {branches} are left")
    staged = set(await adapters.staging.jobs())
    letters = [job for job in jobs if job.state == "failed" and job.id in await adapters.dead_letters.jobs()]
    if left_bytes := staged - {job.id for job in letters}:
        found.append(f"bytes of jobs {sorted(left_bytes)} are left")
    if lost_bytes := {job.id for job in letters if any(isinstance(change, Put) for change in job.request.changes)} - staged:
        found.append(f"bytes of dead letters {sorted(lost_bytes)} are lost")
    head = history[-1].id if history else None
    if (main := await versions.main(collection.uid)) != head:
        found.append(f"main is at {main}, the head at {head}")
    published = {commit.seq for commit in await _every_commit(adapters)}
    published |= {seq for seq, state in (await catalog.attempts(COLLECTION)).items() if state == "filled"}
    if names := [
        name
        for name in await index.names()
        if name not in {collection.index_name(space.id) for space in collection.spaces} and collection.uid in name
    ]:
        found.append(f"indexes {names} are left")
    if coming := [build.state for build in collection.builds if build.state != "ready"]:
        found.append(f"builds are {coming}")
    for space in collection.spaces:
        build = collection.build(space.id)
        since = build.since if build else 0
        name = collection.index_name(space.id)
        stored = await points(adapters, name)
        for point in stored:
            if point.chunk is None or not point.vector_ok:
                found.append(f"point {point.id} is malformed")
            elif point.seq_from not in published or (point.seq_to != OPEN and point.seq_to not in published):
                found.append(f"point {point.id} of {point.chunk.path} belongs to [{point.seq_from}, {point.seq_to})")
        expected = Expected(adapters)
        for commit in history if checked is None else checked:
            if commit.seq < since:
                continue
            infos = await versions.documents(collection.uid, commit.id, limit=10_000)
            wanted = await expected.of(collection, commit.id, infos)
            scanned = [
                point.chunk
                for point in stored
                if point.chunk and visible(point.chunk.seq_from, point.chunk.seq_to, commit.seq, commit.gaps)
            ]
            paths = {info.path for info in infos} | {chunk.path for chunk in scanned}
            shown = await index.visible(name, commit.seq, commit.gaps, paths)
            for what, chunks in (("holds", scanned), ("shows", shown)):
                if len(chunks) != len(wanted) or keys(chunks) != wanted:
                    found.append(f"the index {what} {len(chunks)} chunks at #{commit.position}, its documents have {len(wanted)}")
            if commit.space_id == space.id and (commit.stats.documents != len(infos) or commit.stats.chunks != len(wanted)):
                found.append(
                    f"#{commit.position} says {commit.stats.documents} documents, {commit.stats.chunks} chunks; it has {len(infos)}, {len(wanted)}"
                )
    return found


async def diagnoses(world: CrashWorld) -> list[str]:
    """What the doctor finds."""
    report = await world.platform.doctor.run()
    return [f"doctor: {finding.kind} of {finding.what}" for finding in report.findings]


async def _every_commit(adapters: Adapters) -> list[Commit]:
    return await adapters.catalog.commits(COLLECTION, limit=100_000)


async def picture(world: CrashWorld) -> list[dict[str, Any]]:
    """What each commit shows, oldest first, in JSON: documents, texts, chunks, searches, an answer. Nothing that two runs may differ in (ids, times)."""
    adapters, platform = world.bare, world.platform
    collection = await adapters.catalog.collection(COLLECTION)
    tags = await adapters.catalog.tags(COLLECTION)
    shown = []
    for commit in await commits(adapters):
        infos = await adapters.versions.documents(collection.uid, commit.id, limit=10_000)
        documents = {}
        for info in infos:
            document = await adapters.versions.read(collection.uid, commit.id, info.path)
            documents[info.path] = [document.content.decode(), document.extracted.text, info.media_type]
        chunks: list[IndexedChunk] = []
        held, answer, refused = collection.holds(commit.space_id, commit.seq), None, False
        if held:
            chunks = await adapters.index.visible(collection.index_name(commit.space_id), commit.seq, commit.gaps, documents)
        try:
            answer = await platform.query.run(Question(COLLECTION, QUESTIONS[0], as_of=f"#{commit.position}")) if documents else None
        except Gone:
            refused = True
        assert not documents or refused is not held
        shown.append(
            {
                "position": commit.position,
                "message": commit.message,
                "stats": [getattr(commit.stats, name) for name in _STATS],
                "tags": sorted(tag.name for tag in tags if tag.commit_id == commit.id),
                "documents": documents,
                "chunks": [list(key) for key in sorted(keys(chunks))],
                "searches": [await _search(world, collection, commit, question) for question in QUESTIONS if held],
                "refused": refused,
                "answer": [answer.answer.text, round(answer.answer.answerability, 6)] if answer else None,
            }
        )
    return shown


async def _search(world: CrashWorld, collection: Collection, commit: Commit, question: str) -> list[list[Any]]:
    """All of a small collection, so that nothing depends on the order of equal scores."""
    wanted = SearchQuery(question, settings=RetrievalSettings(top_k=100))
    passages = await world.platform.search.run(collection, Snapshot.of(commit, was_head=False), wanted)
    return sorted(
        [round(-passage.score, 6), round(passage.dense, 6), round(passage.bm25, 6), passage.chunk.path, passage.chunk.start]
        for passage in passages
    )
