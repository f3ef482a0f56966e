"""Retrieval quality on SciFact: BM25, dense and hybrid through ingestion and search, at default settings."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ir_measures import Qrel, ScoredDoc, calc_aggregate, nDCG

from bench.rows import Row, row
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.retrieval import FusionMethod, Passage, RetrievalSettings, SearchQuery
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform

NAME = "scifact"
TOP_K = 100  # passages a claim, so that ten documents are among them
MEASURE = nDCG @ 10


async def rows(data: Path) -> list[Row]:
    """nDCG@10 of each method, and how far hybrid search is above the better of the two."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_platform(load_settings(data_dir=Path(directory) / "data")) as platform:
            await ingest(platform, data / "scifact" / "corpus.jsonl")
            scores = await evaluate(platform, data / "scifact", RetrievalSettings())
            head = await platform.adapters.catalog.head(NAME)
    assert head is not None
    claims = len(list(read_claims(data / "scifact")))
    note = f"{head.stats.documents} abstracts, {head.stats.chunks} chunks"
    ahead = scores["convex"] - max(scores["bm25"], scores["dense"])
    return [
        row("nDCG@10 of BM25, scifact", scores["bm25"], "nDCG", n=claims, note=note),
        row("nDCG@10 of dense search, scifact", scores["dense"], "nDCG", n=claims, note=note),
        row("nDCG@10 of hybrid search, scifact", scores["convex"], "nDCG", ">=", 0.735, claims, note),
        row("hybrid above the better of BM25 and dense, scifact", ahead, "nDCG", ">=", 0.03, claims),
    ]


async def ingest(platform: Platform, corpus: Path) -> None:
    """The abstracts, a document each."""
    await platform.collections.create(NAME)
    job = await platform.ingest.submit(NAME, IngestRequest((Upload(corpus.name, await asyncio.to_thread(corpus.read_bytes)),)))
    job = await platform.ingest.wait(job.id, 3600)
    assert job.state == "published", job.result


async def evaluate(platform: Platform, folder: Path, settings: RetrievalSettings) -> dict[FusionMethod, float]:
    """nDCG@10 by method. A document's score is its best chunk's."""
    collection, snapshot = await platform.snapshots.resolve(NAME)
    methods: tuple[FusionMethod, ...] = ("bm25", "dense", "convex")
    runs: dict[FusionMethod, list[ScoredDoc]] = {method: [] for method in methods}
    for claim, text in read_claims(folder):
        (vector,) = await platform.embedder.embed_queries([text])
        for method in methods:
            query = SearchQuery(text, settings=replace(settings, top_k=TOP_K, fusion=method))
            passages = await platform.search.run(collection, snapshot, query, vector=vector)
            runs[method] += by_document(claim, passages)
    judgements = list(read_judgements(folder))
    return {method: calc_aggregate([MEASURE], judgements, run)[MEASURE] for method, run in runs.items()}


def by_document(claim: str, passages: Iterable[Passage]) -> Iterator[ScoredDoc]:
    """The best passage's score of each document; its path ends with the record's id."""
    best: dict[str, float] = defaultdict(float)
    for passage in passages:
        document = passage.chunk.path.rpartition("/")[2]
        best[document] = max(best[document], passage.score)
    return (ScoredDoc(claim, document, score) for document, score in best.items())


def read_claims(folder: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of every claim that has judgements."""
    judged = {judgement.query_id for judgement in read_judgements(folder)}
    for line in (folder / "queries.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["_id"] in judged:
            yield record["_id"], record["text"]


def read_judgements(folder: Path) -> Iterator[Qrel]:
    """The lines of qrels.tsv."""
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        claim, document, grade = line.split("\t")
        yield Qrel(claim, document, int(grade))
