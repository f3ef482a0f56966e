"""The embedding service against the ONNX session that it runs, called directly; and how long one request takes.

Both do the same work on the same texts, in turns: the service for 32 clients over HTTP, tokens, batches and JSON included; directly the texts are
tokenised, sorted by length and run in batches of 32 by as many threads as the service has.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import statistics
import tempfile
import time
from base64 import b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: as the service has it (ragstone.cli.main)
import numpy as np

from bench.embedder import texts_of
from bench.overhead import Client
from bench.rows import Row, row, skipped
from ragstone.adapters.container import usable_cpus
from ragstone.adapters.model_presets import DEFAULT
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.retrieval import Vectors
from tests.servers.embedding_service import MISSING, PROGRAM, serving

CLIENTS, TEXTS, REQUESTS, ROUNDS, SINGLE = 32, 8, 2, 4, 200
SHORTEST, LONGEST = 8, 250  # tokens; lengths are spread evenly over their logarithm, as questions, sentences and chunks are
BATCH = 32
NAME, BAR = "embedding service: 32 clients, 8 texts a request, against its session called directly", 0.90


async def rows(data: Path) -> list[Row]:
    """Needs no data set; pulls the default model where it is missing."""
    if not PROGRAM.exists():
        return [skipped(NAME, MISSING, ">=", BAR)]
    store = ModelStore()
    await asyncio.to_thread(store.pull, DEFAULT)
    model = await asyncio.to_thread(lambda: OnnxEmbedder(store.path(DEFAULT), graphs=store.graphs))
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory), {}) as service:
        try:
            port = int(service.url.rpartition(":")[2])
            return [*await _throughput(model, port), *await _single(model, port)]
        finally:
            model.close()


async def _throughput(model: OnnxEmbedder, port: int) -> list[Row]:
    texts = mixed(model, CLIENTS * TEXTS * REQUESTS)
    bodies = [request(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
    shares = [bodies[client::CLIENTS] for client in range(CLIENTS)]
    through, direct, small, waits = list[float](), list[float](), list[float](), list[float]()
    expected = await asyncio.to_thread(directly, model, texts)
    async with AsyncExitStack() as stack:
        client = await opened(port, stack)
        answer = await client.ask(bodies[0])  # warm, and the same numbers by both ways
        found = np.stack([np.frombuffer(b64decode(each["embedding"]), "<f4") for each in json.loads(answer)["data"]])
        np.testing.assert_allclose(found, expected[:TEXTS], atol=1e-5)

    async def work(client: Client, share: Sequence[bytes]) -> None:
        for body in share:
            began = time.perf_counter()
            await client.ask(body)
            waits.append(time.perf_counter() - began)

    for _ in range(ROUNDS):
        async with AsyncExitStack() as stack:  # the server closes connections that are idle while the session has its turn
            clients = [await opened(port, stack) for _ in range(CLIENTS)]
            began = time.perf_counter()
            await asyncio.gather(*(work(client, share) for client, share in zip(clients, shares, strict=True)))
            through.append(time.perf_counter() - began)
        began = time.perf_counter()
        await asyncio.to_thread(directly, model, texts)
        direct.append(time.perf_counter() - began)
        began = time.perf_counter()
        await model.embed_passages(texts)
        small.append(time.perf_counter() - began)
    service, session, own = (len(texts) / statistics.median(each) for each in (through, direct, small))
    note = f"medians of {ROUNDS} rounds in turns: {service:.0f} and {session:.0f} texts/s of {SHORTEST} to {LONGEST} tokens, {usable_cpus()} cores"
    return [
        row(NAME, service / session, "of its throughput", ">=", BAR, n=len(texts) * ROUNDS, note=note),
        row(
            "embedding service: the same against the session called directly in batches of 256 tokens",
            service / own,
            "of its throughput",
            n=len(texts) * ROUNDS,
            note=f"{own:.0f} texts/s: batches that stay in the cores' caches are what ragstone embeds in",
        ),
        row("embedding service: 8 texts a request, 32 clients, p50", 1e3 * statistics.median(waits), "ms", n=len(waits)),
        row("embedding service: 8 texts a request, 32 clients, p99", 1e3 * percentile(waits, 0.99), "ms", n=len(waits)),
    ]


async def _single(model: OnnxEmbedder, port: int) -> list[Row]:
    texts = mixed(model, SINGLE)
    waits, direct = list[float](), list[float]()
    async with AsyncExitStack() as stack:
        client = await opened(port, stack)
        for text in texts:
            began = time.perf_counter()
            await client.ask(request([text]))
            waits.append(time.perf_counter() - began)
            began = time.perf_counter()
            await asyncio.to_thread(model.forward, model.encode([text]))
            direct.append(time.perf_counter() - began)
    note = f"one client; the session called directly takes {1e3 * statistics.median(direct):.1f} ms (p50), {1e3 * percentile(direct, 0.99):.1f} ms (p99)"
    return [
        row("embedding service: one text, p50", 1e3 * statistics.median(waits), "ms", n=len(waits), note=note),
        row("embedding service: one text, p99", 1e3 * percentile(waits, 0.99), "ms", n=len(waits), note=note),
    ]


def mixed(model: OnnxEmbedder, count: int) -> list[str]:
    """Texts of all lengths, in no order."""
    lengths = random.Random(7)
    spread = math.log(LONGEST / SHORTEST)
    return [texts_of(model, 1, round(SHORTEST * math.exp(spread * lengths.random())))[0] for _ in range(count)]


def directly(model: OnnxEmbedder, texts: Sequence[str]) -> Vectors:
    """Tokenised, sorted by length, in batches of 32."""
    tokens = model.encode(texts)
    order = sorted(range(len(texts)), key=lambda index: -len(tokens[index]))
    parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    vectors = np.empty((len(texts), model.identity.dimension), np.float32)
    with ThreadPoolExecutor(model.threads) as pool:
        for part, rows_ in zip(parts, pool.map(lambda part: model.forward([tokens[index] for index in part]), parts), strict=True):
            vectors[part] = rows_
    return vectors


def request(texts: Sequence[str]) -> bytes:
    """Of HTTP, ready to be sent."""
    body = json.dumps({"model": DEFAULT, "input": list(texts), "encoding_format": "base64"}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def opened(port: int, stack: AsyncExitStack) -> Client:
    """A connection."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port), b"")
    stack.push_async_callback(client.close)
    return client


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
