"""/v1/collections: making, listing and removing knowledge bases."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.collections import Collection
from ragstone.domain.names import check_collection_name
from ragstone.services.orchestrator.access import allow_making, caller, needs, needs_where_asked, readable
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.hurry import unhurried
from ragstone.services.orchestrator.params import CollectionPath
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas.requests import CollectionBody
from ragstone.services.orchestrator.views import Json, collection_json


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections", tags=["collections"])
    platform = context.platform

    async def view(request: Request, collection: Collection) -> Json:
        seen = await platform.visibility.view(collection, caller(request))
        return collection_json(collection, await platform.adapters.catalog.head(collection.name), seen)

    @router.get("", summary="List collections", response_model=None, responses={200: {"model": responses.CollectionsResponse}, **errors()})
    @needs_where_asked(Scope.READ)
    async def every(request: Request) -> Response:
        """Those that the caller may read, in order of name, each with its head."""
        may = readable(request)
        return json_response({"collections": [await view(request, one) for one in await platform.collections.all() if may(one.name)]})

    @router.post(
        "",
        summary="Make a collection",
        status_code=201,
        response_model=None,
        responses={201: {"model": responses.Collection}, **errors(409, 413, 415, 507)},
        openapi_extra=body(CollectionBody),
    )
    @needs_where_asked(Scope.WRITE)
    async def create(request: Request) -> Response:
        """An empty one, in the embedding space of the model that is loaded."""
        wanted = await read_json(request, CollectionBody)
        name = check_collection_name(wanted.name, "name")
        allow_making(request, name)
        made = await platform.collections.create(name, wanted.language, wanted.description)
        return json_response(collection_json(made, None), 201, {"Location": f"/v1/collections/{name}"})

    @router.get(
        "/{collection}", summary="One collection", response_model=None, responses={200: {"model": responses.Collection}, **errors(404)}
    )
    @needs(Scope.READ)
    async def one(request: Request, collection: CollectionPath) -> Response:
        """With its head, its spaces and its totals."""
        return json_response(await view(request, await platform.collections.get(collection)))

    @router.delete(
        "/{collection}", summary="Remove a collection", status_code=204, response_model=None, responses={**errors(404, 409, 503)}
    )
    @needs(Scope.ADMIN)
    @unhurried
    async def delete(collection: CollectionPath) -> Response:
        """With its whole history. There is no way back."""
        await platform.collections.delete(collection)
        return Response(status_code=204)

    return router
