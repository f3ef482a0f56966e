"""The embedding model of a server, over HTTP: any endpoint that speaks OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from ragstone.adapters.openai_embedding_endpoint import EmbeddingEndpoint, OtherSpace
from ragstone.adapters.openai_embedding_servers import Server
from ragstone.domain.errors import Busy, InvalidInput, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

_REQUEST_CHARACTERS = 200_000  # of one request: below 1 MiB in UTF-8, which is what ragstone's own server reads
_IN_LOOP = 4_000  # characters that are tokenised at once; more are in a thread

_Kind = Literal["passage", "query"]


class OpenAIEmbedder:
    """`EmbeddingModel` over an endpoint.

    Texts are cut to the window by the model's own tokenizer before they are sent, so that no server has to refuse or cut them. A request holds at most `batch_texts`
    texts (the probe of `server` included) and `batch_tokens` tokens, or one text; `in_flight` requests of one call run at a time, so that other calls come in between.
    Raises `InvalidInput` where the prefixes fill the window. `close` when done.
    """

    def __init__(
        self,
        endpoint: EmbeddingEndpoint,
        server: Server,
        tokenizer: ModelTokenizer,
        *,
        batch_texts: int = 32,
        batch_tokens: int = 8192,
        in_flight: int = 4,
    ) -> None:
        self._endpoint = endpoint
        self._server = server
        self._tokenizer = tokenizer
        self._batch_texts = max(1, batch_texts - len(server.probes))
        self._batch_tokens = batch_tokens
        self._in_flight = in_flight
        identity = server.identity
        taken = max(tokenizer.count([identity.query_prefix, identity.passage_prefix])) + tokenizer.special_tokens
        if taken >= identity.window:
            raise InvalidInput(f"embedder.window: of {identity.window} tokens a prefix leaves none to a text.", field="embedder.window")

    @property
    def identity(self) -> ModelIdentity:
        """As it was when this process met the server; vectors of another model are refused."""
        return self._server.identity

    @property
    def special_tokens(self) -> int:
        """As the tokenizer adds."""
        return self._tokenizer.special_tokens

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the passage prefix. A server that stays busy is `Unavailable`: the work is for later."""
        try:
            return await self._embed(texts, "passage", self.identity.passage_prefix)
        except Busy as busy:
            raise Unavailable(busy.message, field=busy.field, retry_after=busy.retry_after) from busy

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d), L2-normalised, each text with the query prefix."""
        return await self._embed(texts, "query", self.identity.query_prefix)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens and without prefix, uncut."""
        return self._tokenizer.count(texts)

    async def check(self) -> None:
        """Asks the server, once. One that is busy is there."""
        try:
            await self._server.check(self._endpoint)
        except Busy:
            return

    async def close(self) -> None:
        """Closes the connections."""
        await self._endpoint.aclose()

    async def _embed(self, texts: Sequence[str], kind: _Kind, prefix: str) -> Vectors:
        if sum(map(len, texts)) <= _IN_LOOP:
            prepared, tokens = self._cut(texts, prefix)
        else:
            prepared, tokens = await asyncio.to_thread(self._cut, texts, prefix)
        extra = {"input_type": kind, "space": self.identity.space} if self._server.adds_prefix else {}
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        running: deque[tuple[range, asyncio.Task[Vectors]]] = deque()
        try:
            for rows in self._batches(prepared, tokens):
                running.append((rows, asyncio.create_task(self._request(prepared[rows.start : rows.stop], extra))))
                if len(running) >= self._in_flight:
                    await _first(running, vectors)
            while running:
                await _first(running, vectors)
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        return vectors

    def _cut(self, texts: Sequence[str], prefix: str) -> tuple[list[str], list[int]]:
        prepared, tokens = self._tokenizer.cut(texts, prefix, with_prefix=not self._server.adds_prefix)
        return [text or " " for text in prepared], tokens  # the protocol knows no empty text; a model reads the same of a blank

    def _batches(self, texts: Sequence[str], tokens: Sequence[int]) -> Iterator[range]:
        start = held = characters = 0
        for row, (text, count) in enumerate(zip(texts, tokens, strict=True)):
            full = row - start == self._batch_texts or held + count > self._batch_tokens or characters + len(text) > _REQUEST_CHARACTERS
            if row > start and full:
                yield range(start, row)
                start, held, characters = row, 0, 0
            held += count
            characters += len(text)
        if start < len(texts):
            yield range(start, len(texts))

    async def _request(self, texts: Sequence[str], extra: Mapping[str, str]) -> Vectors:
        try:
            return self._server.accepted(await self._endpoint.embed([*texts, *self._server.probes], extra))
        except OtherSpace:
            await self._server.check(self._endpoint)  # which says what it serves now
            raise


async def _first(running: deque[tuple[range, asyncio.Task[Vectors]]], vectors: Vectors) -> None:
    """Waits for the request that was begun first."""
    rows, task = running[0]
    vectors[rows.start : rows.stop] = await task
    running.popleft()
