"""An inference engine's own server on loopback: what is asked of llama.cpp and of vLLM alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp  # its parser is in C: what a token costs here is taken from the engine's cores

from ragstone.domain.errors import Unavailable

_CONNECT = 2.0  # seconds
_LOOK = 5.0  # seconds for metrics and health
_AT_ONCE = 2  # pieces that are never held up: the first may hold no word yet


class EngineClient:
    """Speaks to one engine under `base_url` (without `/v1`), with a `key` that only this process knows or through a Unix `socket` in a directory of its own.

    `silence` is how long it has said nothing to those who wait for it, in seconds: what tells a hung engine from an idle one.
    """

    def __init__(self, base_url: str, *, key: str | None = None, socket: Path | None = None) -> None:
        self._base = base_url
        self._headers = {"Authorization": f"Bearer {key}"} if key else None
        self._socket = socket
        self._opened: aiohttp.ClientSession | None = None
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
        try:
            with self.expecting():
                url = f"{self._base}/v1/chat/completions"
                return HttpEngineReply(self, await self._session().post(url, data=body, headers={"Content-Type": "application/json"}))
        except aiohttp.ClientError as error:
            raise Unavailable(f"The engine can't be reached or broke off ({type(error).__name__}).", retry_after=1.0) from error

    async def healthy(self, path: str) -> bool:
        """Whether a GET of `path` answers with 200 within 5 s."""
        return await self._look(path) is not None

    async def metrics(self) -> str:
        """The engine's own, in Prometheus's text format; empty when it gives none within 5 s."""
        return await self._look("/metrics") or ""

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _look(self, path: str) -> str | None:
        try:
            async with asyncio.timeout(_LOOK), self._session().get(f"{self._base}{path}") as response:
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _session(self) -> aiohttp.ClientSession:
        """Made where it is first used, as it belongs to an event loop. No limit of its own: the service bounds what it lets in.

        A connection serves one request: one that the engine closes just as it is used again would fail it.
        """
        if self._opened is None:
            connector = (
                aiohttp.UnixConnector(str(self._socket), limit=0, force_close=True)
                if self._socket
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
            self._opened = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._opened


class HttpEngineReply:
    """`EngineReply` over a response that has begun. Closing it closes the connection, on which the engine stops working on it."""

    def __init__(self, engine: EngineClient, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.content_type = response.headers.get("content-type", "application/json")
        self._engine = engine
        self._response = response

    async def pieces(self, every: float = 0.0) -> AsyncIterator[bytes]:
        """Unchanged; with `every`, those of so many seconds as one. Raises `Unavailable` when the connection breaks."""
        content, end, given = self._response.content, asyncio.Event(), 0
        content.on_eof(end.set)
        try:
            while True:
                with self._engine.expecting():
                    piece = await content.readany()
                if not piece:
                    return
                yield piece
                given += 1
                if every and given > _AT_ONCE:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(every):
                            await end.wait()
        except aiohttp.ClientError as error:
            raise Unavailable("The engine broke off in the middle of an answer; ask again.", retry_after=1.0) from error

    async def aclose(self) -> None:
        """At any time."""
        self._response.close()
