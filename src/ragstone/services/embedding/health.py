"""Is it alive, is it ready, and what it measured."""

from __future__ import annotations

from fastapi import APIRouter, Response

from ragstone.domain.access import Scope
from ragstone.services.embedding.serving import Serving
from ragstone.services.orchestrator.access import needs, open_to_all
from ragstone.services.orchestrator.context import json_response
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.schemas import responses


def routes(serving: Serving) -> APIRouter:
    """The routes, with what they serve."""
    router = APIRouter(tags=["operation"])
    metrics = serving.metrics

    @router.get("/health", include_in_schema=False)  # where clients of TEI look
    @router.get("/healthz", summary="Is the process alive?", response_model=None, responses={200: {"model": responses.Health}, **errors()})
    @open_to_all
    async def healthz() -> Response:
        """Touches nothing but the process."""
        return json_response({"status": "ok"})

    @router.get("/readyz", summary="Can it embed?", response_model=None, responses={200: {"model": responses.Readiness}, **errors(503)})
    @open_to_all
    async def readyz() -> Response:
        """503 with the reason while the model can't embed, or while the server stops. `degraded`: why a model is not the one that its alias means, while another serves."""
        await serving.readiness.check()
        return json_response({"status": "ready", "degraded": serving.problems()})

    @router.get("/metrics", summary="Prometheus metrics", response_model=None, responses={**errors()})
    @needs(Scope.ADMIN)
    async def expose() -> Response:
        """Of this process."""
        metrics.texts_waiting.set(serving.embedder.now.embedder.inside)
        serving.tell_models()
        content, media_type = metrics.exposition()
        return Response(content, media_type=media_type)

    return router
