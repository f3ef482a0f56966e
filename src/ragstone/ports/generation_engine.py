"""What a generation service stands in front of: an inference engine that answers chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ragstone.domain.generation import ServedModel


class EngineReply(Protocol):
    """An answer that has begun. `aclose`, at any time and more than once, makes the engine stop working on it.

    `pieces` are its bytes as they come; with `every`, what comes within so many seconds of a piece is given together, the first words and the end never held up.
    """

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    def pieces(self, every: float = 0.0) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class GenerationEngine(Protocol):
    """Contract:

    - `start` loads the model, or begins to; until the engine answers, `check` raises `Unavailable` and so does `chat`, with `retry_after`.
      Raises `NotFound` or `InvalidInput` for a model that can't be served; then nothing runs.
    - `ready`, after `start`, returns once the engine answers, and raises `InvalidInput` when it does not come up; only `close` is of use then.
    - `chat` takes the body of a request to OpenAI's `/v1/chat/completions`, as JSON, and returns once the answer begins. What the engine refuses is a
      reply with the engine's status (400 for a prompt longer than its context). Breaking off is `Unavailable`, there and in `pieces`.
    - A streamed reply that is closed, and a call of `chat` for one that is cancelled, end the work behind them within a second: no slot stays taken. (llama.cpp
      goes on with an answer that is no stream, so none is asked for.)
    - An engine that dies or hangs is not ready (`check` raises), and is started again where that is possible without this process; `lost` is True where it is not.
    - `metrics` is the engine's own text in Prometheus's format; empty when it gives none.
    - `names`: the model's and those of adapters (LoRA) on top of it; each may be asked for.
    - `close` ends everything that was started. Nothing is left behind.
    """

    @property
    def model(self) -> ServedModel: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def lost(self) -> bool: ...

    async def start(self) -> None: ...

    async def ready(self) -> None: ...

    async def check(self) -> None: ...

    async def chat(self, body: bytes) -> EngineReply: ...

    async def metrics(self) -> str: ...

    async def close(self) -> None: ...
