"""Is it alive, is it ready, what runs here, and what it measured."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Response

import ragstone
from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.follower import Follower
from ragstone.services.orchestrator.schemas import responses

_READY_WITHIN = 2.0  # seconds
_OK = json_response({"status": "ok"})


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(tags=["operation"])
    platform = context.platform
    follower = Follower(platform, context.metrics)

    @router.get("/healthz", summary="Is the process alive?", response_model=None, responses={200: {"model": responses.Health}, **errors()})
    async def healthz() -> Response:
        """Touches nothing but the process."""
        return Response(_OK.body, media_type="application/json")

    @router.get(
        "/readyz", summary="Are its stores there?", response_model=None, responses={200: {"model": responses.Health}, **errors(503)}
    )
    async def readyz() -> Response:
        """Asks the catalog, which every request needs."""
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await platform.collections.all()
        except TimeoutError:
            raise Unavailable("The catalog did not answer in time.", retry_after=_READY_WITHIN) from None
        return json_response({"status": "ready"})

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_model=None,
        responses={200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
    )
    async def metrics() -> Response:
        """Of this process, and the totals of each collection's head."""
        await follower.refresh()
        context.metrics.queries_waiting.set(context.queries.waiting)
        context.metrics.interactions_spooled.set(await platform.interactions.deferred())
        content, media_type = context.metrics.exposition()
        return Response(content, media_type=media_type)

    @router.get("/v1/info", summary="What runs here", response_model=None, responses={200: {"model": responses.Info}, **errors()})
    async def info() -> Response:
        """Version, embedding model, generator and limits."""
        return json_response(
            {
                "version": ragstone.__version__,
                "data_directory": context.settings.data_dir.name,
                "model": asdict(platform.embedder.identity),
                "generator": asdict(platform.query.generator),
                "limits": asdict(platform.limits),
                "collections": len(await platform.collections.all()),
            }
        )

    return router
