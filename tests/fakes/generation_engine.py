"""An engine that says what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from ragstone.domain.errors import InvalidInput, RagstoneError, Unavailable
from ragstone.domain.generation import ServedModel

WINDOW = 4_096  # characters, of a prompt
_AT_ONCE = 2  # pieces that are never held up


class ScriptedReply:
    """`EngineReply`. Pieces come one after another; after them it waits for ever (`blocks`), raises `error`, or ends."""

    def __init__(self, engine: ScriptedEngine, status: int, pieces: Sequence[bytes], stream: bool) -> None:
        self.status = status
        self.content_type = "text/event-stream" if stream else "application/json"
        self._engine = engine
        self._pieces = pieces
        self._open = True

    async def pieces(self, every: float = 0.0) -> AsyncIterator[bytes]:
        self._engine.every = every
        at_once, rest = (self._pieces[:_AT_ONCE], self._pieces[_AT_ONCE:]) if every else (self._pieces, [])
        for piece in [*at_once, *([b"".join(rest)] if rest else [])]:
            await asyncio.sleep(0)
            yield piece
        if self.status == 200:
            if self._engine.blocks:
                await asyncio.Event().wait()
            if self._engine.error:
                raise self._engine.error

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._engine.running -= 1


class ScriptedEngine:
    """`GenerationEngine` that answers with `words`. `running`: replies that are open; `bodies`: what it was asked, as JSON; `every`: of the last stream.

    `fails`: why it does not come up.
    """

    def __init__(
        self,
        words: Sequence[str] = ("Quartz", " [1]."),
        *,
        blocks: bool = False,
        error: RagstoneError | None = None,
        names: Sequence[str] = ("scripted",),
        version: str = "7",
        fails: str = "",
    ) -> None:
        self.words = words
        self.blocks = blocks
        self.error = error
        self.names = tuple(names)
        self.model = ServedModel(self.names[0], version, "d" * 64)
        self.fails = fails
        self.lost = False
        self.up = False
        self.status = 200
        self.running = 0
        self.every = 0.0
        self.bodies: list[dict[str, object]] = []

    async def start(self) -> None:
        self.up = not self.fails

    async def ready(self) -> None:
        if self.fails:
            raise InvalidInput(f"The engine {self.fails}.", field="engine")

    async def check(self) -> None:
        if not self.up or self.lost:
            raise Unavailable("The engine is not up.", field="engine", retry_after=7.0)

    async def chat(self, body: bytes) -> ScriptedReply:
        await self.check()
        asked = json.loads(body)
        self.bodies.append(asked)
        self.running += 1
        if len(str(asked["messages"])) > WINDOW:
            said = {"message": "the prompt exceeds the context length", "type": "BadRequestError", "code": 400}
            return ScriptedReply(self, 400, [json.dumps({"error": said}).encode()], False)
        if self.status != 200:
            return ScriptedReply(self, self.status, [b"no"], False)
        if asked.get("stream"):
            return ScriptedReply(
                self,
                200,
                [*map(_event, self.words), *([] if self.error or self.blocks else [_event("", "stop"), b"data: [DONE]\n\n"])],
                True,
            )
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(self.words)}, "finish_reason": "stop"}
        return ScriptedReply(self, 200, [json.dumps({"choices": [choice]}).encode()], False)

    async def metrics(self) -> str:
        return f"scripted:running {self.running}\n" if self.up else ""

    async def close(self) -> None:
        self.up = False


def _event(word: str, finish: str | None = None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": finish}]}).encode() + b"\n\n"
