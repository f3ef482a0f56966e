"""Cost follows the change: updating one document of a small and of a large collection."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from bench.rows import Row, row
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform

SMALL, LARGE, CHUNKS_A_DOCUMENT, UPDATES = 1_000, 100_000, 20, 25


class RandomVectors:
    """`EmbeddingModel` that costs next to nothing, so that the rest is what is measured: a text's hash seeds its vector."""

    identity = ModelIdentity("random", "1", "0" * 64, 384, "mean", 256)
    special_tokens = 2

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts]
        vectors: Vectors = np.array([np.random.default_rng(seed).standard_normal(384) for seed in seeds], np.float32).reshape(-1, 384)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return await self.embed_passages(texts)

    async def check(self) -> None:
        pass

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // 5 for text in texts]


def document(number: int, version: int) -> Upload:
    """A Markdown document of `CHUNKS_A_DOCUMENT` sections; a new version changes one of them."""
    sections = [
        f"## Section {section}\n\nDocument {number}, part {section}, revision {version if section == 7 else 0}: "
        + f"word{number * 31 + section} " * 40
        for section in range(CHUNKS_A_DOCUMENT)
    ]
    return Upload(f"d{number}.md", f"# Document {number}\n\n{chr(10).join(sections)}\n".encode(), "text/markdown")


async def fill(platform: Platform, chunks: int) -> None:
    """Ingests documents until the collection has `chunks` chunks."""
    await platform.collections.create("docs")
    numbers = range(chunks // CHUNKS_A_DOCUMENT)
    for start in range(0, len(numbers), 1000):
        await ingest(platform, [document(number, 0) for number in numbers[start : start + 1000]])
    head = await platform.adapters.catalog.head("docs")
    assert head is not None
    assert head.stats.chunks == chunks, head.stats
    await platform.maintenance.idle()
    collection = await platform.collections.get("docs")
    await platform.adapters.index.optimise(collection.index_name(head.space_id))  # so that no update sets it off while it is measured


async def ingest(platform: Platform, uploads: list[Upload]) -> float:
    """Seconds from the request to the published commit."""
    began = time.perf_counter()
    job = await platform.ingest.submit("docs", IngestRequest(tuple(uploads)))
    job = await platform.ingest.wait(job.id, 1800)
    assert job.state == "published", job.result
    return time.perf_counter() - began


async def rows(data: Path) -> list[Row]:
    """The ratio of the two medians, updates of both collections taking turns."""
    with tempfile.TemporaryDirectory() as directory:
        small_settings = load_settings(data_dir=Path(directory) / "small")
        large_settings = load_settings(data_dir=Path(directory) / "large")
        async with (
            open_platform(small_settings, embedder=RandomVectors()) as small,
            open_platform(large_settings, embedder=RandomVectors()) as large,
        ):
            await fill(small, SMALL)
            await fill(large, LARGE)
            times: dict[str, list[float]] = {"small": [], "large": []}
            for version in range(1, UPDATES + 1):
                times["small"].append(await ingest(small, [document(version, version)]))
                times["large"].append(await ingest(large, [document(version * 97, version)]))
    few, many = median(times["small"]), median(times["large"])
    note = f"medians {few * 1e3:.0f} and {many * 1e3:.0f} ms, stub embedder"
    return [row("update of one document, 100 k chunks / 1 k chunks", many / few, "ratio", "<=", 1.2, UPDATES, note)]
