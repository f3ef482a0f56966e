"""/v1/interactions: what was asked and answered, and what people thought of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from ragstone.domain.access import Scope, no_interaction
from ragstone.domain.interactions import Feedback, Interaction, InteractionFilter
from ragstone.services.orchestrator.access import allow, allow_everywhere, caller, needs_where_asked, readable
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, commit_header, json_response, while_connected
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.hurry import unhurried
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
    interactions, replay, collections = context.platform.logged, context.platform.replay, context.platform.collections

    async def known(request: Request, interaction_id: str) -> Interaction:
        interaction = await interactions.get(interaction_id, caller(request))
        allow(request, interaction.collection, otherwise=no_interaction(interaction_id))
        return interaction

    async def within(request: Request, wanted: InteractionFilter) -> InteractionFilter:
        if wanted.collection is not None:
            allow(request, wanted.collection)
            return wanted
        may = readable(request)
        if caller(request).may(Scope.READ):
            return wanted
        return replace(wanted, collections=frozenset(one.name for one in await collections.all() if may(one.name)))

    @router.get("", summary="List interactions", response_model=None, responses={200: {"model": schemas.InteractionsResponse}, **errors()})
    @needs_where_asked(Scope.READ)
    async def page(request: Request, asked: Annotated[InteractionPage, Query()]) -> Response:
        """Newest first."""
        found = await interactions.page(await within(request, asked.filter()), caller(request), before=asked.before, limit=asked.limit + 1)
        following = found[asked.limit - 1].id if len(found) > asked.limit else None
        return json_response({"interactions": [interaction_json(one) for one in found[: asked.limit]], "next": following})

    @router.get(
        "/export",
        summary="Export interactions",
        response_model=None,
        responses={200: {"description": "The file", "content": _FILES}, **errors(503)},
    )
    @needs_where_asked(Scope.READ)
    @unhurried
    async def file(request: Request, asked: Annotated[InteractionExport, Query()]) -> Response:
        """Newest first, streamed. That of all collections is for who is admin of all. One that broke off goes on with `before`: the last id that came whole."""
        if asked.collection is None:
            allow_everywhere(request, Scope.ADMIN)
        wanted, principal = await within(request, asked.filter()), caller(request)

        async def pages(before: str | None, limit: int) -> list[Interaction]:
            return await interactions.page(wanted, principal, before=before, limit=limit)

        stream = await primed(export(pages, asked.format, before=asked.before, limit=asked.limit))
        headers = {"Content-Disposition": f'attachment; filename="interactions.{asked.format}"'}
        return StreamingResponse(stream, media_type=MEDIA_TYPES[asked.format], headers=headers)

    @router.get(
        "/{interaction}", summary="One interaction", response_model=None, responses={200: {"model": schemas.Interaction}, **errors(404)}
    )
    @needs_where_asked(Scope.READ)
    async def one(request: Request, interaction: str) -> Response:
        """The question, the answer, the passages with their scores, release, commit and timings. One that was deferred is a 404 until it is stored."""
        found = await known(request, interaction)
        return json_response(interaction_json(found), headers=commit_header(found.commit_id))

    @router.post(
        "/{interaction}/feedback",
        summary="Say what an answer was worth",
        status_code=201,
        response_model=None,
        responses={201: {"model": schemas.Interaction}, **errors(404, 413, 415, 507)},
        openapi_extra=body(FeedbackBody),
    )
    @needs_where_asked(Scope.WRITE)
    async def feedback(request: Request, interaction: str) -> Response:
        """Added to what was said before; nothing is replaced."""
        await known(request, interaction)
        said = await read_json(request, FeedbackBody)
        word = Feedback(said.thumb, said.score, said.comment, tuple(said.tags), time.time())
        return json_response(interaction_json(await interactions.add_feedback(interaction, word, caller(request))), 201)

    @router.post(
        "/{interaction}/replay",
        summary="Answer a question again",
        response_model=None,
        responses={200: {"model": schemas.ReplayResponse}, **errors(404, 409, 410, 429, 503, 507)},
    )
    @needs_where_asked(Scope.READ)
    async def again(request: Request, interaction: str) -> Response:
        """The passages of then, from the commit of then, with the settings of then, by the generator of now: the new answer beside the old one.

        It is logged as an interaction of its own. 409 where the question was not kept; 410 where commit, collection or a passage is gone.
        """
        await known(request, interaction)
        async with context.queries:
            replayed = await while_connected(request, replay.run(interaction, principal=caller(request)))
        count(context, replayed.done)
        return json_response(replay_json(replayed), headers=commit_header(replayed.interaction.commit_id))

    return router
