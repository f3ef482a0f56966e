"""An inference engine's own server on loopback: what is asked of llama.cpp and of vLLM alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ragstone.domain.errors import Unavailable

_CONNECT = 2.0  # seconds
_LOOK = 5.0  # seconds for metrics and health
_CONNECTIONS = 4_096  # far beyond what the service lets in


class EngineClient:
    """Speaks to one engine under `base_url` (without `/v1`), with a `key` that only this process knows or through a Unix `socket` in a directory of its own.

    `silence` is how long it has said nothing to those who wait for it, in seconds: what tells a hung engine from an idle one.
    """

    def __init__(self, base_url: str, *, key: str | None = None, socket: Path | None = None) -> None:
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=64)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(None, connect=_CONNECT),
            transport=httpx.AsyncHTTPTransport(verify=False, limits=limits, uds=str(socket) if socket else None),
            trust_env=False,  # no proxy between two ends of one machine
        )
        self._waiting = 0
        self._since = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds; 0 while nobody waits for a word of it."""
        return time.monotonic() - self._since if self._waiting else 0.0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Around each wait for a word of it, and around nothing else: a client that reads slowly is not the engine's silence."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._since = time.monotonic()

    async def chat(self, body: bytes) -> HttpEngineReply:
        """Sends a chat completion; returns once the answer begins. Raises `Unavailable` when the engine is not to be reached or ends the connection before that."""
        request = self._client.build_request("POST", "/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
        try:
            with self.expecting():
                return HttpEngineReply(self, await self._client.send(request, stream=True))
        except httpx.TransportError as error:
            raise Unavailable(f"The engine can't be reached or broke off ({type(error).__name__}).", retry_after=1.0) from error

    async def healthy(self, path: str) -> bool:
        """Whether a GET of `path` answers with 200 within 5 s."""
        try:
            async with asyncio.timeout(_LOOK):
                return (await self._client.get(path)).is_success
        except (httpx.HTTPError, TimeoutError):
            return False

    async def metrics(self) -> str:
        """The engine's own, in Prometheus's text format; empty when it gives none within 5 s."""
        try:
            async with asyncio.timeout(_LOOK):
                response = await self._client.get("/metrics")
        except (httpx.HTTPError, TimeoutError):
            return ""
        return response.text if response.is_success else ""

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


class HttpEngineReply:
    """`EngineReply` over a response that has begun. Closing it closes the connection, on which the engine stops working on it."""

    def __init__(self, engine: EngineClient, response: httpx.Response) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "application/json")
        self._engine = engine
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        """As they come, unchanged. Raises `Unavailable` when the connection breaks."""
        pieces = self._response.aiter_bytes()
        try:
            while True:
                with self._engine.expecting():
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece
        except httpx.TransportError as error:
            raise Unavailable(f"The engine broke off ({type(error).__name__}).", retry_after=1.0) from error

    async def aclose(self) -> None:
        """At any time."""
        await self._response.aclose()
