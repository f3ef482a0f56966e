"""A prompt with passages to a stream of text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from ragstone.domain.generation import GenerationEvent, GenerationRequest, GeneratorIdentity


class Generator(Protocol):
    """Contract:

    - `stream` yields `GeneratedText` pieces, cut anywhere, then exactly one `GenerationFinished`. Closing the iterator early stops the work behind it.
    - Raises `Unavailable` when the generator does not answer within `request.timeout` seconds or answers with an error, `Busy` when it has too
      much to do, `InvalidInput` when it refuses this request and may take others.
    - `check` raises `Unavailable` while it would not answer.
    - `count_tokens` counts in the generator's own tokens (an upper estimate where its tokeniser is not to be had).
    - `context_window`: tokens of prompt and answer together.
    - `reads_prompt` False: it works from question and passages alone; no prompt is rendered for it, `system` and `user` are empty.
    """

    @property
    def identity(self) -> GeneratorIdentity: ...

    @property
    def context_window(self) -> int: ...

    @property
    def reads_prompt(self) -> bool: ...

    def count_tokens(self, text: str) -> int: ...

    async def check(self) -> None: ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]: ...
