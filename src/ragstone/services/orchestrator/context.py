"""What every route gets, and what they share: gates, responses, waiting for jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from ragstone.domain.access import View
from ragstone.domain.commits import Snapshot
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import RagstoneError
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.services.orchestrator.access import caller
from ragstone.services.orchestrator.allowances import Allowances
from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.problems import JobFailed
from ragstone.services.orchestrator.readiness import Readiness
from ragstone.services.orchestrator.views import job_json, snapshot_json
from ragstone.settings.model import Settings
from ragstone.telemetry.metrics import Metrics
from ragstone.use_cases.platform import Platform

T = TypeVar("T")
_UNWATCHED = 1.0  # seconds that a request may run before its connection is watched: most are done by then


@dataclass(frozen=True, slots=True)
class Context:
    """Built once an app. `hook_secret`: see `create_app`."""

    platform: Platform
    settings: Settings
    metrics: Metrics
    readiness: Readiness
    queries: Gate
    uploads: Gate
    allowances: Allowances
    hook_secret: Callable[[], str] | None = None


class DirectRoute(APIRoute):
    """For endpoints of no parameter but the request, which they read themselves: called without FastAPI's search for parameters."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        return self.endpoint


class ClientGone(RagstoneError):
    """The client hung up; nobody reads the response."""

    code = "client-closed-request"
    status = 499
    title = "Client closed request"


def json_response(form: Mapping[str, Any] | Sequence[Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of plain values, serialised once and not validated again."""
    return Response(to_json(form, inf_nan_mode="null"), status, headers, "application/json")


def read_response(snapshot: Snapshot, form: dict[str, Any]) -> Response:
    """The response of a read, with the snapshot that it was answered from."""
    return json_response({**form, "snapshot": snapshot_json(snapshot)}, headers=commit_header(snapshot.commit_id))


def commit_header(commit_id: str) -> dict[str, str]:
    """Names the commit that a response speaks of."""
    return {"X-Ragstone-Commit": commit_id}


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client hangs up (noticed once it has run for a second)."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("requests run in tasks")
    gone = False
    watching: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.ensure_future(watch())

    timer = asyncio.get_running_loop().call_later(_UNWATCHED, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGone("The client closed the connection.") from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


async def view_of(context: Context, request: Request, collection: str) -> View:
    """What the caller may see of a collection. Raises `NotFound`."""
    return await context.platform.visibility.view_of(collection, caller(request))


async def job_response(context: Context, request: Request, job: Job, *, wait: bool, within: float) -> Response:
    """200 with the finished job, 202 with one that goes on after `within` seconds; a failed job becomes its problem."""
    ingest = context.platform.ingest
    with deadline(None):  # it is accepted; whoever waits says how long
        if wait and within > 0 and job.state not in TERMINAL:
            job = await while_connected(request, ingest.wait(job.id, within))
        if job.state == "failed" and job.result is not None:
            raise JobFailed(job.id, job.result)
        form = {"job": job_json(job, await ingest.progress(job), await view_of(context, request, job.collection))}
    location = {"Location": f"/v1/jobs/{job.id}"}
    if job.state not in TERMINAL:
        return json_response(form, 202, location)
    commit = job.result.commit_id if job.result else None
    return json_response(form, 200, location | (commit_header(commit) if commit else {}))
