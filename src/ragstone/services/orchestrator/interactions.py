"""/v1/interactions: what was asked and answered, and what people thought of it."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ragstone.domain.interactions import Feedback, InteractionFilter
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, commit_header, json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.params import Limit
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas.requests import FeedbackBody
from ragstone.services.orchestrator.views import interaction_json


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/interactions", tags=["interactions"])
    interactions = context.platform.interactions

    @router.get(
        "", summary="List interactions", response_model=None, responses={200: {"model": responses.InteractionsResponse}, **errors()}
    )
    async def page(
        collection: Annotated[str | None, Query(description="only this collection's", max_length=1000)] = None,
        before: Annotated[str | None, Query(description="`next` of the page before: an interaction's id", max_length=100)] = None,
        limit: Limit = 50,
    ) -> Response:
        """Newest first."""
        found = await interactions.page(InteractionFilter(collection), before=before, limit=limit + 1)
        following = found[limit - 1].id if len(found) > limit else None
        return json_response({"interactions": [interaction_json(interaction) for interaction in found[:limit]], "next": following})

    @router.get(
        "/{interaction}", summary="One interaction", response_model=None, responses={200: {"model": responses.Interaction}, **errors(404)}
    )
    async def one(interaction: str) -> Response:
        """The question, the answer, the passages with their scores, release, commit and timings."""
        found = await interactions.get(interaction)
        return json_response(interaction_json(found), headers=commit_header(found.commit_id))

    @router.post(
        "/{interaction}/feedback",
        summary="Say what an answer was worth",
        status_code=201,
        response_model=None,
        responses={201: {"model": responses.Interaction}, **errors(404, 413, 415, 507)},
        openapi_extra=body(FeedbackBody),
    )
    async def feedback(request: Request, interaction: str) -> Response:
        """Added to what was said before; nothing is replaced."""
        said = await read_json(request, FeedbackBody)
        word = Feedback(said.thumb, said.score, said.comment, tuple(said.tags), time.time())
        return json_response(interaction_json(await interactions.add_feedback(interaction, word)), 201)

    return router
