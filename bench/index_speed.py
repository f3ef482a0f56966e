"""The index at 50,000 chunks: reads as of old commits, HNSW's recall, and search through the use case against the bare engine."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from qdrant_edge import (
    Bm25,
    Bm25Config,
    EdgeShard,
    FieldCondition,
    Filter,
    IdfParams,
    Prefetch,
    Query,
    QueryBatchRequest,
    QueryRequest,
    RangeFloat,
    SearchParams,
)

from bench.rows import Row, row
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.domain.collections import Collection
from ragstone.domain.commits import OPEN, Snapshot
from ragstone.domain.documents import content_hash
from ragstone.domain.retrieval import IndexedChunk, Point, RetrievalSettings, SearchQuery, Vectors
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity
from ragstone.use_cases.search import Search

DIMENSION, WORDS, CHUNK_WORDS, QUESTION_WORDS, QUESTIONS, TOPICS, CANDIDATES = 384, 30_000, 80, 12, 200, 500, 100
COMMITS = {1: 40_000, 2: 5_000, 3: 5_000}  # points added by each; each later one also closes as many older ones
CLOSED = 2_000
MODEL = ModelIdentity("synthetic", "1", "0" * 64, DIMENSION, "mean", 256)
SPACE = EmbeddingSpace(MODEL, (), ChunkerSettings(), Bm25Settings())
COLLECTION = Collection("bench", "uid", "english", "", 0.0, (SPACE,), 1, SPACE.id)
NAME = COLLECTION.index_name(SPACE.id)
Hits = list[tuple[str, float, float, float]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clustered unit vectors and texts of words that follow Zipf's law; `questions` are like them."""

    vectors: Vectors
    texts: list[str]
    questions: dict[str, Vectors]


class KnownQuestions:
    """`EmbeddingModel` that only looks vectors up, so that the search itself is what is measured."""

    identity = MODEL
    special_tokens = 2

    def __init__(self, questions: dict[str, Vectors]) -> None:
        self._questions = questions

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._questions[text] for text in texts])

    async def check(self) -> None:
        pass

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        raise NotImplementedError


def make_corpus(size: int) -> Corpus:
    """The same every time."""
    rng = np.random.default_rng(7)
    topics = rng.normal(size=(TOPICS, DIMENSION))
    frequency = 1 / np.arange(1, WORDS + 1) ** 1.05
    frequency /= frequency.sum()

    def draw(count: int, words: int) -> tuple[Vectors, list[str]]:
        vectors = (topics[rng.integers(0, TOPICS, count)] + 0.8 * rng.normal(size=(count, DIMENSION))).astype(np.float32)
        texts = [" ".join(f"w{word}" for word in row) for row in rng.choice(WORDS, size=(count, words), p=frequency)]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), texts

    vectors, texts = draw(size, CHUNK_WORDS)
    asked, questions = draw(QUESTIONS, QUESTION_WORDS)
    return Corpus(vectors, texts, dict(zip(questions, asked, strict=True)))


def make_point(corpus: Corpus, number: int, seq: int) -> Point:
    """Ten chunks a document."""
    text = corpus.texts[number]
    chunk = IndexedChunk(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        path=f"docs/{number // 10}.md",
        title=f"Document {number // 10}",
        heading_path=(f"Document {number // 10}",),
        text=text,
        start=1000 * (number % 10),
        end=1000 * (number % 10) + len(text),
        page=None,
        content_hash=content_hash((), text),
        occurrence=0,
        media_type="text/markdown",
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        metadata={},
        commit_id=f"commit-{seq}",
        seq_from=seq,
        seq_to=OPEN,
    )
    return Point(chunk, corpus.vectors[number])


def snapshot(seq: int) -> Snapshot:
    """The head when it was published."""
    return Snapshot("bench", seq, seq, f"commit-{seq}", SPACE.id, frozenset(), was_head=True)


async def ask(search: Search, corpus: Corpus, seq: int, *, exact: bool) -> list[Hits]:
    """Ten hits a question."""
    found = []
    for question in corpus.questions:
        query = SearchQuery(question, settings=RetrievalSettings(top_k=10))
        found.append([(p.chunk.id, p.score, p.dense, p.bm25) for p in await search.run(COLLECTION, snapshot(seq), query, exact=exact)])
    return found


