"""/v1/collections/{c}/impact: answers that a change made out of date."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ragstone.domain.access import Scope
from ragstone.services.orchestrator.access import caller, needs
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.interaction_views import impact_json
from ragstone.services.orchestrator.params import CollectionPath, Limit
from ragstone.services.orchestrator.schemas import interactions as schemas

_REFERENCE = "a commit id or 7 or more of its digits, a tag, `#position` (as %23), a time, or `head`"


def routes(context: Context) -> APIRouter:
    """The route, with its platform."""
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["interactions"])
    impact = context.platform.impact

    @router.get(
        "/impact",
        summary="Which answers a change affects",
        response_model=None,
        responses={200: {"model": schemas.ImpactResponse}, **errors(404, 410, 503)},
    )
    @needs(Scope.READ)
    async def affected(
        request: Request,
        collection: CollectionPath,
        from_: Annotated[str, Query(alias="from", description=_REFERENCE, max_length=1000)],
        to: Annotated[str, Query(description=_REFERENCE, max_length=1000)],
        before: Annotated[str | None, Query(description="`next` of the page before: an interaction's id", max_length=100)] = None,
        limit: Limit = 50,
    ) -> Response:
        """Logged answers, newest first, that cite a passage which `from` has and `to` has not, with the old text and the one most like it now."""
        page = await impact.run(collection, from_, to, older_than=before, limit=limit, principal=caller(request))
        return json_response(impact_json(page))

    return router
