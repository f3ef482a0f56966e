"""/v1/collections/{c}/spaces: another embedding model or chunker, built beside the one that is read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.builds import SpaceStatus
from ragstone.services.orchestrator.access import caller, needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, job_response, json_response
from ragstone.services.orchestrator.documentation import accepted, body, errors
from ragstone.services.orchestrator.params import CollectionPath
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas import spaces as schemas
from ragstone.services.orchestrator.views import moment, space_json

SpacePath = Annotated[str, Path(description="a space's id, or 4 or more of its digits", max_length=100)]

Force = Annotated[bool, Query(description="even if commits that are kept are read from it; they can't be searched any more")]


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections/{collection}/spaces", tags=["spaces"])
    reembedding = context.platform.reembedding

    @router.get("", summary="List spaces", response_model=None, responses={200: {"model": schemas.SpacesResponse}, **errors(404)})
    @needs(Scope.ADMIN)
    async def every(collection: CollectionPath) -> Response:
        """The live one first, with how far those are that are being built."""
        return json_response({"spaces": [status_json(status) for status in await reembedding.status(collection)]})

    @router.post(
        "",
        summary="Build a space",
        status_code=202,
        response_model=None,
        responses={202: {"model": schemas.SpaceResponse}, **errors(404, 409, 413, 415, 429, 507)},
        openapi_extra=body(schemas.BuildBody),
    )
    @needs(Scope.ADMIN)
    async def start(request: Request, collection: CollectionPath) -> Response:
        """In the background, beside the live one; ingests write both from now on. Asked for again it goes on."""
        asked = await read_json(request, schemas.BuildBody)
        status = await reembedding.start(
            collection,
            model=asked.model,
            max_tokens=asked.max_tokens,
            min_tokens=asked.min_tokens,
            workers=asked.workers,
            principal=caller(request),
        )
        return json_response({"space": status_json(status)}, 202, {"Location": f"/v1/collections/{collection}/spaces"})

    @router.post(
        "/{space}/switch",
        summary="Read from a space",
        response_model=None,
        responses={**accepted(responses.JobResponse), **errors(404, 409, 413, 415, 429, 503, 507)},
        openapi_extra=body(schemas.SwitchBody),
    )
    @needs(Scope.ADMIN)
    async def switch(request: Request, collection: CollectionPath, space: SpacePath) -> Response:
        """A commit of the same documents in another space, which must be ready. Earlier commits stay where they are; the way back is the same."""
        asked = await read_json(request, schemas.SwitchBody)
        job = await reembedding.switch(collection, space, principal=caller(request))
        return await job_response(context, request, job, wait=asked.wait, within=asked.timeout)

    @router.delete(
        "/{space}",
        summary="Give up or drop a space",
        status_code=202,
        response_model=None,
        responses={202: {"model": schemas.SpaceResponse}, **errors(404, 409, 503, 507)},
    )
    @needs(Scope.ADMIN)
    async def drop(request: Request, collection: CollectionPath, space: SpacePath, force: Force = False) -> Response:
        """Ingests do not write it any more; its index is deleted soon. A 409 while the head is read from it, and, without `force`, while a commit that is kept is
        and the days to keep a space after the switch (`spaces.keep_days`) are not over. What was read from it is 410 from then on; documents stay."""
        status = await reembedding.drop(collection, space, force=force, principal=caller(request))
        return json_response({"space": status_json(status)}, 202)

    return router


def status_json(status: SpaceStatus) -> dict[str, Any]:
    """One space of a collection."""
    build = status.build
    return {
        "id": status.space.id,
        "state": status.state,
        "model_loaded": status.model_loaded,
        "space": space_json(status.space),
        "build": {
            "id": build.id,
            "job_id": build.job_id,
            "state": build.state,
            "principal": build.principal,
            "started_at": moment(build.started_at),
            "dropped_at": moment(build.dropped_at) if build.dropped_at is not None else None,
            "documents": build.documents,
            "documents_total": status.documents_total,
            "chunks": build.chunks,
            "embedded": build.embedded,
            "reused": build.reused,
            "seconds": round(build.seconds, 3),
            "rate": round(status.rate, 3),
            "seconds_left": round(status.seconds_left, 1) if status.seconds_left is not None else None,
            "workers": build.shards,
            "shards": [asdict(shard) for shard in status.shards],
        }
        if build is not None
        else None,
    }
