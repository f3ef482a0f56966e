"""/v1/collections/{c}/prune, purge and purges: forgetting old commits, erasing a document from all of them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.retention import Keep, Purge
from ragstone.services.orchestrator.access import author, needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.hurry import unhurried
from ragstone.services.orchestrator.params import CollectionPath
from ragstone.services.orchestrator.schemas import retention as schemas
from ragstone.services.orchestrator.views import commit_json, moment

_DAY = 86_400.0  # seconds


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["retention"])
    retention, erasure = context.platform.retention, context.platform.erasure

    @router.post(
        "/prune",
        summary="Forget old commits",
        response_model=None,
        responses={200: {"model": schemas.PruneReport}, **errors(404, 413, 415, 503, 507)},
        openapi_extra=body(schemas.PruneBody),
    )
    @needs(Scope.ADMIN)
    @unhurried
    async def prune(request: Request, collection: CollectionPath) -> Response:
        """Frees points and documents that only forgotten commits need. Reading a forgotten commit is a 410; the log still lists it."""
        asked = await read_json(request, schemas.PruneBody)
        since = None if asked.keep_days is None else time.time() - asked.keep_days * _DAY
        report = await retention.prune(collection, Keep(asked.keep_last, since), dry_run=asked.dry_run)
        return json_response(
            {
                "dry_run": asked.dry_run,
                "kept": [commit_json(commit) for commit in report.pruning.kept],
                "pruned": [commit_json(commit) for commit in report.pruning.pruned],
                "points": report.points,
                "bytes": report.bytes,
            }
        )

    @router.post(
        "/purge",
        summary="Erase a document for ever",
        response_model=None,
        responses={200: {"model": schemas.Purge}, **errors(404, 413, 415, 503, 507)},
        openapi_extra=body(schemas.PurgeBody),
    )
    @needs(Scope.ADMIN)
    @unhurried
    async def purge(request: Request, collection: CollectionPath) -> Response:
        """Its bytes, text, points of every commit and quotes in logged answers go. Commit ids stay; reading it there is a 410."""
        asked = await read_json(request, schemas.PurgeBody)
        return json_response(
            purge_json(await erasure.purge(collection, asked.path, principal=author(request, asked.author), reason=asked.reason))
        )

    @router.get("/purges", summary="List erasures", response_model=None, responses={200: {"model": schemas.PurgesResponse}, **errors(404)})
    @needs(Scope.ADMIN)
    async def purges(collection: CollectionPath) -> Response:
        """The audit records, newest first."""
        return json_response({"purges": [purge_json(record) for record in await erasure.purges(collection)]})

    return router


def purge_json(record: Purge) -> dict[str, Any]:
    """An audit record."""
    form = asdict(record)
    form["author"] = form.pop("principal")
    form["begun_at"] = moment(record.begun_at)
    form["done_at"] = moment(record.done_at) if record.done_at is not None else None
    return form
