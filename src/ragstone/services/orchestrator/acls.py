"""/v1/collections/{c}/acls: which groups may see which documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ragstone.domain.access import DocumentAcl, Scope, check_groups
from ragstone.domain.names import check_document_path
from ragstone.services.orchestrator.access import needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.params import CollectionPath, DocumentPath, Limit
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas.requests import AclBody
from ragstone.services.orchestrator.views import Json


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections/{collection}/acls", tags=["access"])
    visibility = context.platform.visibility

    @router.get(
        "", summary="List documents with groups", response_model=None, responses={200: {"model": responses.AclsResponse}, **errors(404)}
    )
    @needs(Scope.ADMIN)
    async def page(
        collection: CollectionPath,
        prefix: Annotated[str, Query(description="only paths that begin so", max_length=5000)] = "",
        after: Annotated[str, Query(description="`next` of the page before", max_length=5000)] = "",
        limit: Limit = 100,
    ) -> Response:
        """In order of path. Documents that are not listed are open to everyone who may read the collection."""
        found = await visibility.page(collection, prefix=prefix, after=after, limit=limit + 1)
        following = found[limit - 1].path if len(found) > limit else None
        return json_response({"acls": [acl_json(acl) for acl in found[:limit]], "next": following})

    @router.get(
        "/{path:path}", summary="The groups of a document", response_model=None, responses={200: {"model": responses.Acl}, **errors(404)}
    )
    @needs(Scope.ADMIN)
    async def one(collection: CollectionPath, path: DocumentPath) -> Response:
        """A 404 for one that is open to everyone."""
        return json_response(acl_json(await visibility.groups(collection, path)))

    @router.put(
        "/{path:path}",
        summary="Set the groups of a document",
        response_model=None,
        responses={200: {"model": responses.Acl}, **errors(404, 413, 415, 503, 507)},
        openapi_extra=body(AclBody),
    )
    @needs(Scope.ADMIN)
    async def put(request: Request, collection: CollectionPath, path: DocumentPath) -> Response:
        """They count at once and in every commit, also for a document that is yet to come. None of them: it is open to everyone."""
        asked = await read_json(request, AclBody)
        wanted = DocumentAcl(check_document_path(path), check_groups(asked.groups))
        await visibility.change(collection, {wanted.path: wanted.groups})
        return json_response(acl_json(wanted))

    @router.delete(
        "/{path:path}",
        summary="Open a document to everyone",
        status_code=204,
        response_model=None,
        responses={**errors(404, 503, 507)},
    )
    @needs(Scope.ADMIN)
    async def delete(collection: CollectionPath, path: DocumentPath) -> Response:
        """Everyone who may read the collection sees it from now on, in every commit."""
        await visibility.change(collection, {path: ()})
        return Response(status_code=204)

    return router


def acl_json(acl: DocumentAcl) -> Json:
    """A document's groups."""
    return {"path": acl.path, "groups": sorted(acl.groups)}
