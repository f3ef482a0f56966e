"""An httpx transport that calls an ASGI application in this process and hands its body on as it is made.

httpx's own ASGITransport collects the whole body first, which would hold back progress events and streamed answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import httpx

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
_log = logging.getLogger(__name__)
_AHEAD = 64  # pieces of a body that may wait to be read


class InProcessTransport(httpx.AsyncBaseTransport):
    """One task a request. The application sees a disconnect when the response is closed early."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns once the application has sent its status and headers; what it raises before is raised here."""
        call = _Call(request)
        call.start(self._app)
        status, headers = await call.head()
        return httpx.Response(status, headers=headers, stream=call)


class _Call(httpx.AsyncByteStream):
    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(_AHEAD)
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._body = aiter(request.stream) if isinstance(request.stream, httpx.AsyncByteStream) else None
        self._sent = False
        self._complete = False
        self._broken: Exception | None = None  # why the request's body could not be sent

    def start(self, app: App) -> None:
        url = self._request.url
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.split(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        self._task = asyncio.create_task(self._run(app, scope))

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        message = await self._messages.get()
        if self._broken is not None:
            await self.aclose()
            raise self._broken
        if message is None:
            await self.aclose()
            raise httpx.RemoteProtocolError("the application sent no response", request=self._request)
        return message["status"], list(message.get("headers", []))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            if body := message.get("body"):
                yield body
        if not self._complete:
            raise httpx.RemoteProtocolError("the application ended its response half-way", request=self._request)

    async def aclose(self) -> None:
        self._closed.set()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:  # as a server does: the application has answered and logged it, or the client sees that it has not
            _log.debug("the application raised", exc_info=True)
        finally:
            if not self._closed.is_set():
                await self._messages.put(None)

    async def _send(self, message: Message) -> None:
        self._complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._messages.put(message)

    async def _receive(self) -> Message:
        if self._sent or self._body is None:
            await self._closed.wait()
            return {"type": "http.disconnect"}
        try:
            piece = await anext(self._body, None)
        except Exception as error:  # raised where the response is waited for, as over a socket
            self._broken = error
            return {"type": "http.disconnect"}
        self._sent = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}
