"""/v1/interactions: what was asked and answered, and what people thought of it."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from ragstone.domain.access import Scope
from ragstone.domain.interactions import Feedback
from ragstone.services.orchestrator.access import caller, needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, commit_header, json_response, while_connected
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.interaction_export import MEDIA_TYPES, export
from ragstone.services.orchestrator.interaction_filter import InteractionExport, InteractionPage
from ragstone.services.orchestrator.interaction_views import interaction_json, replay_json
from ragstone.services.orchestrator.query import count
from ragstone.services.orchestrator.schemas import interactions as schemas
from ragstone.services.orchestrator.schemas.requests import FeedbackBody
from ragstone.services.orchestrator.sse import primed

_FILES: dict[str, Any] = {
    MEDIA_TYPES["jsonl"]: {"schema": {"type": "string", "description": "one interaction a line, as GET /v1/interactions/{interaction}"}},
    MEDIA_TYPES["parquet"]: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPES["parquet"]}},
}


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/interactions", tags=["interactions"])
    interactions, replay = context.platform.interactions, context.platform.replay

    @router.get("", summary="List interactions", response_model=None, responses={200: {"model": schemas.InteractionsResponse}, **errors()})
    @needs(Scope.READ)
    async def page(asked: Annotated[InteractionPage, Query()]) -> Response:
        """Newest first."""
        found = await interactions.page(asked.filter(), before=asked.before, limit=asked.limit + 1)
        following = found[asked.limit - 1].id if len(found) > asked.limit else None
        return json_response({"interactions": [interaction_json(one) for one in found[: asked.limit]], "next": following})

    @router.get(
        "/export",
        summary="Export interactions",
        response_model=None,
        responses={200: {"description": "The file", "content": _FILES}, **errors(503)},
    )
    @needs(Scope.ADMIN)
    async def file(asked: Annotated[InteractionExport, Query()]) -> Response:
        """Newest first, streamed. An export that broke off goes on with `before`: the id of the last interaction that came whole."""
        stream = await primed(export(interactions, asked.filter(), asked.format, before=asked.before, limit=asked.limit))
        headers = {"Content-Disposition": f'attachment; filename="interactions.{asked.format}"'}
        return StreamingResponse(stream, media_type=MEDIA_TYPES[asked.format], headers=headers)

    @router.get(
        "/{interaction}", summary="One interaction", response_model=None, responses={200: {"model": schemas.Interaction}, **errors(404)}
    )
    @needs(Scope.READ)
    async def one(interaction: str) -> Response:
        """The question, the answer, the passages with their scores, release, commit and timings. One that was deferred is a 404 until it is stored."""
        found = await interactions.get(interaction)
        return json_response(interaction_json(found), headers=commit_header(found.commit_id))

    @router.post(
        "/{interaction}/feedback",
        summary="Say what an answer was worth",
        status_code=201,
        response_model=None,
        responses={201: {"model": schemas.Interaction}, **errors(404, 413, 415, 507)},
        openapi_extra=body(FeedbackBody),
    )
    @needs(Scope.WRITE)
    async def feedback(request: Request, interaction: str) -> Response:
        """Added to what was said before; nothing is replaced."""
        said = await read_json(request, FeedbackBody)
        word = Feedback(said.thumb, said.score, said.comment, tuple(said.tags), time.time())
        return json_response(interaction_json(await interactions.add_feedback(interaction, word)), 201)

    @router.post(
        "/{interaction}/replay",
        summary="Answer a question again",
        response_model=None,
        responses={200: {"model": schemas.ReplayResponse}, **errors(404, 409, 410, 429, 503, 507)},
    )
    @needs(Scope.READ)
    async def again(request: Request, interaction: str) -> Response:
        """The passages of then, from the commit of then, with the settings of then, by the generator of now: the new answer beside the old one.

        It is logged as an interaction of its own. 409 where the question was not kept; 410 where commit, collection or a passage is gone.
        """
        async with context.queries:
            replayed = await while_connected(request, replay.run(interaction, principal=caller(request).name))
        count(context, replayed.done)
        return json_response(replay_json(replayed), headers=commit_header(replayed.interaction.commit_id))

    return router
