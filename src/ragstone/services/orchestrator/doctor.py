"""/v1/doctor: the check-up of the stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from ragstone.domain.access import Scope
from ragstone.domain.findings import CheckProgress, CheckReport
from ragstone.services.orchestrator.access import needs
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, json_response, while_connected
from ragstone.services.orchestrator.documentation import body, errors, event_stream
from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.hurry import unhurried
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import problem
from ragstone.services.orchestrator.schemas import doctor as schemas
from ragstone.services.orchestrator.sse import DONE, as_domain_error, event, primed, respond

_STREAM = event_stream(
    "`progress` whenever it got further, then `report`; or `error` (a problem); then `[DONE]`", "progress", "report", "error"
)


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/doctor", tags=["operation"])
    doctor = context.platform.doctor
    one_at_a_time = Gate(1, 1)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": schemas.CheckReport, "content": _STREAM}}

    @router.post(
        "",
        summary="Check the stores, and mend them",
        response_model=None,
        responses={**answers, **errors(404, 413, 415, 429)},
        openapi_extra=body(schemas.DoctorBody),
    )
    @needs(Scope.ADMIN)
    @unhurried
    async def check(request: Request) -> Response:
        """Compares index, version store and jobs with the catalog. Readers and writers go on meanwhile. Events with `Accept: text/event-stream`."""
        asked = await read_json(request, schemas.DoctorBody)
        if "text/event-stream" in request.headers.get("accept", ""):
            steps = await primed(watched(asked))
            return respond(told(steps, request_id(request.scope)))
        async with one_at_a_time:
            report = await while_connected(request, doctor.run(repair=asked.repair, collection=asked.collection))
        return json_response(report_json(report))

    async def watched(asked: schemas.DoctorBody) -> AsyncGenerator[CheckProgress | CheckReport, None]:
        async with one_at_a_time, aclosing(doctor.watch(repair=asked.repair, collection=asked.collection)) as steps:
            async for step in steps:
                yield step

    return router


async def told(steps: AsyncGenerator[CheckProgress | CheckReport, None], request: str) -> AsyncGenerator[ServerSentEvent, None]:
    """The steps as events."""
    try:
        async with aclosing(steps):
            async for step in steps:
                match step:
                    case CheckProgress():
                        yield event(asdict(step), "progress")
                    case CheckReport():
                        yield event(report_json(step), "report")
    except Exception as error:  # the 200 is sent: whatever happens is told as an event
        yield event(problem(as_domain_error(error), request), "error")
    yield DONE


def report_json(report: CheckReport) -> dict[str, Any]:
    """The body of a report."""
    return {"healthy": report.healthy, **asdict(report)}
