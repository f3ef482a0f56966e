"""Is it alive, is it ready, what runs here, and what it measured."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict

from fastapi import APIRouter, Request, Response

import ragstone
from ragstone.domain.access import Scope
from ragstone.domain.errors import RagstoneError
from ragstone.services.orchestrator.access import needs, needs_where_asked, open_to_all, readable
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.follower import Follower
from ragstone.services.orchestrator.schemas import responses

_REFRESH = 2.0  # seconds
_log = logging.getLogger(__name__)
_OK = json_response({"status": "ok"})


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(tags=["operation"])
    platform = context.platform
    follower = Follower(platform, context.metrics)

    @router.get("/healthz", summary="Is the process alive?", response_model=None, responses={200: {"model": responses.Health}, **errors()})
    @open_to_all
    async def healthz() -> Response:
        """Touches nothing but the process."""
        return Response(_OK.body, media_type="application/json")

    @router.get(
        "/readyz", summary="Are its stores there?", response_model=None, responses={200: {"model": responses.Readiness}, **errors(503)}
    )
    @open_to_all
    async def readyz() -> Response:
        """Asks each dependency something small, at most once a second. A 503 lists in `missing` those without which nothing can be answered
        (the first one in `field`), or says that the server is stopping; `degraded` lists those that it does without."""
        missed = await context.readiness.check()
        return json_response({"status": "ready", "degraded": [asdict(each) for each in missed]})

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_model=None,
        responses={200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
    )
    @needs(Scope.ADMIN)
    async def metrics() -> Response:
        """Of this process, and the totals of each collection's head, as far as the catalog tells them."""
        try:
            async with asyncio.timeout(_REFRESH):
                await follower.refresh()
        except (RagstoneError, TimeoutError) as error:  # what an outage looks like is to be seen while it lasts
            _log.info("jobs and heads are not counted now: %s", str(error) or "the catalog does not answer in time")
        context.metrics.queries_waiting.set(context.queries.waiting)
        context.metrics.interactions_spooled.set(await platform.interactions.deferred())
        content, media_type = context.metrics.exposition()
        return Response(content, media_type=media_type)

    @router.get("/v1/info", summary="What runs here", response_model=None, responses={200: {"model": responses.Info}, **errors()})
    @needs_where_asked(Scope.READ)
    async def info(request: Request) -> Response:
        """Version, embedding model, generator, reranker and limits."""
        may = readable(request)
        return json_response(
            {
                "version": ragstone.__version__,
                "data_directory": context.settings.data_dir.name,
                "model": asdict(platform.embedder.identity),
                "generator": asdict(platform.query.generator),
                "reranker": asdict(platform.query.reranker) if platform.query.reranker else None,
                "limits": asdict(platform.limits),
                "collections": sum(may(collection.name) for collection in await platform.collections.all()),
            }
        )

    return router
