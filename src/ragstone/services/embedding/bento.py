"""The service as a Bento: its native route `/embed`, and around it the application with all others. The only module that needs BentoML."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any, Literal

os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # before it is imported: who uses what here is nobody else's business
import bentoml  # type: ignore[import-not-found]  # in an environment of its own (make env-bento)
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.domain.deadline import deadline
from ragstone.domain.errors import RagstoneError
from ragstone.ports.authenticator import Authenticator
from ragstone.services.embedding.app import create_app
from ragstone.services.embedding.serving import Serving, embedder_headers, told
from ragstone.services.orchestrator.bodies import SMALL, check_json_type, parse, read_bytes
from ragstone.services.orchestrator.context import json_response
from ragstone.services.orchestrator.embeddings import check_space, check_texts
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import MethodNotAllowed, NoSuchRoute, error_response

NATIVE = "/embed"
_PATHS = {NATIVE: "POST", "/schema.json": "GET"}


def make_bento(serving: Serving) -> Any:
    """The Bento's definition, with its native route: `bentoml.Service`."""

    @bentoml.service(name="ragstone-embedding", workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
    class Embedding:
        """Texts to vectors of one embedding space."""

        @bentoml.api(route=NATIVE)  # type: ignore[untyped-decorator]
        async def embed(
            self,
            ctx: bentoml.Context,
            texts: Annotated[list[str], Field(description="1 to 2,048")],
            input_type: Literal["passage", "query"] = "passage",
            space: Annotated[str | None, Field(description="refused with 409 where the model's is another")] = None,
        ) -> dict[str, Any]:
            """`vectors`, L2-normalised, in order of the texts; the `model` with `version` and `space`; `tokens`; `truncated`: texts that the window cuts."""
            request: Request = ctx.request
            try:
                with deadline(serving.settings.limits.request_seconds):
                    response = await _embed(serving, request, texts, input_type, space)
            except RagstoneError as error:
                response = error_response(error, NATIVE, request_id(request.scope))
            ctx.response.status_code = response.status_code  # it is put into the response
            return response  # type: ignore[return-value]  # sent as it is

    return Embedding


def make_app(serving: Serving, authenticator: Authenticator | None) -> tuple[ASGIApp, Any]:
    """The whole application: ours outside, and the Bento's behind the same guard; and that one, whose lifespan is to be run."""
    inner = make_bento(serving).to_asgi()
    return create_app(serving, authenticator, Checked(inner)), inner


async def _embed(serving: Serving, request: Request, texts: list[str], kind: Literal["passage", "query"], space: str | None) -> Response:
    async with serving.gate:
        with ExitStack() as stack:
            model = stack.enter_context(serving.embedder.use())
            check_space(space, model.embedder.identity)
            check_texts(texts, kind, serving.settings.limits.question_characters, "texts")
            vectors = await serving.embed(request, model, texts, kind)
            tokens, truncated = await serving.measured(model, texts, kind)

            def write() -> Response:  # in a thread, as there may be many numbers
                form = {"vectors": vectors.tolist(), "model": asdict(model.embedder.identity), **told(model)}
                return json_response(
                    {**form, "input_type": kind, "tokens": tokens, "truncated": truncated}, headers=embedder_headers(model)
                )

            return await asyncio.to_thread(write)


class EmbedBody(BaseModel):
    """What the native route takes."""

    model_config = ConfigDict(strict=True)

    texts: list[str]
    input_type: Literal["passage", "query"] = "passage"
    space: str | None = None


class Checked:
    """Pure ASGI middleware around the Bento: its native route and its description of it, and nothing else it has (its page loads scripts from elsewhere).

    The Bento reads whatever is sent, and logs what it can't read; so a body is read here first, 1 MiB of JSON at most. Raises `TooLarge`,
    `UnsupportedMediaType`, `InvalidInput`, `NoSuchRoute`, `MethodNotAllowed`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = _PATHS.get(scope["path"]) if scope["type"] == "http" else None
        if method is None:
            raise NoSuchRoute("There is nothing at this path.")
        if scope["method"] != method:
            raise MethodNotAllowed(f"{scope['method']}: this path does not take it.", field="method")
        if method == "GET":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        check_json_type(request)
        body = await read_bytes(request, SMALL)
        await asyncio.to_thread(parse, EmbedBody, body)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, again, send)
