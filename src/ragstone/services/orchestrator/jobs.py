"""/v1/jobs: accepted changes and builds of spaces, and how far they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sse_starlette import ServerSentEvent

from ragstone.domain.access import Principal, Scope, no_job
from ragstone.domain.jobs import Progress
from ragstone.domain.uploads import JobProgress
from ragstone.services.orchestrator.access import allow, caller, needs_where_asked, readable
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import errors, event_stream
from ragstone.services.orchestrator.hurry import unhurried
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.params import Limit
from ragstone.services.orchestrator.problems import problem
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.sse import DONE, as_domain_error, event, respond
from ragstone.services.orchestrator.views import Json, job_json
from ragstone.use_cases.jobs import ShownJob

_STREAM = event_stream(
    "`progress` whenever it changes, then `job`, each with the job; or `error` (a problem); then `[DONE]`", "progress", "job", "error"
)


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    ingest, jobs = context.platform.ingest, context.platform.jobs

    async def known(request: Request, job_id: str) -> ShownJob:
        shown = await jobs.get(job_id, caller(request))
        allow(request, shown.job.collection, otherwise=no_job(job_id))
        return shown

    async def view(shown: ShownJob, progress: Progress | None = None) -> Json:
        return job_json(shown.job, progress or shown.progress or await ingest.progress(shown.job), shown.view)

    @router.get("", summary="List jobs", response_model=None, responses={200: {"model": responses.JobsResponse}, **errors(404)})
    @needs_where_asked(Scope.READ)
    async def page(
        request: Request,
        collection: Annotated[str | None, Query(description="only this collection's", max_length=1000)] = None,
        before: Annotated[str | None, Query(description="`next` of the page before: a job's id", max_length=100)] = None,
        limit: Limit = 50,
    ) -> Response:
        """Newest first."""
        if collection is None:
            readable(request)
        else:
            allow(request, collection)
        found = await jobs.page(collection, caller(request), before=before, limit=limit + 1)
        following = found[limit - 1].job.id if len(found) > limit else None
        return json_response({"jobs": [await view(shown) for shown in found[:limit]], "next": following})

    @router.get("/{job}", summary="One job", response_model=None, responses={200: {"model": responses.JobResponse}, **errors(404)})
    @needs_where_asked(Scope.READ)
    async def one(request: Request, job: str) -> Response:
        """Its state, its progress, and its result once it is finished."""
        return json_response({"job": await view(await known(request, job))})

    @router.get(
        "/{job}/events",
        summary="Watch a job",
        response_model=None,
        responses={200: {"description": "Server-Sent Events until the job is finished", "content": _STREAM}, **errors(404)},
    )
    @needs_where_asked(Scope.READ)
    @unhurried
    async def events(request: Request, job: str) -> Response:
        """Progress whenever it changes, then the finished job."""
        shown = await known(request, job)
        steps = ingest.watch(job) if shown.job.space_id is None else jobs.builds.watch(job)
        return respond(watch(steps, job, caller(request), request_id(request.scope)))

    async def watch(
        steps: AsyncIterator[JobProgress], job_id: str, principal: Principal, request: str
    ) -> AsyncGenerator[ServerSentEvent, None]:
        try:
            async for step in steps:
                yield event({"job": await view(await jobs.get(job_id, principal), step.progress)}, "job" if step.finished else "progress")
        except Exception as error:  # the 200 is sent: whatever happens is told as an event
            yield event(problem(as_domain_error(error), request), "error")
        yield DONE

    return router
