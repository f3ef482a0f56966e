"""What each route needs: stated with the route, checked before it runs, told in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import LOCAL, Principal, Scope
from ragstone.domain.errors import Forbidden

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_MARK = "__ragstone_scope__"
_OPEN = "open"
_SCHEME = "key"


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Marks a route's function, below the router's decorator. One that is not marked needs `ADMIN`."""
    return _marked(scope)


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Marks the function of a route without parameters in its path that is answered without a key."""
    return _marked(_OPEN)(endpoint)


def scope_of(route: BaseRoute) -> Scope | None:
    """What a route needs; None: not even a key."""
    mark = getattr(getattr(route, "endpoint", None), _MARK, Scope.ADMIN)
    return None if mark == _OPEN else mark


def guard(routes: list[BaseRoute]) -> frozenset[str]:
    """Makes every route check the principal that the middleware has put into the request; returns the paths that need none."""
    unguarded: set[str] = set()
    for route in routes:
        if not isinstance(route, Route):
            raise TypeError("only plain routes: a mount would have no scope")
        needed = scope_of(route)
        if needed is None:
            unguarded.add(route.path)
        else:
            route.app = _Guarded(route.app, needed)
    return frozenset(unguarded)


def caller(request: Request) -> Principal:
    """Who makes the request."""
    found: Principal = request.scope["state"]["principal"]
    return found


def author(request: Request, claimed: str) -> str:
    """Whom a commit names: the key's owner, or where there are no keys whoever the client says."""
    principal = caller(request)
    return claimed if principal is LOCAL else principal.name


def document_keys(document: dict[str, Any], routes: list[BaseRoute]) -> None:
    """Adds to an OpenAPI document which key each operation needs, and the 401."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[_SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this server (`ragstone keys new` makes one), or a token of its issuer.",
    }
    for route in routes:
        if not isinstance(route, Route) or not route.include_in_schema:
            continue
        needed = scope_of(route)
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = [] if needed is None else [{_SCHEME: [needed.word]}]
            if needed is not None:
                refusal = operation["responses"]["403"]
                refusal["description"] = f"Refused: the key's scope is less than {needed.word}"
                challenge = {"WWW-Authenticate": {"schema": {"type": "string"}}}
                operation["responses"]["401"] = {**refusal, "description": "No key or token, or one that is refused", "headers": challenge}


class _Guarded:
    """A route's application behind its scope."""

    def __init__(self, app: ASGIApp, needed: Scope) -> None:
        self._app = app
        self._needed = needed

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["state"]["principal"]
        if not principal.may(self._needed):
            raise Forbidden(
                f"Authorization: this needs a key with the scope {self._needed.word}; that of {principal.name} is {principal.scope.word}.",
                field="Authorization",
            )
        await self._app(scope, receive, send)


def _marked(mark: Scope | str) -> Callable[[Endpoint], Endpoint]:
    def mark_it(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, mark)
        return endpoint

    return mark_it
