"""A collection with a history, for check-ups."""

from __future__ import annotations

from ragstone.domain.jobs import Delete, Job
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from tests.support.portrait import Portrait, portrait

NAME = "docs"
_QUESTIONS = ("when does the ferry leave", "who lights the lamp", "salt")


def upload(path: str, *paragraphs: str, **metadata: str) -> Upload:
    """A text of paragraphs long enough to be chunks of their own."""
    return Upload(path, "\n\n".join(f"{each} {each} {each}." * 12 for each in paragraphs).encode(), "text/plain", metadata)


async def change(platform: Platform, *uploads: Upload, deletes: tuple[str, ...] = ()) -> Job:
    """One ingestion, to its end."""
    job = await platform.ingest.submit(NAME, IngestRequest(uploads, deletes=tuple(Delete(path) for path in deletes)))
    return await platform.ingest.wait(job.id, 30)


async def fill(platform: Platform) -> None:
    """Seven commits: edits, a passage that comes back, one that moves, one that is there twice, a deletion, a rollback; and an attempt that failed."""
    await platform.collections.create(NAME)
    await change(platform, upload("a.txt", "ferry nine", "lamp dusk", "salt box"), upload("b.txt", "lamp dusk", "boat shed"))
    await change(platform, upload("a.txt", "ferry ten", "lamp dusk", "salt box"), upload("c.txt", "rope", "rope", team="ops"))
    await change(platform, upload("a.txt", "ferry ten", "salt box"), deletes=("b.txt",))
    await change(platform, Upload("bad.txt", b"\xff\xfe", "text/plain"))
    await change(platform, upload("a.txt", "new first", "ferry ten", "salt box"), upload("b.txt", "lamp dusk", "boat shed"))
    await change(platform, upload("c.txt", "rope", "rope", team="dev"))
    job = await platform.history.rollback(NAME, "#2")
    await platform.ingest.wait(job.id, 30)
    await change(platform, upload("a.txt", "ferry nine", "lamp dusk"), upload("d.txt", "anchor", "salt box"))


async def picture(platform: Platform) -> Portrait:
    """What the collection answers at every commit."""
    return await portrait(platform, _QUESTIONS)
