"""Health and metrics on a port of their own, for the kubelet and Prometheus: no keys, no Host list, and nothing else."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import Principal, Scope
from ragstone.services.orchestrator.middleware import RequestContext

PATHS = ("/healthz", "/readyz", "/metrics")
_PRINCIPAL = Principal("management", Scope.ADMIN)


def create_management_app(api: FastAPI) -> FastAPI:
    """The application of the management port, made of the routes of an application that `create_app` made. They share its metrics."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.exception_handlers.update(api.exception_handlers)
    app.router.routes += [route for route in api.routes if isinstance(route, Route) and route.path in PATHS]
    app.add_middleware(_Everybody)
    app.add_middleware(RequestContext, metrics=api.state.metrics)
    return app


class _Everybody:
    """Whoever can reach the port may read what is there; a NetworkPolicy says who can."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["principal"] = _PRINCIPAL
        await self._app(scope, receive, send)
