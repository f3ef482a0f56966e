"""Calls that come at the same time share micro-batches: what waits is sorted by length, and each thread takes as much of it as makes a batch."""

from __future__ import annotations

import asyncio
import logging
import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np

from ragstone.adapters.onnx_batches import BATCH_TEXTS, BATCH_TOKENS
from ragstone.domain.deadline import remaining
from ragstone.domain.errors import Busy, InternalError, RagstoneError, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

_WINDOW = 8  # batches that are looked over for texts of one length
_LONGEST_RETRY = 30.0  # seconds
_PROBE = "."

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """A model that takes one batch at a time. `encode`: token ids of each text, cut to the window. `forward`: the vectors of rows of token ids, blocking, from several threads at once."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def special_tokens(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

    def forward(self, rows: Sequence[Sequence[int]]) -> Vectors: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """One micro-batch. `tokens` without padding, `padding` in tokens, `waited` and `seconds`: the longest wait before it, and what the model took."""

    texts: int
    tokens: int
    padding: int
    waited: float
    seconds: float


class _Call:
    """Texts of one caller. `pending`: length and row of those that no batch holds yet, the longest last."""

    def __init__(self, tokens: list[list[int]], dimension: int) -> None:
        self.tokens = tokens
        self.vectors: Vectors = np.empty((len(tokens), dimension), np.float32)
        self.left = len(tokens)
        self.pending = sorted((len(ids), row) for row, ids in enumerate(tokens))
        self.waiting_tokens = sum(map(len, tokens))
        self.since = perf_counter()
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Vectors] = self.loop.create_future()
        self.over = False


class BatchingEmbedder:
    """`EmbeddingModel` over an `Encoder`, which it closes.

    A batch has at most `batch_texts` texts and `batch_tokens` tokens, padding included, or one text. It is made when one of `threads` has nothing to do: of what waits then, so that it grows with
    the load and nobody waits for others to come. Questions and passages take turns, each in their own order: a batch is made around the longest text of the call that waits longest.
    `queue_texts` may be inside at once; a call beyond that is `Busy` (passages too: whoever sent them is told when to come back), unless it is alone. A call that is cancelled, or whose
    deadline passes (`Unavailable`), gives its places back. A batch that fails is done again by halves, so that only the text that is to blame fails. `on_batch` is called in the threads.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        threads: int,
        batch_tokens: int = BATCH_TOKENS,
        batch_texts: int = BATCH_TEXTS,
        queue_texts: int = 8192,
        on_batch: Callable[[BatchFacts], None] = lambda _: None,
    ) -> None:
        self._encoder = encoder
        self._batch_tokens = batch_tokens
        self._batch_texts = batch_texts
        self._queue_texts = queue_texts
        self._on_batch = on_batch
        self._lines: tuple[deque[_Call], deque[_Call]] = (deque(), deque())  # questions, passages
        self._turn = 0
        self._changed = threading.Condition()
        self._inside = 0  # texts, in the event loop's count
        self._pace = 0.0  # seconds for one text, of late
        self._failing = self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"micro-batches-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def identity(self) -> ModelIdentity:
        """The model's."""
        return self._encoder.identity

    @property
    def special_tokens(self) -> int:
        """As the model's tokenizer adds."""
        return self._encoder.special_tokens

    @property
    def inside(self) -> int:
        """Texts that wait or are being embedded."""
        return self._inside

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the passage prefix."""
        return await self._embed(self._lines[1], texts, self.identity.passage_prefix)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the query prefix."""
        return await self._embed(self._lines[0], texts, self.identity.query_prefix)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens and without prefix, uncut."""
        return self._encoder.count_tokens(texts)

    async def check(self) -> None:
        """After a text that failed by itself one more is tried: a model that has none left to give is not ready."""
        if self._closed:
            raise _closed()
        if self._failing:
            try:
                await self.embed_queries([_PROBE])
            except Busy:
                return
            except RagstoneError as error:
                raise Unavailable(error.message, field="embedding") from error

    def close(self) -> None:
        """What waits is `Unavailable`; ends the threads after what they are doing. Blocking."""
        with self._changed:
            self._closed = True
            waiting = [call for line in self._lines for call in line]
            for line in self._lines:
                line.clear()
            self._changed.notify_all()
        for call in waiting:
            _end(call, _closed())
        for thread in self._threads:
            thread.join()
        self._encoder.close()

    async def _embed(self, line: deque[_Call], texts: Sequence[str], prefix: str) -> Vectors:
        if not texts:
            return np.empty((0, self.identity.dimension), np.float32)
        if self._inside and self._inside + len(texts) > self._queue_texts:
            wait = min(_LONGEST_RETRY, max(1.0, self._inside * self._pace))
            raise Busy("The embedding model has too much to do; try again shortly.", field="embedding", retry_after=wait)
        self._inside += len(texts)
        call: _Call | None = None
        try:
            async with asyncio.timeout(remaining()):
                tokens = await asyncio.to_thread(self._encoder.encode, [prefix + text for text in texts])
                call = _Call(tokens, self.identity.dimension)
                self._enter(line, call)
                return await call.done
        except TimeoutError:
            raise Unavailable("The embedding model did not come to these texts in time; send fewer at once.", retry_after=1.0) from None
        finally:
            self._inside -= len(texts)
            if call is not None:
                self._leave(line, call)

    def _enter(self, line: deque[_Call], call: _Call) -> None:
        with self._changed:
            if self._closed:
                raise _closed()
            line.append(call)
            self._changed.notify(min(len(call.tokens), len(self._threads)))

    def _leave(self, line: deque[_Call], call: _Call) -> None:
        with self._changed, suppress(ValueError):  # it is not there when batches hold all of it
            line.remove(call)

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            rows, waited = taken
            began = perf_counter()
            self._run(rows)
            seconds = perf_counter() - began
            lengths = [len(call.tokens[row]) for call, row in rows]
            self._pace += 0.1 * (seconds / len(rows) / len(self._threads) - self._pace)
            self._on_batch(BatchFacts(len(rows), sum(lengths), len(rows) * max(lengths) - sum(lengths), waited, seconds))

    def _next(self) -> tuple[list[tuple[_Call, int]], float] | None:
        """Waits for something to do; None when it is closed."""
        with self._changed:
            while not any(self._lines):
                if self._closed:
                    return None
                self._changed.wait()
            line = self._lines[self._turn] or self._lines[1 - self._turn]
            self._turn = 1 - self._turn
            waited = perf_counter() - line[0].since
            return self._take(line), waited

    def _take(self, line: deque[_Call]) -> list[tuple[_Call, int]]:
        """The longest text of the first call, and those of the first calls that are nearest to it in length, and no longer."""
        longest, _ = line[0].pending[-1]
        room = max(1, min(self._batch_texts, self._batch_tokens // max(1, longest)))
        found: list[
            tuple[int, int, int]
        ] = []  # the longest first, of the first call first; of one call as they end `pending`, whence they are taken
        ends: list[int] = []
        looked = 0
        for place, call in enumerate(line):
            ends.append(bisect_left(call.pending, (longest + 1, 0)))
            found += [(-length, place, -row) for length, row in call.pending[max(0, ends[-1] - room) : ends[-1]]]
            looked += call.waiting_tokens
            if looked >= _WINDOW * self._batch_tokens:
                break
        found = sorted(found)[:room]
        calls = [line[place] for place in range(len(ends))]
        taken = Counter(place for _, place, _ in found)
        for place, count in taken.items():
            call, end = calls[place], ends[place]
            call.waiting_tokens -= sum(length for length, _ in call.pending[end - count : end])
            del call.pending[end - count : end]
            if not call.pending:
                line.remove(call)
        return [(calls[place], -row) for _, place, row in found]

    def _run(self, rows: list[tuple[_Call, int]]) -> None:
        """Embeds them. One that fails alone ends its call."""
        rows = [(call, row) for call, row in rows if not call.over]
        if not rows:
            return
        try:
            vectors = self._encoder.forward([call.tokens[row] for call, row in rows])
        except Exception as error:
            if len(rows) > 1:
                for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                    self._run(half)
                return
            self._failing = True
            _log.warning("a text of %d tokens could not be embedded: %s", len(rows[0][0].tokens[rows[0][1]]), error)
            known = isinstance(error, RagstoneError)
            _end(rows[0][0], error if known else InternalError("The embedding model failed."))
            return
        self._failing = False
        for (call, row), vector in zip(rows, vectors, strict=True):
            call.vectors[row] = vector
        with self._changed:
            for call, _ in rows:
                call.left -= 1
            whole = [call for call in dict.fromkeys(call for call, _ in rows) if not call.left]
        for call in whole:
            _end(call, None)


def _end(call: _Call, error: Exception | None) -> None:
    """Tells the caller, unless it has gone; from any thread."""
    call.over = True

    def tell() -> None:
        if call.done.done():
            return
        if error is None:
            call.done.set_result(call.vectors)
        else:
            call.done.set_exception(error)

    with suppress(RuntimeError):  # its event loop is closed
        call.loop.call_soon_threadsafe(tell)


def _closed() -> Unavailable:
    return Unavailable("The embedding model was closed.")
