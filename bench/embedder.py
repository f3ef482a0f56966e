"""The embedder against the ONNX session that it runs, called directly; and how fast one question is."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before it is imported, as in ragstone.adapters.onnx_session
import onnxruntime  # type: ignore[import-untyped]

from bench.rows import Row, row
from ragstone.adapters.model_files import read_encoder
from ragstone.adapters.model_presets import DEFAULT
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_batches import Batch
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_session import built_graph, weights_digest
from ragstone.domain.retrieval import Vectors

TEXTS, TOKENS, ROUNDS, QUESTIONS = 512, 128, 3, 200
_WORDS = (
    "pump",
    "valve",
    "engine",
    "water",
    "oil",
    "flows",
    "stops",
    "hot",
    "cold",
    "red",
    "green",
    "blue",
    "table",
    "river",
    "stone",
    "light",
)


def texts_of(model: OnnxEmbedder, count: int, tokens: int) -> list[str]:
    """Texts that the model reads as exactly `tokens` tokens, the two special ones included: words that are one token each."""
    assert model.count_tokens(_WORDS) == [1] * len(_WORDS)
    words = random.Random(1)
    return [" ".join(words.choices(_WORDS, k=tokens - 2)) for _ in range(count)]


async def rows(data: Path) -> list[Row]:
    """Needs no data set; pulls the default model where it is missing."""
    store = ModelStore()
    await asyncio.to_thread(store.pull, DEFAULT)
    model = await asyncio.to_thread(lambda: OnnxEmbedder(store.path(DEFAULT), graphs=store.graphs))
    try:
        return [*await _throughput(model, store), await _question(model)]
    finally:
        model.close()


async def _throughput(model: OnnxEmbedder, store: ModelStore) -> list[Row]:
    """A B A B …: texts to vectors through the port, and the bare session on ids made beforehand, from as many threads."""
    texts = texts_of(model, TEXTS, TOKENS)
    batches = model.batches(texts)
    shared = _shared_session(store)
    through, direct = [], []
    expected = await model.embed_passages(texts[:16])  # warm, and the same numbers by both ways
    np.testing.assert_allclose(_mean(model.session.run(batches[0].ids, batches[0].mask)), expected[batches[0].rows], atol=1e-5)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await model.embed_passages(texts)
        through.append(time.perf_counter() - start)
        direct.append(await asyncio.to_thread(_direct, model, batches))
    one = TEXTS / await asyncio.to_thread(_usual, shared, batches)
    rate, bare = (TEXTS / statistics.median(seconds) for seconds in (through, direct))
    note = f"medians of {ROUNDS} rounds each, in turn; {rate:.1f} texts/s through the port, {bare:.1f} called directly, {model.threads} threads"
    return [
        row("embedder: share of the bare ONNX session's throughput", rate / bare, "ratio", ">=", 0.95, TEXTS, note),
        row(
            "embedder: against a session that shares each batch among all cores",
            rate / one,
            "ratio",
            n=TEXTS,
            note=f"{one:.1f} texts/s with ONNX Runtime's default threading, batches of 32",
        ),
        row("embedder: throughput", rate, "texts/s", n=TEXTS, note=f"texts of {TOKENS} tokens"),
    ]


async def _question(model: OnnxEmbedder) -> Row:
    times = []
    for number in range(QUESTIONS):
        start = time.perf_counter()
        await model.embed_queries([f"how does the oil pump of engine {number} stop?"])
        times.append(time.perf_counter() - start)
    return row("embedder: one short question, p50", statistics.median(times) * 1e3, "ms", n=QUESTIONS)


def _direct(model: OnnxEmbedder, batches: Sequence[Batch]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(model.threads) as pool:
        list(pool.map(lambda batch: model.session.run(batch.ids, batch.mask), batches))
    return time.perf_counter() - start


def _usual(session: onnxruntime.InferenceSession, batches: Sequence[Batch]) -> float:
    ids, mask = (np.concatenate([batch[part] for batch in batches]) for part in (1, 2))
    start = time.perf_counter()
    for first in range(0, len(ids), 32):
        session.run(None, {"input_ids": ids[first : first + 32], "attention_mask": mask[first : first + 32]})
    return time.perf_counter() - start


def _shared_session(store: ModelStore) -> onnxruntime.InferenceSession:
    files = read_encoder(store.path(DEFAULT))
    graph = built_graph(files, weights_digest(files), store.graphs)
    return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def _mean(hidden: Vectors) -> Vectors:
    means = hidden.mean(axis=1)  # no padding: all texts are of one length
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)
