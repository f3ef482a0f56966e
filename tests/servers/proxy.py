"""A TCP proxy on loopback between a client and a server, for what networks do: stall, break, lose answers, deliver late."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 2**16


class Proxy:
    """Forwards to `host`:`port`; clients connect to `address`. What it does to connections holds until the next call says otherwise."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._incomplete: set[asyncio.StreamWriter] = set()  # clients from whom bytes were kept
        self._cut = False
        self._drop_replies = False
        self._tear = False
        self._held: bytes | None = None  # requests with this text wait; empty: all do
        self._moving = asyncio.Event()  # replies
        self._released = asyncio.Event()  # requests that wait
        self.waiting = asyncio.Event()  # some request waits
        self.through()

    @classmethod
    def before(cls, url: str) -> Proxy:
        """A proxy for the server of a URL."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url} has no port")
        return cls(parts.port, parts.hostname)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where clients connect to, on 127.0.0.1."""
        if self._server is None:
            raise RuntimeError("the proxy was not started")
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, url: str) -> str:
        """A URL of the server, led through the proxy."""
        return url.replace(f"{self._target[0]}:{self._target[1]}", f"127.0.0.1:{self.port}")

    def through(self) -> None:
        """Everything passes; what waited is delivered. Connections of which replies were lost break: TCP never goes on after a gap."""
        for writer in self._incomplete:
            writer.transport.abort()
        self._cut = self._drop_replies = self._tear = False
        self._held = None
        self._moving.set()
        self._released.set()
        self.waiting.clear()

    def stall(self) -> None:
        """Nothing moves in either direction; connections stay open, and new ones are taken."""
        self._moving.clear()
        self._released.clear()
        self._held = b""

    def cut(self) -> None:
        """Every connection breaks, and new ones are closed at once."""
        self._cut = True
        for task in self._connections:
            task.cancel()

    def hold_replies(self) -> None:
        """Requests arrive, and what the server answers waits until `through`."""
        self._moving.clear()

    def drop_replies(self) -> None:
        """Requests arrive, and what the server answers is lost."""
        self._drop_replies = True

    def tear(self) -> None:
        """Connections break in the middle of the server's next answer."""
        self._tear = True

    def hold(self, text: bytes) -> None:
        """Requests with this text wait, even when their client has given up, until `through` or `release`."""
        self._held = text
        self._released.clear()

    def pass_on(self) -> None:
        """New requests pass again; those that wait go on waiting, as on a slow way."""
        self._held = None

    def break_off(self) -> None:
        """Clients see their connections break; the server does not, nor what waits for it."""
        for writer in self._clients:
            writer.transport.abort()

    def release(self) -> None:
        """What waited is delivered."""
        self._released.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if self._cut or task is None:
            writer.transport.abort()
            return
        self._connections.add(task)
        self._clients.add(writer)
        server_writer: asyncio.StreamWriter | None = None
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._requests(reader, server_writer), self._replies(server_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone, or both shall be; asyncio would log a cancelled handler as an error
        finally:
            self._connections.discard(task)
            self._clients.discard(writer)
            self._incomplete.discard(writer)
            writer.transport.abort()
            if server_writer is not None:
                server_writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # a client that breaks off; what it sent before is still delivered
            while piece := await reader.read(_PIECE):
                if self._held is not None and self._held in piece:
                    self.waiting.set()
                    await self._released.wait()
                writer.write(piece)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            await self._moving.wait()
            if self._tear:
                with suppress(OSError):
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                break
            if self._drop_replies:
                self._incomplete.add(writer)
            else:
                with suppress(OSError):  # the client has given up
                    writer.write(piece)
                    await writer.drain()
        writer.close()
