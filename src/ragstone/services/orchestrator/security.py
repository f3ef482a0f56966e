"""Who may come in: on loopback without keys everybody but other web pages and rebound names, elsewhere whoever has a key."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.access import LOCAL, Principal
from ragstone.domain.errors import Forbidden, Unauthorized
from ragstone.ports.authenticator import Authenticator

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?", re.ASCII)
_DOCS = ("/docs", "/")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,16384})", re.ASCII | re.IGNORECASE)


class LoopbackGuard:
    """Pure ASGI middleware: refuses (403) a Host that is not allowed and every request that a foreign page makes.

    A page of another origin can send requests to 127.0.0.1, and DNS rebinding makes it look same-origin; the Host list stops the latter.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset((*_LOOPBACK, *(name.lower() for name in allowed_hosts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._check(scope)
            scope.setdefault("state", {})["principal"] = LOCAL
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = origin = site = mode = ""
        hosts = 0
        for name, value in scope["headers"]:
            if name == b"host":
                host, hosts = value.decode("latin-1").lower(), hosts + 1
            elif name == b"origin":
                origin = value.decode("latin-1").lower() or "null"
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1").lower()
            elif name == b"sec-fetch-mode":
                mode = value.decode("latin-1").lower()
        named = _HOST.fullmatch(host)
        if hosts != 1 or named is None or named[1] not in self._allowed:
            raise Forbidden(
                "Host: this server answers to localhost, 127.0.0.1 and [::1] only; add others to the setting allowed_hosts.", field="Host"
            )
        if origin and origin != f"{scope['scheme']}://{host}":
            raise Forbidden("Origin: requests from pages of another origin are refused.", field="Origin")
        if site in ("cross-site", "same-site") and not (mode == "navigate" and scope["method"] == "GET" and scope["path"] in _DOCS):
            raise Forbidden("Sec-Fetch-Site: requests from pages of another site are refused.", field="Sec-Fetch-Site")


class KeyGuard:
    """Pure ASGI middleware: refuses (401) a request without a known key or token, unless its path is `unguarded`. Routes check its scope.

    Pages of other origins are no danger: a browser adds no Authorization by itself.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, unguarded: frozenset[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._unguarded = unguarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._unguarded:
            scope.setdefault("state", {})["principal"] = await self._principal(scope)
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        bearer = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        principal = await self._authenticator.principal(bearer[1]) if bearer else None
        if principal is None:
            what = "the key is not known here" if bearer else "a key is needed"
            raise Unauthorized(
                f"Authorization: {what}; send `Authorization: Bearer KEY` (the command line: RAGSTONE_API_KEY).",
                field="Authorization",
                presented=bearer is not None,
            )
        return principal
