"""The generation service's ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

import ragstone
from ragstone.domain.access import Scope
from ragstone.domain.errors import NotFound, RagstoneError, Unavailable
from ragstone.ports.authenticator import Authenticator
from ragstone.services.generation.chat import PATH
from ragstone.services.generation.serving import Serving, headers_of
from ragstone.services.orchestrator import access
from ragstone.services.orchestrator.access import needs, open_to_all
from ragstone.services.orchestrator.app import domain_error
from ragstone.services.orchestrator.context import json_response
from ragstone.services.orchestrator.middleware import RequestContext
from ragstone.services.orchestrator.security import KeyGuard, LoopbackGuard


def create_app(serving: Serving, authenticator: Authenticator | None, chat: ASGIApp) -> FastAPI:
    """The application. `app.state` holds its `metrics`, and `readiness`, whose `stopping` may be set. Without an `authenticator` it is for loopback only.

    `chat`: what answers `/v1/chat/completions`, behind the same guard.
    """
    app = FastAPI(
        title="ragstone generation service",
        version=ragstone.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.metrics, app.state.readiness = serving.metrics, serving
    app.router.routes += _routes(serving).routes  # flat: include_router would match every request twice
    app.router.routes.append(Route(PATH, needs(Scope.READ)(chat), methods=["POST"]))
    unguarded = access.guard(app.router.routes)
    for kind in (RagstoneError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, domain_error)
    if authenticator is None:
        app.add_middleware(LoopbackGuard, allowed_hosts=serving.settings.allowed_hosts)
    else:
        app.add_middleware(KeyGuard, authenticator=authenticator, unguarded=unguarded)
    app.add_middleware(RequestContext, metrics=serving.metrics)
    return app


def _routes(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/v1/models", response_model=None)
    @needs(Scope.READ)
    async def models() -> Response:
        """What may be asked for now: the model, and the LoRA adapters on top of it. Clients take it for a check of health, so 503 while the engine is away."""
        await serving.check()
        return json_response({"object": "list", "data": _listed(serving)}, headers=headers_of(serving.engine))

    @router.get("/v1/models/{model:path}", response_model=None)
    @needs(Scope.READ)
    async def one(model: str) -> Response:
        """One of them."""
        found = next((each for each in _listed(serving) if each["id"] == model), None)
        if found is None:
            raise NotFound(f"model: there is no {model[:100]!r} here; see GET /v1/models.", field="model")
        return json_response(found, headers=headers_of(serving.engine))

    @router.get("/healthz", response_model=None)
    @open_to_all
    async def healthz() -> Response:
        """503 only where nothing but an end of this process helps."""
        if serving.engine.lost:
            raise Unavailable("The engine hangs, and lives in this process: it has to be started again.", field="engine")
        return json_response({"status": "ok"})

    @router.get("/readyz", response_model=None)
    @open_to_all
    async def readyz() -> Response:
        """503 with the reason while the engine does not answer, or while the server stops. `degraded`: why the model is not the one that its alias means."""
        await serving.check()
        return json_response({"status": "ready", "degraded": serving.problems()})

    @router.get("/metrics", response_model=None)
    @needs(Scope.ADMIN)
    async def metrics() -> Response:
        """Of this process, then the engine's own."""
        await serving.tell()
        content, media_type = serving.metrics.exposition()
        return Response(content + (await serving.engine.metrics()).encode(), media_type=media_type)

    return router


def _listed(serving: Serving) -> list[dict[str, Any]]:
    model = serving.engine.model
    own = {"object": "model", "created": 0, "owned_by": "ragstone", "version": model.version, "digest": model.digest}
    base, *adapters = serving.engine.names
    return [{"id": base, **own}, *({"id": name, "parent": base, **own} for name in adapters)]