async def rows(data: Path) -> list[Row]:
    """Three commits; HNSW is built after the second, so that the head reads from both kinds of segment."""
    corpus = make_corpus(sum(COMMITS.values()))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        index = QdrantEdgeIndex(root / "index")
        await index.create(NAME, SPACE)
        search = Search(index, KnownQuestions(corpus.questions))
        recorded: dict[int, list[Hits]] = {}
        done = 0
        for seq, count in COMMITS.items():
            for start in range(done, done + count, 1000):
                await index.insert(NAME, [make_point(corpus, number, seq) for number in range(start, start + 1000)])
            if seq > 1:
                stale = range(seq * CLOSED, (seq + 1) * CLOSED)
                await index.close_points(NAME, [make_point(corpus, number, 1).chunk.id for number in stale], seq, ())
            done += count
            recorded[seq] = await ask(search, corpus, seq, exact=True)
            if seq == 2:
                await index.optimise(NAME)
        same = 0
        for seq, before in recorded.items():
            same += sum(now == then for now, then in zip(await ask(search, corpus, seq, exact=True), before, strict=True))
        head = max(COMMITS)
        near, true = await dense(search, corpus, head, exact=False), await dense(search, corpus, head, exact=True)
        recall = [len(some & all_) / len(all_) for some, all_ in zip(near, true, strict=True)]
        await index.aclose()
        shutil.copytree(root / "index", root / "bare")  # a shard has one owner
        index = QdrantEdgeIndex(root / "index")
        search = Search(index, KnownQuestions(corpus.questions))
        bare = EdgeShard.load(str(next((root / "bare" / NAME).glob("g*"))))
        ours, theirs = await race(search, bare, corpus, head)
        bare.close()
        await index.aclose()
    size = len(corpus.texts)
    compared = len(recorded) * QUESTIONS
    note = f"medians {median(ours) * 1e3:.2f} and {median(theirs) * 1e3:.2f} ms, stub embedder"
    return [
        row("as-of searches identical to those at the time, 50 k chunks with HNSW", same / compared, "share", "==", 1.0, compared, "ids, order, scores"),
        row("recall@10 of the head's dense search against exact", float(np.mean(recall)), "share", ">=", 0.99, QUESTIONS, f"{size} chunks, HNSW"),
        row("search p50, use case / bare engine with the same filters", median(ours) / median(theirs), "ratio", "<=", 1.5, len(ours), note),
    ]  # fmt: skip


async def dense(search: Search, corpus: Corpus, seq: int, *, exact: bool) -> list[set[str]]:
    """Ids of the ten nearest chunks."""
    query = RetrievalSettings(top_k=10, candidates=CANDIDATES, fusion="dense")
    found = [await search.run(COLLECTION, snapshot(seq), SearchQuery(text, settings=query), exact=exact) for text in corpus.questions]
    return [{passage.chunk.id for passage in passages} for passages in found]


async def race(search: Search, bare: EdgeShard, corpus: Corpus, seq: int) -> tuple[list[float], list[float]]:
    """Seconds a question, taking turns; each question is new. The first ten warm both up."""
    ours, theirs = [], []
    encoder = Bm25(Bm25Config(k=SPACE.bm25.k1, b=SPACE.bm25.b, avg_len=SPACE.bm25.average_length, language=SPACE.bm25.language))
    for text, vector in corpus.questions.items():
        began = time.perf_counter()
        await search.run(COLLECTION, snapshot(seq), SearchQuery(text, settings=RetrievalSettings(candidates=CANDIDATES)))
        between = time.perf_counter()
        bare.query_batch(QueryBatchRequest(bare_requests(encoder, text, vector, seq)))
        ours.append(between - began)
        theirs.append(time.perf_counter() - between)
    return ours[10:], theirs[10:]


def bare_requests(encoder: Bm25, text: str, vector: Vectors, seq: int) -> list[QueryRequest]:
    """The three queries of a hybrid search: dense, BM25, BM25's candidates rescored by their cosine. No payload is read.

    The snapshot is the filter of each, and of BM25's statistics: the engine's own, which the vectors named `terms` carry.
    """
    inside = Filter(must=[FieldCondition("seq_from", range=RangeFloat(lte=seq)), FieldCondition("seq_to", range=RangeFloat(gt=seq))])
    near = Query.Nearest(vector.tolist(), using="dense")
    words = Query.Nearest(encoder.embed_query(text), using="terms")
    statistics = SearchParams(idf=IdfParams(inside))
    prefetch = Prefetch(limit=CANDIDATES, query=words, filter=inside, params=statistics)
    return [
        QueryRequest(limit=CANDIDATES, query=near, filter=inside),
        QueryRequest(limit=CANDIDATES, query=words, filter=inside, params=statistics),
        QueryRequest(limit=CANDIDATES, query=near, prefetches=[prefetch], params=SearchParams(exact=True), filter=inside),
    ]
