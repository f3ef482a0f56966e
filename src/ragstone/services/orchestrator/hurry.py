"""The time that a request has: every call of a server below it gets what is left (`domain.deadline`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.deadline import deadline

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_MARK = "__ragstone_unhurried__"
_WRITES = 10  # times what a read may take: as many as 10,000 documents have to be stored before a job is accepted


def unhurried(endpoint: Endpoint) -> Endpoint:
    """Marks a route's function, below the router's decorator, that may take as long as its work is large; each call that it makes has its time-out."""
    setattr(endpoint, _MARK, True)
    return endpoint


def is_unhurried(route: BaseRoute) -> bool:
    """Whether the route's requests have no deadline."""
    return getattr(getattr(route, "endpoint", None), _MARK, False)


def hurry(routes: Iterable[BaseRoute], seconds: float) -> None:
    """Gives the requests of every other route `seconds`, the sending of the response included."""
    for route in routes:
        if isinstance(route, Route) and not is_unhurried(route):
            route.app = _Hurried(route.app, seconds)


def accepting(seconds: float) -> AbstractContextManager[None]:
    """Around the storing and accepting of what a request brought, once it is here; `seconds`: those of a read."""
    return deadline(_WRITES * seconds)


class _Hurried:
    """A route's application with a deadline."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with deadline(self._seconds):
            await self._app(scope, receive, send)
