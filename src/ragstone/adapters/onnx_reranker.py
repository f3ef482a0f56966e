"""A cross-encoder in this process: `tokenizers` + ONNX Runtime.

A cross-encoder reads question and text as one sequence and gives one logit (Nogueira and Cho 2019, "Passage Re-ranking with BERT").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragstone.adapters.container import usable_cpus
from ragstone.adapters.model_files import check_manifest, read_encoder
from ragstone.adapters.onnx_batches import Batch, filled, grouped, padded, run_all
from ragstone.adapters.onnx_pair_session import OnnxPairSession
from ragstone.adapters.onnx_session import CPU, weights_digest
from ragstone.adapters.onnx_tokenizer import PairTokenizer
from ragstone.adapters.onnx_weights import several_labels, window_of
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.reranking import RerankerIdentity

_SLICE = 1024  # texts tokenised and sorted together

_T = TypeVar("_T")


class PairBatch(NamedTuple):
    """Pairs padded to one length. `types` int64 (b, s): 0 for the question's tokens and for padding, 1 for the text's where the model tells them apart."""

    texts: Batch
    types: NDArray[np.int64]


class OnnxReranker:
    """`Reranker` over ONNX Runtime, on the CPU or another `provider`; scores are the model's logits as they are.

    `model`: a directory with model.onnx (output `logits` (b, 1)) or model.safetensors (BERT or RoBERTa family, a classification head of one label), or
    an .onnx file. `digest`: SHA-256 that the weights must have, None for any. `threads`: cores to use (default: all that this process may use); each
    runs batches of its own. `graphs`: folder where built graphs are kept. Loading takes about half a second, two the first time: do it outside the event loop.
    Raises `NotFound` or `InvalidInput` when the model can't be used: files that are missing or not those of its manifest, pickled weights, several labels,
    weights that give no finite score.
    """

    def __init__(self, model: Path, *, graphs: Path, threads: int | None = None, digest: str | None = None, provider: str = CPU) -> None:
        files = read_encoder(model)
        check_manifest(model)
        found = weights_digest(files)
        if digest is not None and found != digest:
            raise InvalidInput(
                f"{files.weights.name} has the SHA-256 {found}, not {digest}, which is set; nothing is loaded.", field="model"
            )
        self.session = OnnxPairSession(files, found, graphs=graphs, provider=provider)
        self.threads = threads or usable_cpus()
        self._tokenizer = PairTokenizer(files.tokenizer, window=window_of(files), lower_case=files.lower_case)
        padding = files.config.get("pad_token_id")
        self._padding = padding if isinstance(padding, int) else 0
        self._try_out()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="rerank")
        self._closed = False
        self._identity = RerankerIdentity("onnx", files.name, files.revision, found)

    @property
    def identity(self) -> RerankerIdentity:
        """Kind `onnx`; `revision` is a hash of the small files, or what the model's manifest says."""
        return self._identity

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A logit a text."""
        scores = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), _SLICE):
            batches = await self._submit(self.batches, question, texts[start : start + _SLICE])
            logits = await run_all(batches, lambda batch: self._submit(self._forward, batch), self.threads)
            for batch, rows in zip(batches, logits, strict=True):
                scores[start + batch.texts.rows] = rows
        found: list[float] = scores.tolist()
        return found

    async def check(self) -> None:
        """Raises `Unavailable` once it is closed; nothing else can be away."""
        if self._closed:
            raise _closed()

    async def close(self) -> None:
        """Ends the worker threads after what they are doing."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, wait=True)

    def batches(self, question: str, texts: Sequence[str]) -> list[PairBatch]:
        """Tokenises, sorts by length and pads, the longest first."""
        pairs = self._tokenizer.encode(question, texts)
        ids, types = [pair.ids for pair in pairs], [pair.types for pair in pairs]
        return [PairBatch(padded(rows, ids, self._padding), filled(rows, types, 0)) for rows in grouped([len(each) for each in ids])]

    def _submit(self, function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        if self._closed:
            raise _closed()
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _forward(self, batch: PairBatch) -> NDArray[np.float32]:
        logits = self.session.run(batch.texts.ids, batch.texts.mask, batch.types)
        if logits.shape != (len(batch.texts.rows), 1):
            raise Unavailable(f"The reranker gave an array of shape {logits.shape}, not {(len(batch.texts.rows), 1)}.")
        if not np.isfinite(logits).all():
            raise Unavailable("The reranker gave a score that is not finite; check its weights.")
        return logits[:, 0]

    def _try_out(self) -> None:
        """What the files don't say shows here, not at the first question. Raises `InvalidInput`."""
        [batch] = self.batches("a", ["a", "a a"])
        try:
            logits = self.session.run(batch.texts.ids, batch.texts.mask, batch.types)
            if logits.ndim == 2 and logits.shape[1] != 1:
                raise several_labels(logits.shape[1])
            self._forward(batch)
        except Unavailable as error:
            raise InvalidInput(error.message, field="model") from error


def _closed() -> Unavailable:
    return Unavailable("The reranker was closed.")
