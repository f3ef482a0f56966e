"""/v1/dead-letters: jobs that were given up; looked at, queued once more, thrown away."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ragstone.domain.access import Scope, no_dead_letter
from ragstone.domain.jobs import Change, Move, Restore, Switch
from ragstone.services.orchestrator.access import allow, allow_everywhere, caller, needs_where_asked
from ragstone.services.orchestrator.context import Context, job_response, json_response
from ragstone.services.orchestrator.documentation import accepted, errors
from ragstone.services.orchestrator.params import Limit
from ragstone.services.orchestrator.schemas import dead_letters as schemas
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.views import Json, moment
from ragstone.use_cases.dead_letters import DeadJob

_PATHS = 1000  # of one job, at most


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/dead-letters", tags=["jobs"])
    office = context.platform.dead_letters

    async def known(request: Request, job_id: str) -> DeadJob:
        dead = await office.get(job_id)
        allow(request, dead.letter.collection, otherwise=no_dead_letter(job_id))
        return dead

    @router.get(
        "",
        summary="List jobs that were given up",
        response_model=None,
        responses={200: {"model": schemas.DeadLettersResponse}, **errors(404, 503)},
    )
    @needs_where_asked(Scope.ADMIN)
    async def page(
        request: Request,
        collection: Annotated[str | None, Query(description="only this collection's; of all needs admin in all", max_length=1000)] = None,
        before: Annotated[str | None, Query(description="`next` of the page before: a job's id", max_length=100)] = None,
        limit: Limit = 50,
    ) -> Response:
        """The latest jobs first."""
        if collection is None:
            allow_everywhere(request, Scope.ADMIN)
        else:
            allow(request, collection)
        found = await office.page(collection, before=before, limit=limit + 1)
        following = found[limit - 1].job.id if len(found) > limit else None
        return json_response({"dead_letters": [letter_json(dead) for dead in found[:limit]], "next": following})

    @router.get(
        "/{job}",
        summary="A job that was given up",
        response_model=None,
        responses={200: {"model": schemas.DeadLetterResponse}, **errors(404, 503)},
    )
    @needs_where_asked(Scope.ADMIN)
    async def one(request: Request, job: str) -> Response:
        """Why, after how many tries, and what it asked for."""
        dead = await known(request, job)
        paths = [path for change in dead.job.request.changes[:_PATHS] for path in _paths(change)][:_PATHS]
        return json_response({"dead_letter": {**letter_json(dead), "paths": paths}})

    @router.post(
        "/{job}/replay",
        summary="Queue it once more",
        response_model=None,
        responses={**accepted(responses.JobResponse), **errors(404, 410, 503, 507)},
    )
    @needs_where_asked(Scope.ADMIN)
    async def replay(request: Request, job: str) -> Response:
        """The same request with the same bytes, as a new job behind those that wait; the letter goes. Asked again it gives the same job."""
        await known(request, job)
        return await job_response(context, request, await office.replay(job, caller(request).name), wait=False, within=0)

    @router.delete("/{job}", summary="Throw it away", status_code=204, response_model=None, responses={**errors(404, 503)})
    @needs_where_asked(Scope.ADMIN)
    async def discard(request: Request, job: str) -> Response:
        """The letter and the bytes go; the job stays failed."""
        await known(request, job)
        await office.discard(job)
        return Response(status_code=204)

    return router


def letter_json(dead: DeadJob) -> Json:
    """A letter with what its job asked for."""
    letter, asked = dead.letter, dead.job.request
    return {
        "job": letter.job_id,
        "collection": letter.collection,
        "code": letter.code,
        "error": letter.error,
        "tries": letter.tries,
        "worker": letter.worker,
        "failed_at": moment(letter.created_at),
        "accepted_at": moment(dead.job.created_at),
        "principal": dead.job.principal,
        "author": asked.author,
        "message": asked.message,
        "changes": len(asked.changes),
    }


def _paths(change: Change) -> list[str]:
    match change:
        case Move():
            return [change.source, change.target]
        case Restore() | Switch():
            return []
        case _:
            return [change.path]
