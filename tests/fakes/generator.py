"""A generator that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ragstone.domain.answers import Usage
from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished, GenerationRequest, GeneratorIdentity


class ScriptedGenerator:
    """`Generator` that yields `pieces`; without any it quotes the first passage's first words and cites it, or repeats the question where there is none.

    `error` is raised once the pieces are out. `blocks`: it waits for ever after them, until the request's timeout or until it is closed.
    `requests` holds what it was asked; `closed` counts streams that were closed before their end.
    """

    def __init__(
        self,
        pieces: Sequence[str] | None = None,
        *,
        error: RagstoneError | None = None,
        blocks: bool = False,
        context_window: int = 8192,
        name: str = "scripted",
    ) -> None:
        self._pieces = pieces
        self.error = error
        self._blocks = blocks
        self._context_window = context_window
        self._identity = GeneratorIdentity("scripted", name, "1")
        self.requests: list[GenerationRequest] = []
        self.closed = 0

    @property
    def identity(self) -> GeneratorIdentity:
        return self._identity

    @property
    def context_window(self) -> int:
        return self._context_window

    @property
    def reads_prompt(self) -> bool:
        return True

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def check(self) -> None:
        if self.error:
            raise self.error

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        pieces = _quote(request) if self._pieces is None else self._pieces
        try:
            for piece in pieces:
                yield GeneratedText(piece)
            if self._blocks:
                await self._wait(request.timeout)
            if self.error:
                raise self.error
        except GeneratorExit:
            self.closed += 1
            raise
        yield GenerationFinished(
            Usage(self.count_tokens(request.system) + self.count_tokens(request.user), sum(map(self.count_tokens, pieces)))
        )

    async def _wait(self, timeout: float) -> None:  # noqa: ASYNC109 - the port's deadline
        try:
            await asyncio.wait_for(asyncio.Event().wait(), timeout)
        except TimeoutError as error:
            raise Unavailable("The scripted generator did not answer in time.") from error


def _quote(request: GenerationRequest) -> Sequence[str]:
    if not request.passages:  # a conversation, whose question is repeated as it is
        return [request.question]
    words = request.passages[0].chunk.text.split()[:8]
    return [word + " " for word in words] + ["[1]"]
