"""The audit log: an entry for each write and act of administration before its answer leaves, and GET /v1/audit."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import Scope
from ragstone.domain.audit import AuditEntry
from ragstone.domain.errors import Busy, RagstoneError, Unavailable
from ragstone.domain.ids import new_id
from ragstone.ports.audit_log import AuditLog
from ragstone.services.orchestrator.access import MEANT, needs, rule_of
from ragstone.services.orchestrator.context import ClientGone, Context, json_response
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import error_response
from ragstone.services.orchestrator.schemas import audit as schemas
from ragstone.services.orchestrator.views import moment
from ragstone.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_EXPORT = "/v1/interactions/export"  # a read for some, and still everything that was asked
_SCRAPED = "/metrics"  # read every few seconds, and no administration
_LONGEST = 100  # characters of a collection's name that somebody sent
_STRANGERS = 60  # refusals of nobody knows whom that are recorded in a window: nobody who has no key may fill a disk
_WINDOW = 60.0  # seconds


@dataclass(slots=True)
class _Allowance:
    """So many in a window of time."""

    left: int = _STRANGERS
    until: float = 0.0

    def take(self) -> bool:
        """Whether there is one left."""
        now = time.monotonic()
        if now >= self.until:
            self.left, self.until = _STRANGERS, now + _WINDOW
        self.left -= 1
        return self.left >= 0


class Auditing:
    """Pure ASGI middleware around the guard: records who did what with which outcome, never contents, of every route that changes or administers something.

    The answer leaves once its entry is stored. Where the log can't store it, the answer is a 503 that says so, the entry goes into the process's
    own log, and nothing more is changed until it is stored.
    """

    def __init__(self, app: ASGIApp, log: AuditLog, routes: list[BaseRoute], metrics: Metrics) -> None:
        self._app = app
        self._audit = log
        self._routes = [route for route in routes if isinstance(route, Route)]
        self._audited = {
            (method, _template(route)) for route in self._routes for method in route.methods or () if is_audited(route, method)
        }
        self._metrics = metrics
        self._owed: list[AuditEntry] = []
        self._strangers = _Allowance()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._owed and self._entry(scope, 0) is not None:
            await self._settle()
        recorded = replaced = False

        async def send_recorded(message: Message) -> None:
            nonlocal recorded, replaced
            if message["type"] == "http.response.start" and not recorded:
                recorded = True
                try:
                    await self._record(scope, message["status"])
                except RagstoneError as error:
                    replaced = True
                    await error_response(error, scope["path"], request_id(scope))(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        except BaseException as error:
            if not recorded:
                await self._record(scope, _status(error))
            raise

    async def _record(self, scope: AsgiScope, status: int) -> None:
        """Raises `Unavailable` when the entry can't be stored."""
        entry = self._entry(scope, status) if status != Busy.status else None  # nothing was done, nor refused for good
        if entry is None:
            return
        if not entry.principal and status >= 400 and not self._strangers.take():
            self._metrics.audit_left_out.inc()
            return
        try:
            await self._audit.append(entry)
        except RagstoneError as error:
            self._owed.append(entry)
            _log.error("an audit entry can't be stored (%s): %s", error.message, entry)
            raise _unrecorded("the request ended with status", status) from error

    async def _settle(self) -> None:
        """Stores what could not be stored when it happened. Raises `Unavailable`."""
        while self._owed:
            try:
                await self._audit.append(self._owed[0])
            except RagstoneError as error:
                raise _unrecorded("nothing was done:", "try again later") from error
            del self._owed[:1]

    def _entry(self, scope: AsgiScope, status: int) -> AuditEntry | None:
        """The entry of a request, None for one that is not recorded."""
        route, parameters = scope.get("route"), scope.get("path_params", {})
        if route is None:  # refused before a route was looked for
            route, parameters = self._found(scope)
        what = (scope["method"], _template(route))
        if what not in self._audited:
            return None
        state = scope["state"]
        principal = state.get("principal")
        return AuditEntry(
            id=new_id(),
            at=time.time(),
            principal=principal.name if principal else "",
            what=" ".join(what),
            collection=str(state.get(MEANT) or parameters.get("collection") or "")[:_LONGEST],
            status=status,
            request_id=request_id(scope),
        )

    def _found(self, scope: AsgiScope) -> tuple[Route | None, dict[str, Any]]:
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return route, child["path_params"]
        return None, {}


def is_audited(route: Route, method: str) -> bool:
    """Whether requests to it are recorded: those that need more than reading, those without a key that are no reading, and exports."""
    rule = rule_of(route)
    if rule is None:
        return method not in _READING
    return _template(route) == _EXPORT or (rule.scope > Scope.READ and _template(route) != _SCRAPED)


def routes(context: Context) -> APIRouter:
    """The route, with its platform."""
    router = APIRouter(prefix="/v1/audit", tags=["operation"])
    log = context.platform.adapters.audit

    @router.get("", summary="List audit entries", response_model=None, responses={200: {"model": schemas.AuditResponse}, **errors(503)})
    @needs(Scope.ADMIN)
    async def page(request: Request, asked: Annotated[schemas.AuditPage, Query()]) -> Response:
        """Who changed or administered what, newest first, and who tried to. What waits in a spool while the log is down comes later."""
        found = await log.page(asked.filter(), before=asked.before, limit=asked.limit + 1) if log else []
        following = found[asked.limit - 1].id if len(found) > asked.limit else None
        return json_response({"entries": [_json(entry) for entry in found[: asked.limit]], "next": following})

    return router


def _json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": moment(entry.at),
        "principal": entry.principal,
        "what": entry.what,
        "collection": entry.collection or None,
        "status": entry.status,
        "request_id": entry.request_id,
    }


def _template(route: object) -> str:
    return str(getattr(route, "path_format", None) or getattr(route, "path", ""))


def _status(error: BaseException) -> int:
    if isinstance(error, CancelledError):
        return ClientGone.status
    return error.status if isinstance(error, RagstoneError) else 500


def _unrecorded(*what: object) -> Unavailable:
    return Unavailable(f"The audit log takes nothing; {' '.join(map(str, what))}.", field="audit", retry_after=5.0)
