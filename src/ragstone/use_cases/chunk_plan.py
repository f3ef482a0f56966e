"""Compares the chunks a document has with those it shall have (DESIGN.md section 4, step 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ragstone.domain.commits import OPEN
from ragstone.domain.documents import Chunk, DocumentInfo
from ragstone.domain.ids import chunk_id
from ragstone.domain.retrieval import IndexedChunk

_Key = tuple[str, str, int]  # path, content hash, occurrence


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """`opens` are written, `closes` are ids of points that end. `added`, `removed`, `kept` count chunks as people do: a moved one is kept."""

    opens: tuple[IndexedChunk, ...]
    closes: tuple[str, ...]
    added: int
    removed: int
    kept: int


def plan_chunks(
    old: Iterable[IndexedChunk], new: Iterable[tuple[DocumentInfo, tuple[Chunk, ...]]], *, attempt: int, commit_id: str
) -> ChunkPlan:
    """The writes that turn `old` (visible at head, of the changed paths) into `new`.

    A chunk whose text stayed but whose place or document metadata changed is closed and opened again, so that spans and filters are always right.
    """
    before = {(chunk.path, chunk.content_hash, chunk.occurrence): chunk for chunk in old}
    opens: list[IndexedChunk] = []
    closes: list[str] = []
    added = kept = 0
    for info, chunks in new:
        for chunk in chunks:
            wanted = indexed(info, chunk, attempt, commit_id)
            present = before.pop((info.path, chunk.content_hash, chunk.occurrence), None)
            if present is None:
                added += 1
            else:
                kept += 1
                if _place(present) == _place(wanted):
                    continue
                closes.append(present.id)
            opens.append(wanted)
    closes.extend(chunk.id for chunk in before.values())
    return ChunkPlan(tuple(opens), tuple(closes), added, len(before), kept)


def indexed(info: DocumentInfo, chunk: Chunk, attempt: int, commit_id: str) -> IndexedChunk:
    """A document's chunk as the attempt that makes the commit opens it."""
    return IndexedChunk(
        id=chunk_id(info.path, chunk.content_hash, chunk.occurrence, attempt),
        path=info.path,
        title=info.title,
        heading_path=chunk.heading_path,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        content_hash=chunk.content_hash,
        occurrence=chunk.occurrence,
        media_type=info.media_type,
        checksum=info.checksum,
        metadata=info.metadata,
        commit_id=commit_id,
        seq_from=attempt,
        seq_to=OPEN,
    )


def _place(chunk: IndexedChunk) -> IndexedChunk:
    """The chunk without what is the introduction's own."""
    return replace(chunk, id="", checksum="", commit_id="", seq_from=0, seq_to=0, metadata=dict(chunk.metadata))
