"""Eight releases of real documentation: embed once, unchanged ingests, rollback, and reads as of every commit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row, row
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.jobs import Job
from ragstone.domain.retrieval import RetrievalSettings, SearchQuery
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform

NAME = "fastapi"
QUESTIONS = 200
Hits = list[tuple[str, float, float, float]]


@dataclass
class Release:
    """A published release, and what searches gave while it was head."""

    commit_id: str
    recorded: list[Hits]


async def rows(data: Path) -> list[Row]:
    """The rows of the versioned core on `fastapi-docs`."""
    folders = sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))
    questions = headings(folders[0])[:QUESTIONS]
    with tempfile.TemporaryDirectory() as directory:
        async with open_platform(load_settings(data_dir=Path(directory) / "data")) as platform:
            await platform.collections.create(NAME)
            releases = []
            embedded = new_texts = 0
            seen: set[str] = set()
            for folder in folders:
                job = await ingest(platform, folder)
                assert job.result is not None
                assert job.result.commit_id is not None
                embedded += job.result.stats.chunks_embedded
                hashes = await visible_hashes(platform)
                new_texts += len(hashes - seen)
                seen |= hashes
                releases.append(Release(job.result.commit_id, await ask(platform, questions, None)))
            head = await platform.adapters.catalog.head(NAME)
            assert head is not None
            again = await ingest(platform, folders[-1])
            head_after = await platform.adapters.catalog.head(NAME)
            assert again.result is not None
            assert head_after is not None
            written = await touched_points(platform, head.seq)
            back = await rollback(platform, releases[0].commit_id)
            forward = await rollback(platform, releases[-1].commit_id)
            same = 0
            for release in releases:
                answers = await ask(platform, questions, release.commit_id)
                same += sum(now == then for now, then in zip(answers, release.recorded, strict=True))
    total = len(releases) * len(questions)
    count = len(folders)
    return [
        row("embedded chunks / new chunk texts, 8 releases of fastapi-docs", embedded / new_texts, "ratio", "==", 1.0, count, f"{embedded} embedded"),
        row("chunks embedded by rollback to the first release", back, "chunks", "==", 0),
        row("chunks embedded by going forward to the last release", forward, "chunks", "==", 0),
        row("chunks embedded by ingesting the last release again", again.result.stats.chunks_embedded, "chunks", "==", 0),
        row("points written by ingesting the last release again", written, "points", "==", 0),
        row("commits made by ingesting the last release again", int(head_after.id != head.id), "commits", "==", 0, 1, again.state),
        row("as-of searches identical to those at the time, 8 commits", same / total, "share", "==", 1.0, total, "ids, order, scores"),
    ]  # fmt: skip


async def ingest(platform: Platform, folder: Path) -> Job:
    """The collection becomes exactly this folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())  # noqa: ASYNC240 - nothing else runs on this loop
    uploads = tuple(Upload(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)
    job = await platform.ingest.submit(NAME, IngestRequest(uploads, mirror=True, message=folder.name))
    job = await platform.ingest.wait(job.id, 1800)
    assert job.state in {"published", "unchanged"}, job.result
    return job


async def rollback(platform: Platform, commit_id: str) -> int:
    """The number of chunks it embedded."""
    job = await platform.history.rollback(NAME, commit_id)
    job = await platform.ingest.wait(job.id, 600)
    assert job.state == "published", job.result
    assert job.result is not None
    return job.result.stats.chunks_embedded


async def ask(platform: Platform, questions: list[str], as_of: str | None) -> list[Hits]:
    """Exact searches through the use case."""
    collection, snapshot = await platform.snapshots.resolve(NAME, as_of)
    found = []
    for question in questions:
        passages = await platform.search.run(collection, snapshot, SearchQuery(question, settings=RetrievalSettings(top_k=10)), exact=True)
        found.append([(passage.chunk.id, passage.score, passage.dense, passage.bm25) for passage in passages])
    return found


async def visible_hashes(platform: Platform) -> set[str]:
    """Content hashes of every chunk at head, counted from the index itself."""
    collection, snapshot = await platform.snapshots.resolve(NAME)
    documents = await platform.adapters.versions.documents(collection.uid, snapshot.commit_id, limit=100_000)
    paths = [info.path for info in documents]
    index = collection.index_name(snapshot.space_id)
    return {chunk.content_hash for chunk in await platform.adapters.index.visible(index, snapshot.seq, snapshot.gaps, paths)}


async def touched_points(platform: Platform, after: int) -> int:
    """Points opened or closed by any attempt after seq `after`."""
    collection, snapshot = await platform.snapshots.resolve(NAME)
    index = collection.index_name(snapshot.space_id)
    attempts = range(after + 1, after + 5)
    return sum([await platform.adapters.index.opened(index, a) + await platform.adapters.index.closed(index, a) for a in attempts])


def headings(folder: Path) -> list[str]:
    """Headings of the documents, each once, in order of path: what readers of documentation search for."""
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*.md")):
        fenced = False
        for line in path.read_text().splitlines():
            fenced ^= line.startswith("```")
            if line.startswith("#") and not fenced:
                found.setdefault(line.lstrip("# ").partition("{")[0].strip())
    return [heading for heading in found if len(heading) > 3]
