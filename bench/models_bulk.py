"""Bulk work: four worker processes against one, with an embedder that sleeps 20 ms a batch, so that only what surrounds it can cost."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
import time
from pathlib import Path

from bench.bulk_shard import IDENTITY, SECONDS
from bench.embedder import texts_of
from bench.rows import Row, row
from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.adapters.model_presets import DEFAULT
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.process_runner import ProcessRunner
from ragstone.domain.bulk import BulkRun, ShardProgress, parts_of
from ragstone.domain.documents import Block, DocumentInfo, ExtractedText
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace
from ragstone.use_cases.bulk import BulkEmbedding, BulkSettings
from ragstone.use_cases.index_writer import ChangedDocument, chunk_all

_DOCUMENTS, _CHUNKS = 24_000, 8  # and chunks of each
_BATCHES = _DOCUMENTS * _CHUNKS // 32
_WORKERS = 4
_CUT = 100  # documents


async def rows(data: Path) -> list[Row]:
    space = EmbeddingSpace(IDENTITY, (), ChunkerSettings(), Bm25Settings())
    documents = []
    for number in range(_DOCUMENTS):
        texts = [f"Passage {part} of document {number}: " + "what it says, in some more words than these. " * 10 for part in range(_CHUNKS)]
        documents.append((f"{number:06}.txt", {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}))
    seconds = {}
    for workers in (1, _WORKERS):
        with tempfile.TemporaryDirectory() as directory:
            seconds[workers] = await _measured(Path(directory), space, documents, workers)
    one, many = seconds[1], seconds[_WORKERS]
    what = (
        f"{_BATCHES} batches of 32 texts, {SECONDS * 1000:.0f} ms each; from the order to the last vector, starts of the processes included"
    )
    return [
        row(
            f"bulk path: {_WORKERS} worker processes against 1 (stub embedder, 20 ms a batch)",
            one / many,
            "x",
            ">=",
            3.6,
            note=f"{one:.1f} s and {many:.1f} s; {what}",
        ),
        row("bulk path: share of the time that the stub sleeps, 1 worker", _BATCHES * SECONDS / one, "share", note=what),
        await _cutting(),
    ]


async def _cutting() -> Row:
    """What whoever orders does alone: documents cut into chunks, and what there is to order staged."""
    store = ModelStore()
    await asyncio.to_thread(store.pull, DEFAULT)
    model = await asyncio.to_thread(lambda: OnnxEmbedder(store.path(DEFAULT), graphs=store.graphs))
    space = EmbeddingSpace(model.identity, (), ChunkerSettings(), Bm25Settings())
    documents = []
    for number in range(_CUT):
        text = "\n\n".join(texts_of(model, 40, 128))
        starts = [0, *(at + 2 for at in range(len(text)) if text.startswith("\n\n", at))]
        blocks = tuple(
            Block("paragraph", start, end) for start, end in zip(starts, [*(start - 2 for start in starts[1:]), len(text)], strict=True)
        )
        documents.append(
            ChangedDocument(DocumentInfo(f"{number:06}.txt", "text/plain", len(text), "0" * 64), ExtractedText(text, blocks, "bench"))
        )
    began = time.process_time()
    cut = await chunk_all(documents, model, space)
    chunks = sum(len(found) for _, found in cut)
    with tempfile.TemporaryDirectory() as directory:
        ordered = [
            (info.path, {f"{number}{chunk.content_hash}": chunk.embedded_text for number, chunk in enumerate(found)}) for info, found in cut
        ]
        await FileBulkStage(Path(directory)).order(BulkRun("a_b", model.identity, 4, 0.0), parts_of(ordered, 4, 128))
    taken = time.process_time() - began
    return row(
        "bulk path: chunks cut and ordered by one process",
        chunks / taken,
        "1/s",
        n=chunks,
        note="by the process's CPU time; texts of 128 tokens in documents of 40",
    )


async def _measured(directory: Path, space: EmbeddingSpace, documents: list[tuple[str, dict[str, str]]], workers: int) -> float:
    def command(run_id: str, shard: int) -> list[str]:
        return [sys.executable, "-m", "bench.bulk_shard", str(directory), run_id, str(shard)]

    async def told(_: tuple[ShardProgress, ...]) -> None:
        pass

    bulk = BulkEmbedding(FileBulkStage(directory), ProcessRunner(command), BulkSettings(shards=workers))
    began = time.monotonic()
    vectors = await bulk.embed("bench", space, documents, told)
    taken = time.monotonic() - began
    if len(vectors) != _DOCUMENTS * _CHUNKS:
        raise RuntimeError(f"{len(vectors)} vectors came back")
    return taken


if __name__ == "__main__":
    for one in asyncio.run(rows(Path())):
        print(one)
