"""/v1/collections/{c}/commits, tags and rollback: a collection's history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.names import check_tag_name
from ragstone.services.orchestrator.access import author, caller, needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, commit_header, job_response, json_response, view_of
from ragstone.services.orchestrator.documentation import accepted, body, errors
from ragstone.services.orchestrator.ingest import IfMatch, expected_head
from ragstone.services.orchestrator.params import CollectionPath, Limit, Reference
from ragstone.services.orchestrator.schemas import history as schemas
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas.requests import RollbackBody, TagBody
from ragstone.services.orchestrator.views import commit_json, difference_json, tag_json


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["history"])
    history = context.platform.history

    @router.get("/commits", summary="List commits", response_model=None, responses={200: {"model": schemas.CommitsResponse}, **errors(404)})
    @needs(Scope.READ)
    async def log(
        request: Request,
        collection: CollectionPath,
        before: Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the page before: a seq")] = None,
        limit: Limit = 50,
    ) -> Response:
        """Newest first."""
        view = await view_of(context, request, collection)
        commits = await history.log(collection, before=before, limit=limit + 1)
        following = commits[limit - 1].seq if len(commits) > limit else None
        return json_response({"commits": [commit_json(commit, view) for commit in commits[:limit]], "next": following})

    @router.get(
        "/commits/{reference}",
        summary="What a commit did",
        response_model=None,
        responses={200: {"model": schemas.ShowResponse}, **errors(404)},
    )
    @needs(Scope.READ)
    async def show(request: Request, collection: CollectionPath, reference: Reference) -> Response:
        """The commit against its parent: documents, and chunks added, removed and kept."""
        view = await view_of(context, request, collection)
        difference = await history.show(collection, reference, view)
        parent = commit_json(difference.before, view) if difference.before else None
        form = {"commit": commit_json(difference.after, view), "parent": parent, **difference_json(difference)}
        return json_response(form, headers=commit_header(difference.after.id))

    @router.get(
        "/commits/{reference}/diff/{other}",
        summary="Compare two commits",
        response_model=None,
        responses={200: {"model": schemas.DiffResponse}, **errors(404)},
    )
    @needs(Scope.READ)
    async def diff(request: Request, collection: CollectionPath, reference: Reference, other: Reference) -> Response:
        """What `other` has otherwise than `reference`; in any order."""
        view = await view_of(context, request, collection)
        difference = await history.diff(collection, reference, other, view)
        before = commit_json(difference.before, view) if difference.before else None
        return json_response({"before": before, "after": commit_json(difference.after, view), **difference_json(difference)})

    @router.get("/tags", summary="List tags", response_model=None, responses={200: {"model": schemas.TagsResponse}, **errors(404)})
    @needs(Scope.READ)
    async def tags(collection: CollectionPath) -> Response:
        """Newest first."""
        return json_response({"tags": [tag_json(tag) for tag in await history.tags(collection)]})

    @router.post(
        "/tags",
        summary="Tag a commit",
        status_code=201,
        response_model=None,
        responses={201: {"model": schemas.Tag}, **errors(404, 409, 413, 415, 507)},
        openapi_extra=body(TagBody),
    )
    @needs(Scope.WRITE)
    async def tag(request: Request, collection: CollectionPath) -> Response:
        """Tags do not move: a name that another commit has is a 409."""
        asked = await read_json(request, TagBody)
        name = check_tag_name(asked.name, "name")
        made = await history.tag(collection, name, asked.commit)
        return json_response(tag_json(made), 201, commit_header(made.commit_id))

    @router.delete("/tags/{name}", summary="Remove a tag", status_code=204, response_model=None, responses={**errors(404)})
    @needs(Scope.WRITE)
    async def untag(collection: CollectionPath, name: str) -> Response:
        """The commit stays."""
        await history.untag(collection, name)
        return Response(status_code=204)

    @router.post(
        "/rollback",
        summary="Go back to a commit",
        response_model=None,
        responses={**accepted(responses.JobResponse), **errors(404, 409, 410, 412, 413, 415, 429, 503, 507)},
        openapi_extra=body(RollbackBody),
    )
    @needs(Scope.WRITE)
    async def rollback(request: Request, collection: CollectionPath, if_match: IfMatch = None) -> Response:
        """A new commit whose documents equal the old one's; nothing is embedded. Forward again: roll back to the later commit."""
        asked = await read_json(request, RollbackBody)
        job = await history.rollback(
            collection,
            asked.to,
            principal=caller(request),
            author=author(request, asked.author),
            message=asked.message,
            expected_head=expected_head(if_match),
        )
        return await job_response(context, request, job, wait=asked.wait, within=asked.timeout)

    return router
