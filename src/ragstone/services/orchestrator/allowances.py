"""What each principal may use: requests by the minute, questions, documents and bytes by the day."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import Principal, Scope
from ragstone.domain.errors import AllowanceUsed, RagstoneError
from ragstone.domain.usage import Charge
from ragstone.ports.usage_meter import UsageMeter
from ragstone.services.orchestrator.access import caller, rule_of
from ragstone.services.orchestrator.shedding import QUESTIONS
from ragstone.settings.model import RateLimitSettings
from ragstone.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_MINUTE, _DAY = 60, 86_400  # seconds
_ALONGSIDE = frozenset({"/metrics"})  # on the management port too, where nobody in particular asks


class Allowances:
    """Raises `AllowanceUsed` for what goes beyond the settings. Where that can't be counted, it passes and is counted as such: nobody is refused for that."""

    def __init__(self, settings: RateLimitSettings, meter: UsageMeter | None, metrics: Metrics) -> None:
        self._settings = settings
        self._meter = meter
        self._metrics = metrics

    async def documents(self, request: Request, documents: int, size: int) -> None:
        """So many documents with so many bytes are about to be ingested."""
        await self._use(
            caller(request),
            (
                Charge("documents_per_day", documents, self._settings.documents_per_day, _DAY),
                Charge("bytes_per_day", size, self._settings.bytes_per_day, _DAY),
            ),
        )

    async def request(self, principal: Principal, scope: Scope, *, question: bool) -> None:
        """A request to a route that needs this scope."""
        reading = Charge("reads_per_minute", 1, self._settings.reads_per_minute, _MINUTE)
        writing = Charge("writes_per_minute", 1, self._settings.writes_per_minute, _MINUTE)
        asking = Charge("questions_per_day", int(question), self._settings.questions_per_day, _DAY)
        await self._use(principal, (reading if scope is Scope.READ else writing, asking))

    async def _use(self, principal: Principal, charges: tuple[Charge, ...]) -> None:
        counted = [charge for charge in charges if charge.allowed and charge.amount]
        if self._meter is None or not counted:
            return
        try:
            beyond = await self._meter.use(principal.name, counted)
        except RagstoneError as error:
            self._metrics.allowances_uncounted.inc()
            _log.debug("usage is not counted: %s", error.message)
            return
        if beyond is not None:
            charge, seconds = beyond
            self._metrics.allowances_used.labels(charge.what).inc()
            raise AllowanceUsed(
                f"{charge.what}: {principal.name} may use {charge.allowed:,}, and this would be more; try again later, or ask for a larger allowance.",
                field=charge.what,
                retry_after=seconds,
            )


def allot(routes: list[BaseRoute], allowances: Allowances) -> None:
    """Has every route that needs a key count its requests. To be called after `access.guard`: what a principal may not do counts too."""
    for route in routes:
        rule = rule_of(route)
        if isinstance(route, Route) and rule is not None and route.path not in _ALONGSIDE:
            route.app = _Counted(route.app, allowances, rule.scope, question=route.path in QUESTIONS)


class _Counted:
    """A route's application behind what its caller may use."""

    def __init__(self, app: ASGIApp, allowances: Allowances, scope: Scope, *, question: bool) -> None:
        self._app = app
        self._allowances = allowances
        self._scope = scope
        self._question = question

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._allowances.request(scope["state"]["principal"], self._scope, question=self._question)
        await self._app(scope, receive, send)
