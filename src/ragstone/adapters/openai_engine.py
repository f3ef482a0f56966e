"""An inference engine's own server on loopback: what is asked of llama.cpp and of vLLM alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx

from ragstone.domain.errors import Unavailable

_CONNECT = 2.0  # seconds
_LOOK = 5.0  # seconds for metrics and health
_CONNECTIONS = 4_096  # far beyond what the service lets in


class EngineClient:
    """Speaks to one engine under `base_url` (without `/v1`) with a key that only this process knows.

    `silence` is how long an engine with work to do has said nothing, in seconds: what tells a hung engine from an idle one.
    """

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(None, connect=_CONNECT),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=64),
            verify=False,  # noqa: S501 - plain HTTP on loopback; there are no certificates to load
            trust_env=False,  # no proxy between two ends of one machine
        )
        self._busy = 0
        self._heard = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds; 0 without work."""
        return time.monotonic() - self._heard if self._busy else 0.0

    async def chat(self, body: bytes) -> HttpEngineReply:
        """Sends a chat completion; returns once the answer begins. Closing the reply's pieces closes the connection, on which an engine stops.

        Raises `Unavailable` when the engine is not to be reached or ends the connection before that.
        """
        self._began()
        try:
            request = self._client.build_request("POST", "/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
            response = await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            self._ended()
            raise Unavailable(f"The engine can't be reached or broke off ({type(error).__name__}).", retry_after=1.0) from error
        except BaseException:
            self._ended()
            raise
        self._heard = time.monotonic()
        return HttpEngineReply(response, self._hear, self._ended)

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

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _began(self) -> None:
        if not self._busy:
            self._heard = time.monotonic()
        self._busy += 1

    def _ended(self) -> None:
        self._busy -= 1


class HttpEngineReply:
    """`EngineReply` over a response that has begun. `hear` is told of each piece, `ended` once that it is over."""

    def __init__(self, response: httpx.Response, hear: Callable[[], None], ended: Callable[[], None]) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "application/json")
        self._response = response
        self._hear = hear
        self._ended = ended
        self._open = True

    async def pieces(self) -> AsyncIterator[bytes]:
        """As they come, unchanged. Raises `Unavailable` when the connection breaks."""
        try:
            async for piece in self._response.aiter_bytes():
                self._hear()
                yield piece
        except httpx.TransportError as error:
            raise Unavailable(f"The engine broke off ({type(error).__name__}).", retry_after=1.0) from error

    async def aclose(self) -> None:
        """Closes the connection, unless everything was read."""
        if self._open:
            self._open = False
            self._ended()
        await self._response.aclose()
