"""`POST /v1/chat/completions`: bounded, passed to the engine, and passed back as it comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ragstone.domain.errors import InvalidInput, NotFound, RagstoneError, Unavailable
from ragstone.ports.generation_engine import EngineReply
from ragstone.services.generation.chat_body import ChatBody
from ragstone.services.generation.collected import collected
from ragstone.services.generation.serving import Serving, headers_of
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import ClientGone
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import openai_error

PATH = "/v1/chat/completions"
_BYTES = 2**23  # of a body
_ERROR_BYTES = 2**16  # of an engine's refusal that are read
_ERROR_WORDS = 500  # characters of it that are passed on, to whoever sent the request
_TOO_LONG = ("exceed_context_size_error", "context length", "context size", "max_model_len")  # llama.cpp's type, and words of both


class PromptTooLong(InvalidInput):
    """The prompt, with what may be answered, is longer than the model's context."""

    code = "context_length_exceeded"  # OpenAI's word for it
    status = 400
    title = "Prompt too long"


class Chat:
    """The route's application. Raises ragstone's errors until its answer begins."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = self._serving
        asked = await read_json(Request(scope, receive), ChatBody, _BYTES)
        if asked.model not in serving.engine.names:
            known = ", ".join(serving.engine.names)
            raise NotFound(f"model: there is no {asked.model[:100]!r} here; it is {known}.", field="model")
        if serving.stopping:
            raise Unavailable("The server is stopping; ask another one.", field="server", retry_after=1.0)
        if serving.gate.full:
            serving.metrics.full.inc()
        async with serving.gate:
            answer = _Answer(serving, asked, scope, send)
            serving.entered()
            try:
                await _unless_gone(answer, receive)
            finally:
                serving.left()
                serving.metrics.answers.labels(answer.outcome).inc()


class _Answer:
    """One request on its way through. `outcome` as the metric tells it."""

    def __init__(self, serving: Serving, asked: ChatBody, scope: Scope, send: Send) -> None:
        self.outcome = "disconnected"
        self._serving = serving
        self._asked = asked
        self._scope = scope
        self._send = send
        self.begun = False
        self._since = time.monotonic()

    async def run(self) -> None:
        """Asks the engine and passes its answer on. Ends the engine's work however it ends itself."""
        own = self._serving.settings.generation_service
        try:
            async with asyncio.timeout(own.answer_seconds), self._serving.engines.answering() as engine:
                reply = await engine.chat(self._asked.for_engine(own.max_tokens))
                try:
                    await self._pass_on(reply, headers_of(engine))
                finally:
                    await reply.aclose()
            self.outcome = "whole"
        except TimeoutError:
            self.outcome = "late"
            await self._fail(Unavailable("The answer took too long; ask for fewer tokens.", field="max_tokens", retry_after=5.0))
        except RagstoneError as error:
            self.outcome = "refused" if error.status < 500 else "failed"
            await self._fail(error)

    async def _pass_on(self, reply: EngineReply, about: Mapping[str, str]) -> None:
        if reply.status != 200:
            raise await _refusal(reply)
        headers = {**about, "cache-control": "no-store"}
        if not self._asked.stream:
            response = Response(await collected(reply.pieces()), 200, headers, "application/json")
            await response(self._scope, _never, self._send)
            return
        headers["content-type"] = reply.content_type
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        async for piece in reply.pieces(self._serving.piece_seconds):
            if not self.begun:
                self._serving.metrics.first_piece.observe(time.monotonic() - self._since)
                self.begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": raw})
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if not self.begun:
            raise Unavailable("The engine's answer was empty.", field="engine", retry_after=1.0)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self, error: RagstoneError) -> None:
        """Before the answer has begun, the error's own response; after that an event, and no `[DONE]`."""
        if not self.begun:
            raise error
        event = b"data: " + to_json(openai_error(error, request_id(self._scope))) + b"\n\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": False})


async def _never() -> Message:
    raise AssertionError("a whole response reads nothing")


async def _unless_gone(answer: _Answer, receive: Receive) -> None:
    """Runs it until it is done or the client hangs up, which cancels it. Raises what it raises, or `ClientGone` where nothing was sent yet."""
    working, watching = asyncio.ensure_future(answer.run()), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        elif not answer.begun:
            raise ClientGone("The client closed the connection.")
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.wait({working, watching})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refusal(reply: EngineReply) -> RagstoneError:
    body = b""
    async for piece in reply.pieces():
        body += piece
        if len(body) > _ERROR_BYTES:
            break
    try:
        error = json.loads(body)["error"]
        said, kind = str(error["message"]), str(error.get("type"))
    except (ValueError, KeyError, TypeError, AttributeError):
        said, kind = "", ""
    if reply.status == 400 and any(word in said or word == kind for word in _TOO_LONG):
        return PromptTooLong(f"messages: they are too long for the model: {said[:_ERROR_WORDS]}", field="messages")
    if reply.status in (400, 404, 413, 422):
        return InvalidInput(f"The engine refuses the request: {said[:_ERROR_WORDS] or reply.status}", field="body")
    return Unavailable(f"The engine answered with status {reply.status}.", field="engine", retry_after=1.0)
