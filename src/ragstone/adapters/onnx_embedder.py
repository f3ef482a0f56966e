"""The embedding model in this process: `tokenizers` + ONNX Runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragstone.adapters.container import usable_cpus
from ragstone.adapters.model_files import read_encoder
from ragstone.adapters.onnx_batches import Batch, grouped, padded, run_all
from ragstone.adapters.onnx_session import CPU, OnnxSession
from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from ragstone.adapters.onnx_weights import window_of
from ragstone.domain.errors import InternalError, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

_SLICE = 1024  # texts tokenised and sorted together
_FEW = 4  # queries that are embedded in one hop

_T = TypeVar("_T")


class OnnxEmbedder:
    """`EmbeddingModel` over ONNX Runtime, on the CPU or another `provider` (ONNX Runtime's name of it).

    `model`: a Sentence-Transformers directory or an ONNX file. `threads`: cores to use (default: all that this process may use, within its container's CPU limit); each
    runs batches of its own, which needs less CPU than sharing every batch. `graphs`: folder where built graphs are kept.
    Loading takes about half a second, two the first time: do it outside the event loop.
    Raises `NotFound` or `InvalidInput` when the model cannot be used.
    """

    def __init__(self, model: Path, *, graphs: Path, threads: int | None = None, provider: str = CPU) -> None:
        files = read_encoder(model)
        window = window_of(files)
        self.session = OnnxSession(files, graphs=graphs, provider=provider)
        self.threads = threads or usable_cpus()
        self._tokenizer = ModelTokenizer(files.tokenizer, window=window, lower_case=files.lower_case)
        padding = files.config.get("pad_token_id")
        self._padding = padding if isinstance(padding, int) else 0
        self._passages = ThreadPoolExecutor(self.threads, thread_name_prefix="embed-passages")
        self._queries = ThreadPoolExecutor(self.threads, thread_name_prefix="embed-queries")  # a question does not queue behind an ingest
        self._closed = False
        self._identity = ModelIdentity(
            name=files.name,
            revision=files.revision,
            digest=self.session.digest,
            dimension=self.session.dimension,
            pooling=files.pooling or "mean",
            window=window,
            query_prefix=files.query_prefix,
            passage_prefix=files.passage_prefix,
        )

    @property
    def identity(self) -> ModelIdentity:
        """The model; `revision` is the hub's commit for a preset, a hash of the small files for a directory."""
        return self._identity

    @property
    def special_tokens(self) -> int:
        """Two, for BERT and its kin: [CLS] and [SEP]."""
        return self._tokenizer.special_tokens

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the passage prefix."""
        return await self._embed(self._passages, texts, self._identity.passage_prefix)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the query prefix."""
        if 0 < len(texts) <= _FEW:
            return await self._submit(self._queries, self._embed_now, texts, self._identity.query_prefix)
        return await self._embed(self._queries, texts, self._identity.query_prefix)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens and without prefix, uncut."""
        return self._tokenizer.count(texts)

    async def check(self) -> None:
        """It is in this process: there until it is closed."""
        if self._closed:
            raise Unavailable("The embedding model was closed.")

    def close(self) -> None:
        """Ends the worker threads after what they are doing; later calls raise `Unavailable`."""
        self._closed = True
        for pool in (self._passages, self._queries):
            pool.shutdown(wait=True)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it is, special tokens included, cut to the window."""
        return self._tokenizer.encode(texts)

    def forward(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Rows of token ids, at least one, padded to the longest -> float32 (b, d), L2-normalised. Blocking. Raises `InternalError`, `Unavailable`."""
        return self._forward(padded(range(len(rows)), rows, self._padding))

    def batches(self, texts: Sequence[str], prefix: str = "") -> list[Batch]:
        """Tokenises, sorts by length and pads, the longest first."""
        tokens = self.encode([prefix + text for text in texts])
        return [padded(rows, tokens, self._padding) for rows in grouped([len(ids) for ids in tokens])]

    async def _embed(self, pool: ThreadPoolExecutor, texts: Sequence[str], prefix: str) -> Vectors:
        vectors = np.empty((len(texts), self._identity.dimension), np.float32)
        for start in range(0, len(texts), _SLICE):
            batches = await self._submit(pool, self.batches, texts[start : start + _SLICE], prefix)
            embedded = await run_all(batches, lambda batch: self._submit(pool, self._forward, batch), self.threads)
            for batch, rows in zip(batches, embedded, strict=True):
                vectors[start + batch.rows] = rows
        return vectors

    def _embed_now(self, texts: Sequence[str], prefix: str) -> Vectors:
        vectors = np.empty((len(texts), self._identity.dimension), np.float32)
        for batch in self.batches(texts, prefix):
            vectors[batch.rows] = self._forward(batch)
        return vectors

    def _submit(self, pool: ThreadPoolExecutor, function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        if self._closed:
            raise Unavailable("The embedding model was closed.")
        return asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    def _forward(self, batch: Batch) -> Vectors:
        output = self.session.run(batch.ids, batch.mask)
        if not self.session.pools:
            output = pooled(output, batch.mask, self._identity.pooling)
        expected = (len(batch.rows), self._identity.dimension)
        if output.shape != expected:
            raise InternalError(f"The embedding model gave an array of shape {output.shape}, not {expected}.")
        norms = np.linalg.norm(output, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise InternalError("The embedding model gave a vector that is zero or not finite.")
        vectors: Vectors = output / norms
        return vectors


def pooled(hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """(b, s, d), (b, s) -> (b, d): the mean over real tokens, or the first token's vector."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.astype(np.float32)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    means: NDArray[np.float32] = (weights[:, None, :] @ hidden)[:, 0]
    return means
