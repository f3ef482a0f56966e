"""Answers given on the first of eight releases, replayed after the other seven; and what the eight cost in points."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.rows import Row, row
from bench.versioned import NAME, QUESTIONS, headings, ingest
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.commits import OPEN
from ragstone.domain.retrieval import IndexedChunk
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question


async def rows(data: Path) -> list[Row]:
    """The rows of replay and of points stored."""
    folders = sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))
    questions = headings(folders[0])[:QUESTIONS]
    with tempfile.TemporaryDirectory() as directory:
        async with open_platform(load_settings(data_dir=Path(directory) / "data")) as platform:
            await platform.collections.create(NAME)
            await ingest(platform, folders[0])
            asked = [(await platform.query.run(Question(NAME, question))).interaction for question in questions]
            placed = await placements(platform)
            distinct, copies = len(placed), len(placed)
            for folder in folders[1:]:
                await ingest(platform, folder)
                now = await placements(platform)
                distinct += len(now - placed)
                copies += len(now)
                placed = now
            replays = [await platform.replay.run(interaction.id) for interaction in asked]
            stored = await points(platform)
    identical = sum(replay.passages_identical for replay in replays)
    again = sum(replay.retrieval_identical for replay in replays)
    texts = sum(replay.after["text"] == replay.before["text"] for replay in replays)
    count = len(folders)
    return [
        row("replayed passages identical after 7 more commits", identical / len(replays), "share", "==", 1.0, len(replays), "texts and order"),
        row("retrieval as of the old commit gives the same passages", again / len(replays), "share", "==", 1.0, len(replays), "ids and order"),
        row("replayed answers with the same text", texts / len(replays), "share", n=len(replays), note="same generator"),
        row("points stored after 8 releases / distinct chunk placements", stored / distinct, "ratio", "==", 1.0, count, f"{stored} points"),
        row("points stored after 8 releases / one copy a release", stored / copies, "ratio", n=count, note=f"{copies} chunks in 8 copies"),
    ]  # fmt: skip


async def placements(platform: Platform) -> set[str]:
    """Every chunk at head with where it stands: what a point of its own is needed for."""
    collection, snapshot = await platform.snapshots.resolve(NAME)
    documents = await platform.adapters.versions.documents(collection.uid, snapshot.commit_id, limit=100_000)
    index = collection.index_name(snapshot.space_id)
    chunks = await platform.adapters.index.visible(index, snapshot.seq, snapshot.gaps, [info.path for info in documents])
    return {placement(chunk) for chunk in chunks}


def placement(chunk: IndexedChunk) -> str:
    """What must be equal for one point to serve two commits."""
    place = (chunk.start, chunk.end, chunk.page, chunk.heading_path, chunk.title, chunk.media_type, dict(chunk.metadata))
    return json.dumps([chunk.path, chunk.content_hash, chunk.occurrence, *place])


async def points(platform: Platform) -> int:
    """Every point of the index, of any validity."""
    collection, snapshot = await platform.snapshots.resolve(NAME)
    return await platform.adapters.index.count_range(collection.index_name(snapshot.space_id), -1, OPEN, frozenset())
