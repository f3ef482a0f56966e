"""What each route needs, and where: stated with the route, checked before it runs, told in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import LOCAL, Principal, Scope, no_collection
from ragstone.domain.errors import Forbidden, NotFound

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_MARK = "__ragstone_rule__"
_OPEN = "open"
_SCHEME = "key"
_RULE = "rule"  # in the request's state: that of its route
_ASKED = "asked"  # in the request's state: whether the route has asked what its caller may
MEANT = "collection"  # in the request's state: the collection that the route asked about
_PARAMETER = "collection"


class Where(StrEnum):
    """In which collections a route's scope must be held."""

    EVERYWHERE = "everywhere"  # in all of them
    COLLECTION = "its collection"  # in that of the path
    ASKED = "what it asks for"  # the route itself says, once it knows: `allow`, `readable`, `in_general`


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs."""

    scope: Scope
    where: Where


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Marks a route's function, below the router's decorator: the scope is needed in the path's `{collection}`, or where there is none everywhere.

    A route that is not marked needs `ADMIN`.
    """
    return _marked(scope)


def needs_where_asked(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Marks the function of a route that learns from the request's body or query, or from what it finds, which collections are meant.

    It calls `allow`, `readable` or `in_general` before it answers, or its answer does not leave.
    """
    return _marked(Rule(scope, Where.ASKED))


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Marks the function of a route without parameters in its path that is answered without a key."""
    return _marked(_OPEN)(endpoint)


def rule_of(route: BaseRoute) -> Rule | None:
    """What a route needs; None: not even a key."""
    mark = getattr(getattr(route, "endpoint", None), _MARK, Scope.ADMIN)
    if mark == _OPEN:
        return None
    if isinstance(mark, Rule):
        return mark
    named = _PARAMETER in getattr(route, "param_convertors", ())
    return Rule(mark, Where.COLLECTION if named else Where.EVERYWHERE)


def guard(routes: list[BaseRoute]) -> frozenset[str]:
    """Makes every route check the principal that the middleware has put into the request; returns the paths that need none."""
    unguarded: set[str] = set()
    for route in routes:
        if not isinstance(route, Route):
            raise TypeError("only plain routes: a mount would have no rule")
        rule = rule_of(route)
        if rule is None:
            unguarded.add(route.path)
        else:
            route.app = _Guarded(route.app, rule)
    return frozenset(unguarded)


def caller(request: Request) -> Principal:
    """Who makes the request."""
    found: Principal = request.scope["state"]["principal"]
    return found


def allow(request: Request, collection: str, *, otherwise: NotFound | None = None) -> None:
    """Checks the route's scope in a collection. One that may not be read is told as one that is not there: `otherwise`, or `no_collection`."""
    rule: Rule = request.scope["state"][_RULE]
    request.scope["state"][MEANT] = collection
    _check(caller(request), collection, rule.scope, otherwise)
    request.scope["state"][_ASKED] = True


def allow_making(request: Request, collection: str) -> None:
    """Checks the route's scope in a collection that may not be there yet: what is said does not depend on it."""
    rule: Rule = request.scope["state"][_RULE]
    request.scope["state"][MEANT] = collection
    if not caller(request).may(rule.scope, collection):
        raise _refusal(caller(request), rule.scope, f"in collection {collection!r}")
    request.scope["state"][_ASKED] = True


def allow_everywhere(request: Request, scope: Scope) -> None:
    """Checks a scope in all collections."""
    if not caller(request).may(scope):
        raise _refusal(caller(request), scope, "in all collections")
    request.scope["state"][_ASKED] = True


def readable(request: Request) -> Callable[[str], bool]:
    """Tells of a collection whether the caller may read it: for listings."""
    request.scope["state"][_ASKED] = True
    principal = caller(request)
    return lambda collection: principal.may(Scope.READ, collection)


def in_general(request: Request) -> None:
    """The answer is about no collection."""
    request.scope["state"][_ASKED] = True


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
        rule = rule_of(route)
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = [] if rule is None else [{_SCHEME: [rule.scope.word]}]
            if rule is not None:
                refusal = operation["responses"]["403"]
                refusal["description"] = f"Refused: the caller's scope is less than {rule.scope.word}, {rule.where}"
                challenge = {"WWW-Authenticate": {"schema": {"type": "string"}}}
                operation["responses"]["401"] = {**refusal, "description": "No key or token, or one that is refused", "headers": challenge}


class _Guarded:
    """A route's application behind its rule."""

    def __init__(self, app: ASGIApp, rule: Rule) -> None:
        self._app = app
        self._rule = rule

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["state"]["principal"]
        needed = self._rule.scope
        match self._rule.where:
            case Where.EVERYWHERE:
                if not principal.may(needed):
                    raise _refusal(principal, needed, "in all collections")
            case Where.COLLECTION:
                _check(principal, scope["path_params"][_PARAMETER], needed)
            case Where.ASKED:
                if not principal.may_somewhere(needed):
                    raise _refusal(principal, needed, "in a collection")
                scope["state"] |= {_RULE: self._rule, _ASKED: False}
                await self._app(scope, receive, _only_once_asked(scope, send))
                return
        await self._app(scope, receive, send)


def _only_once_asked(scope: AsgiScope, send: Send) -> Send:
    """Lets no answer but an error leave a route that has forgotten to ask what its caller may."""

    async def checked(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400 and not scope["state"][_ASKED]:
            raise AssertionError("a route answered without asking what its caller may")
        await send(message)

    return checked


def _check(principal: Principal, collection: str, needed: Scope, otherwise: NotFound | None = None) -> None:
    if not principal.may(Scope.READ, collection):
        raise otherwise or no_collection(collection)
    if not principal.may(needed, collection):
        raise _refusal(principal, needed, f"in collection {collection!r}")


def _refusal(principal: Principal, needed: Scope, where: str) -> Forbidden:
    return Forbidden(f"Authorization: this needs the scope {needed.word} {where}, which {principal.name} has not.", field="Authorization")


def _marked(mark: Scope | Rule | str) -> Callable[[Endpoint], Endpoint]:
    def mark_it(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, mark)
        return endpoint

    return mark_it
