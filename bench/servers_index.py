"""The index on a Qdrant server beside Edge: the same chunks, the same questions."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from bench.index_speed import NAME, SPACE, Corpus, make_corpus, make_point
from bench.rows import Row, row, skipped
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Candidate
from ragstone.ports.vector_index import VectorIndex
from tests.servers import qdrant

CHUNKS, LIMIT, BATCH = 10_000, 100, 256
_AGREEMENT = "Qdrant server: questions answered as by Edge (chunks, ranks, BM25; cosine to 1e-5)"


async def rows(data: Path) -> list[Row]:
    """Agreement has a bar; times are reported, for the server may be anywhere."""
    url = os.environ.get("RAGSTONE_TEST_QDRANT_URL")
    if url is None and shutil.which("qdrant") is None:
        return [skipped(_AGREEMENT, "no server at RAGSTONE_TEST_QDRANT_URL and no `qdrant` on PATH", ">=", 1.0)]
    corpus = make_corpus(CHUNKS)
    with tempfile.TemporaryDirectory() as name:
        edge = QdrantEdgeIndex(Path(name) / "index")
        with nullcontext((url, None)) if url else qdrant.serving(Path(name)) as (address, _):
            remote = qdrant.index(qdrant.server(address))
            wrote, answered = await _filled(remote, corpus), await _asked(remote, corpus)
            edge_wrote, edge_answered = await _filled(edge, corpus), await _asked(edge, corpus)
            await qdrant.dropped(remote)
        await edge.aclose()
    same = sum(_same(ours, theirs) for (ours, _), (theirs, _) in zip(answered, edge_answered, strict=True))
    count = len(answered)
    return [
        row(_AGREEMENT, same / count, "share", ">=", 1.0, count),
        row("Qdrant server: exact search, median", median(seconds for _, seconds in answered) * 1e3, "ms", n=count),
        row("Edge: exact search, median", median(seconds for _, seconds in edge_answered) * 1e3, "ms", n=count),
        row("Qdrant server: chunks inserted", CHUNKS / wrote, "1/s", n=CHUNKS),
        row("Edge: chunks inserted", CHUNKS / edge_wrote, "1/s", n=CHUNKS),
    ]


async def _filled(index: VectorIndex, corpus: Corpus) -> float:
    await index.create(NAME, SPACE)
    began = time.perf_counter()
    for start in range(0, CHUNKS, BATCH):
        await index.insert(NAME, [make_point(corpus, number, 1) for number in range(start, min(start + BATCH, CHUNKS))])
    return time.perf_counter() - began


async def _asked(index: VectorIndex, corpus: Corpus) -> list[tuple[list[Candidate], float]]:
    """Each question once before, so that the frequencies of its terms are known."""
    found = []
    for text, vector in [*corpus.questions.items(), *corpus.questions.items()]:
        began = time.perf_counter()
        answer = await index.search(NAME, 1, (), vector=vector, text=text, filter=Filter(), limit=LIMIT, exact=True)
        found.append((answer, time.perf_counter() - began))
    return found[len(corpus.questions) :]


def _same(ours: list[Candidate], theirs: list[Candidate]) -> bool:
    return [(c.id, c.bm25, c.dense_rank, c.bm25_rank) for c in ours] == [(c.id, c.bm25, c.dense_rank, c.bm25_rank) for c in theirs] and all(
        abs(a.dense - b.dense) <= 1e-5 for a, b in zip(ours, theirs, strict=True)
    )
