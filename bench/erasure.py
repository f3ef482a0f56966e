"""A document that lived through five commits is purged: is a byte of it left in any file of the data directory?"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.rows import Row, row
from bench.versioned import headings
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.jobs import Job
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question

NAME = "docs"
PATH = "people/person.md"
CANARY = "Zyxwohlgemuth Quittenbaum"
COMMITS = 5


async def rows(data: Path) -> list[Row]:
    """The rows of erasure, on the newest release of `fastapi-docs`."""
    folder = sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))[-1]
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory) / "data"
        async with open_platform(load_settings(data_dir=where)) as platform:
            await platform.collections.create(NAME)
            files = sorted(path for path in folder.rglob("*.md"))[:60]
            await ingest(platform, *(Upload(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files))
            for number in range(COMMITS):
                text = f"# About {CANARY}\n\n{CANARY} lives in house {number}. It is said that {CANARY} keeps {number} bees there.\n"
                await ingest(platform, Upload(PATH, text.encode(), metadata={"person": CANARY}))
                done = await platform.query.run(Question(NAME, "Who keeps bees in a house?"))
                assert any(passage.chunk.path == PATH for passage in done.passages)
            for heading in headings(folder)[:20]:
                await platform.query.run(Question(NAME, heading))
            before = found(where)
            record = await platform.erasure.purge(NAME, PATH, reason="the benchmark")
            while_open = found(where)
            history = await platform.history.log(NAME)
        after = found(where)
        async with open_platform(load_settings(data_dir=where)) as platform:
            readable = [len((await platform.documents.page(NAME, as_of=commit.id))[1]) for commit in history]
    assert before > 0
    note = f"{before} places before; {record.commits} commits, {record.points} points, {record.interactions} logged answers"
    return [
        row("places with the canary after purge, server running", while_open, "places", "==", 0, COMMITS, note),
        row("places with the canary after purge and restart", after, "places", "==", 0, COMMITS, "raw bytes, unpacked Git objects, SQLite"),
        row("commits that are still readable", len(readable), "commits", "==", COMMITS + 2, COMMITS, "first, five, and the deletion"),
    ]  # fmt: skip


async def ingest(platform: Platform, *uploads: Upload) -> Job:
    """One commit."""
    job = await platform.ingest.submit(NAME, IngestRequest(uploads))
    job = await platform.ingest.wait(job.id, 600)
    assert job.state == "published", job.result
    return job


def found(where: Path) -> int:
    """Places that hold the canary: files as they are, objects in Git packs as they unpack, values in SQLite."""
    needles = [CANARY.encode(), CANARY.lower().encode(), CANARY.split(maxsplit=1)[0].encode()]
    count = 0
    for content in _contents(where):
        count += any(needle in content for needle in needles)
    return count


def _contents(where: Path) -> Iterator[bytes]:
    for file in where.rglob("*"):
        if file.is_file():
            yield file.read_bytes()
    for repository in (where / "versions").glob("*.git"):
        yield _git(repository, "cat-file", "--batch-all-objects", "--batch", "--unordered")
    database = sqlite3.connect(f"file:{where / 'ragstone.db'}?mode=ro", uri=True)
    try:
        yield "\n".join(database.iterdump()).encode()
    finally:
        database.close()


def _git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *arguments], stdout=subprocess.PIPE, check=True).stdout
