"""The orchestrator's ASGI application."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import ragstone
from ragstone.domain.errors import RagstoneError
from ragstone.ports.authenticator import Authenticator
from ragstone.services.orchestrator import (
    access,
    acls,
    audit,
    backup,
    collections,
    dead_letters,
    doctor,
    documentation,
    documents,
    health,
    history,
    hooks,
    impact,
    ingest,
    interactions,
    jobs,
    openai,
    query,
    retention,
    spaces,
)
from ragstone.services.orchestrator.allowances import Allowances, allot
from ragstone.services.orchestrator.context import Context
from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.hurry import hurry
from ragstone.services.orchestrator.middleware import RequestContext, request_id
from ragstone.services.orchestrator.problems import MethodNotAllowed, NoSuchRoute, error_response, invalid
from ragstone.services.orchestrator.readiness import Readiness
from ragstone.services.orchestrator.security import KeyGuard, LoopbackGuard
from ragstone.services.orchestrator.shedding import Shedding
from ragstone.settings.model import Settings
from ragstone.telemetry.metrics import Metrics
from ragstone.use_cases.platform import Platform

_UPLOADS = 8  # bodies of documents that are held in memory at a time
_TAGS = (
    ("ingest", "Documents in, commits out."),
    ("query", "Questions in; cited answers, or passages, out."),
    ("collections", "Knowledge bases: the unit of isolation and of versioning."),
    ("documents", "Single documents, now and at any commit."),
    ("history", "Commits, differences, tags, rollback."),
    ("retention", "Forgetting old commits, erasing documents for ever."),
    ("spaces", "Another embedding model or chunker, built beside the one that is read."),
    ("jobs", "Accepted changes, and how far they are."),
    ("interactions", "What was asked and answered; feedback, replay, impact of changes."),
    ("access", "Which groups may see which documents."),
    ("openai", "For OpenAI's clients: a collection is a model."),
    ("operation", "Health, metrics, what runs here."),
)
_DESCRIPTION = """A knowledge base that is versioned like code: every ingestion is a commit, every answer cites its passages and names its commit.

Begin with **POST /ingest** (`create: true` makes the collection), then **POST /query**. Every read takes `as_of`.
Errors are problem documents (RFC 9457); `field` names what was wrong."""


def create_app(
    platform: Platform, settings: Settings, authenticator: Authenticator | None = None, hook_secret: Callable[[], str] | None = None
) -> FastAPI:
    """The application over a started platform, which it neither starts nor closes. `app.state` holds its `metrics` and its `readiness`.

    Without an `authenticator` it is for loopback only. `hook_secret` signs what lakeFS tells of its inboxes; without it nobody is listened to.
    """
    metrics = Metrics()
    limits = platform.limits
    readiness = Readiness(platform, queue=settings.role == "worker")
    context = Context(
        platform,
        settings,
        metrics,
        readiness,
        Gate(limits.concurrent_queries, limits.concurrent_queries),
        Gate(_UPLOADS, 4 * _UPLOADS, 30.0),
        Allowances(settings.rate_limits, platform.adapters.meter, metrics),
        hook_secret,
    )
    app = FastAPI(
        title="ragstone",
        version=ragstone.__version__,
        summary="Retrieval-augmented generation over a knowledge base that is versioned like code",
        description=_DESCRIPTION,
        openapi_tags=documentation.tags(_TAGS),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.metrics, app.state.readiness = metrics, readiness
    for module in (
        query,
        ingest,
        collections,
        documents,
        history,
        retention,
        spaces,
        jobs,
        dead_letters,
        interactions,
        impact,
        openai,
        acls,
        health,
        doctor,
        backup,
        audit,
        hooks,
    ):
        app.router.routes += module.routes(context).routes  # flat: include_router would match every request twice
    documentation.install(app, limits, keys=authenticator is not None)
    app.router.routes += documentation.routes(app).routes
    unguarded = access.guard(app.router.routes)
    allot(app.router.routes, context.allowances)
    hurry(app.router.routes, limits.request_seconds)
    app.add_exception_handler(RagstoneError, domain_error)
    app.add_exception_handler(RequestValidationError, domain_error)
    app.add_exception_handler(HTTPException, domain_error)
    if authenticator is None:
        app.add_middleware(LoopbackGuard, allowed_hosts=settings.allowed_hosts)
    else:
        app.add_middleware(KeyGuard, authenticator=authenticator, unguarded=unguarded)
    if platform.adapters.audit is not None:
        app.add_middleware(audit.Auditing, log=platform.adapters.audit, routes=app.router.routes, metrics=metrics)
    app.add_middleware(RequestContext, metrics=metrics)
    app.add_middleware(Shedding, gate=context.queries, metrics=metrics)
    return app


def _has_docs(request: Request) -> bool:
    """Whether there is a page that says what is there: the model services, which share the handler, have none."""
    return any(getattr(route, "path", None) == "/docs" for route in request.app.routes)


async def domain_error(request: Request, error: Exception) -> Response:
    """Handler of every error that a route raises on purpose, or its framework."""
    headers: dict[str, str] = {}
    match error:
        case RagstoneError():
            shown: RagstoneError = error
        case RequestValidationError():
            shown = invalid(error)
        case HTTPException(status_code=405):
            shown = MethodNotAllowed(f"{request.method}: this path does not take it.", field="method")
            headers = dict(error.headers or {})
        case _:
            shown = NoSuchRoute(f"There is nothing at this path{'; see /docs' if _has_docs(request) else ''}.")
    return error_response(shown, request.url.path, request_id(request.scope), headers)
