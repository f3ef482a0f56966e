"""The embedding service's ASGI application."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

import ragstone
from ragstone.adapters.served_models import ServedEmbedder, ServedReranker
from ragstone.domain.errors import RagstoneError
from ragstone.ports.authenticator import Authenticator
from ragstone.services.embedding import embeddings, health, rerank
from ragstone.services.embedding.readiness import Readiness
from ragstone.services.embedding.serving import Serving
from ragstone.services.orchestrator import access
from ragstone.services.orchestrator.app import domain_error
from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.hurry import hurry
from ragstone.services.orchestrator.middleware import RequestContext
from ragstone.services.orchestrator.security import KeyGuard, LoopbackGuard
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics
from ragstone.use_cases.model_slot import ModelSlot


def new_serving(settings: Settings, metrics: EmbeddingMetrics, embedder: ServedEmbedder, reranker: ServedReranker | None = None) -> Serving:
    """Around loaded models."""
    slot = ModelSlot(embedder)
    gate = Gate(settings.embedding_service.concurrent_requests, 0)
    return Serving(settings, slot, None if reranker is None else ModelSlot(reranker), metrics, Readiness(slot), gate)


def create_app(serving: Serving, authenticator: Authenticator | None = None, others: ASGIApp | None = None) -> FastAPI:
    """The application. `app.state` holds its `metrics` and its `readiness`.

    Without an `authenticator` it is for loopback only. `others` answers what is no route here, behind the same guard.
    """
    app = FastAPI(
        title="ragstone embedding service",
        version=ragstone.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.metrics, app.state.readiness = serving.metrics, serving.readiness
    for module in (embeddings, rerank, health):
        app.router.routes += module.routes(serving).routes  # flat: include_router would match every request twice
    unguarded = access.guard(app.router.routes)
    hurry(app.router.routes, serving.settings.limits.request_seconds)
    if others is not None:
        app.router.default = others
    for kind in (RagstoneError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, domain_error)
    if authenticator is None:
        app.add_middleware(LoopbackGuard, allowed_hosts=serving.settings.allowed_hosts)
    else:
        app.add_middleware(KeyGuard, authenticator=authenticator, unguarded=unguarded)
    app.add_middleware(RequestContext, metrics=serving.metrics)
    return app
