"""What keeps other web pages and rebound names out of a server that listens on loopback without keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.errors import Forbidden

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?", re.ASCII)
_DOCS = ("/docs", "/")


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
