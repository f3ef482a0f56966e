"""A GGUF model in this process, as a generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ragstone.adapters.llama_engine import LlamaServer
from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.domain.generation import GenerationEvent, GenerationRequest, GeneratorIdentity


class LlamaGenerator:
    """`Generator` over llama.cpp's server in this process, spoken to as any other of OpenAI's protocol. `close` when done; it closes the server too.

    `concurrency`: answers at once, those that wait for a slot included; one more is `Busy`. `first_token_timeout`: seconds until an answer has begun.
    """

    def __init__(self, server: LlamaServer, *, first_token_timeout: float = 60.0, concurrency: int = 16) -> None:
        self._server = server
        self._endpoint = OpenAIGenerator(
            f"{server.base_url}/v1",
            server.name,
            api_key=lambda: server.key,
            kind="llama",
            revision=server.digest,
            context_window=server.context_window,
            first_token_timeout=first_token_timeout,
            concurrency=concurrency,
        )

    @property
    def identity(self) -> GeneratorIdentity:
        """Kind `llama`; the revision is the file's SHA-256."""
        return self._endpoint.identity

    @property
    def context_window(self) -> int:
        """As configured, or what the model was trained for if that is less."""
        return self._server.context_window

    @property
    def reads_prompt(self) -> bool:
        """True."""
        return True

    def count_tokens(self, text: str) -> int:
        """An upper estimate: asking the model's tokeniser would be a request."""
        return self._endpoint.count_tokens(text)

    async def check(self) -> None:
        """Raises `Unavailable` when its server does not answer."""
        await self._endpoint.check()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Text as it comes, then the usage. Closing it ends the work."""
        async with aclosing(self._endpoint.stream(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Ends what is being written, and frees the model."""
        await self._endpoint.aclose()
        await asyncio.to_thread(self._server.close)
