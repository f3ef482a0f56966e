"""The embedding model in this process: `tokenizers` + ONNX Runtime."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ragstone.adapters.model_files import EncoderFiles, read_encoder
from ragstone.adapters.onnx_session import OnnxSession
from ragstone.adapters.onnx_weights import positions_before_text
from ragstone.domain.errors import InternalError, InvalidInput, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

_BATCH_TOKENS = 2048  # padding included: 16 texts of 128 tokens; larger batches are slower on few cores (their activations leave the cache)
_BATCH_TEXTS = 64
_SLICE = 1024  # texts tokenised and sorted together
_DEFAULT_WINDOW = 512


class _Batch(NamedTuple):
    rows: NDArray[np.intp]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


class OnnxEmbedder:
    """`EmbeddingModel` over ONNX Runtime on the CPU.

    `model`: a Sentence-Transformers directory or an ONNX file. `threads`: cores that one batch uses (default: all of this process).
    `graphs`: folder where built graphs are kept. Loading takes about half a second, seconds the first time; do it outside the event loop.
    Raises `NotFound` or `InvalidInput` when the model cannot be used.
    """

    def __init__(self, model: Path, *, graphs: Path, threads: int | None = None) -> None:
        files = read_encoder(model)
        self._session = OnnxSession(files, threads=threads or _cores(), graphs=graphs)
        window = _window(files)
        self._padding = _integer(files.config.get("pad_token_id"))
        self._lower_case = files.lower_case
        self._counter = _tokenizer(files.tokenizer)
        self._tokenizer = _tokenizer(files.tokenizer)
        self._tokenizer.enable_truncation(window)
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="onnx")  # a question need not wait for an ingest's batch
        self._identity = ModelIdentity(
            name=files.name,
            revision=files.revision,
            digest=self._session.digest,
            dimension=self._session.dimension,
            pooling=files.pooling or "mean",
            window=window,
            query_prefix=files.query_prefix,
            passage_prefix=files.passage_prefix,
        )

    @property
    def identity(self) -> ModelIdentity:
        """The model; `revision` is the hub's commit for a preset, a hash of the small files for a directory."""
        return self._identity

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the passage prefix."""
        return await self._embed(texts, self._identity.passage_prefix)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the query prefix."""
        return await self._embed(texts, self._identity.query_prefix)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens and without prefix, uncut."""
        encodings = self._counter.encode_batch_fast([self._prepared(text) for text in texts], add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def close(self) -> None:
        """Ends the worker threads; later calls raise `Unavailable`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        loop = asyncio.get_running_loop()
        vectors = np.empty((len(texts), self._identity.dimension), np.float32)
        try:
            for start in range(0, len(texts), _SLICE):
                batches = await loop.run_in_executor(self._pool, self._batches, texts[start : start + _SLICE], prefix)
                for batch in batches:  # one at a time in the pool, so that other callers' batches come in between
                    vectors[start + batch.rows] = await loop.run_in_executor(self._pool, self._forward, batch)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            raise Unavailable("The embedding model was closed.") from error
        return vectors

    def _prepared(self, text: str) -> str:
        return text.strip().lower() if self._lower_case else text.strip()

    def _batches(self, texts: Sequence[str], prefix: str) -> list[_Batch]:
        try:
            encodings = self._tokenizer.encode_batch_fast([self._prepared(prefix + text) for text in texts])
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidInput("A text to embed is not valid Unicode.", field="text") from error
        tokens = [encoding.ids for encoding in encodings]
        return [self._padded(rows, tokens) for rows in _grouped([len(ids) for ids in tokens])]

    def _padded(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> _Batch:
        length = max((len(tokens[row]) for row in rows), default=0) or 1
        ids = np.full((len(rows), length), self._padding, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(tokens[row])] = tokens[row]
            mask[place, : len(tokens[row])] = 1
        return _Batch(np.asarray(rows, np.intp), ids, mask)

    def _forward(self, batch: _Batch) -> Vectors:
        output = self._session.run(batch.ids, batch.mask)
        if not self._session.pools:
            output = _pooled(output, batch.mask, self._identity.pooling)
        if output.shape != (len(batch.rows), self._identity.dimension):
            raise InternalError(f"The embedding model gave the shape {output.shape}, not {(len(batch.rows), self._identity.dimension)}.")
        norms = np.linalg.norm(output, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise InternalError("The embedding model gave a vector that is not finite or is zero.")
        vectors: Vectors = output / norms
        return vectors


def _grouped(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows by falling length, in groups whose padded size is bounded."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = lengths[group[0]] if group else 0
        if group and (len(group) == _BATCH_TEXTS or (len(group) + 1) * longest > _BATCH_TOKENS):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _pooled(hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """(b, s, d) -> (b, d): the mean over real tokens, or the first token's."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.astype(np.float32)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    pooled: NDArray[np.float32] = (weights[:, None, :] @ hidden)[:, 0]
    return pooled


def _tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidInput(f"tokenizer.json cannot be read: {error}", field="model") from error
    tokenizer.no_padding()  # files in the wild bake in padding and truncation to 128
    tokenizer.no_truncation()
    return tokenizer


def _window(files: EncoderFiles) -> int:
    window = files.window or _DEFAULT_WINDOW
    positions = files.config.get("max_position_embeddings")
    if files.kind == "safetensors" and isinstance(positions, int):
        window = min(window, positions - positions_before_text(files.config))
    return window


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
