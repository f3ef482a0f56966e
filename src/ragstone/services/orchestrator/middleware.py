"""Around every request: its id, safe headers, metrics, one log line, and a problem for whatever escapes a route."""

from __future__ import annotations

import logging
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.domain.errors import InternalError, RagstoneError
from ragstone.domain.ids import new_id
from ragstone.services.orchestrator.problems import error_response
from ragstone.telemetry.logging import bind_request, unbind_request
from ragstone.telemetry.metrics import HttpMetrics

_log = logging.getLogger("ragstone.http")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Answers are never cached, sniffed, framed or run: they hold text from documents that nobody vouches for.
_SAFE = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_SAFE_NAMES = frozenset(name for name, _ in _SAFE)


def request_id(scope: Scope) -> str:
    """The id that `RequestContext` gave the request."""
    found: str = scope["state"]["request_id"]
    return found


class RequestContext:
    """Pure ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        id_ = _given_id(scope) or new_id()
        scope.setdefault("state", {})["request_id"] = id_
        status = 0

        async def send_safe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                own = _SAFE_NAMES.intersection(name for name, _ in headers)
                added = _SAFE if not own else [pair for pair in _SAFE if pair[0] not in own]
                message["headers"] = [*headers, *added, (b"x-request-id", id_.encode())]
            await send(message)

        bind_request(id_)
        self._metrics.requests_running.inc()
        try:
            await self._app(scope, receive, send_safe)
        except RagstoneError as error:
            await error_response(error, scope["path"], id_)(scope, receive, send_safe)
        except Exception:  # the last net: the log gets the trace, the client nothing of it
            _log.exception("%s %s failed", scope["method"], _route(scope))
            if status:
                raise
            shown = InternalError("Something went wrong on the server; its log tells more under this request id.")
            await error_response(shown, scope["path"], id_)(scope, receive, send_safe)
        finally:
            self._finish(scope, status, time.perf_counter() - began)
            unbind_request()

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.requests_running.dec()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(method, route, status, seconds)
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s", method, route, extra={"status": status, "milliseconds": round(seconds * 1e3, 2)})


def _route(scope: Scope) -> str:
    """The route's template: paths themselves hold names of documents, and would make endless label values."""
    found = scope.get("route")
    return str(getattr(found, "path_format", None) or getattr(found, "path", "none"))


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value).decode()
    return None
