"""A small server on loopback that speaks OpenAI's streaming chat protocol, well or badly, over a plain socket.

`python -m tests.support.chat_server PORT` runs one that answers well, in a process of its own, and prints its base URL as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Reply = Callable[["Call"], Awaitable[None]]


class Call:
    """One request: its `path`, `headers` (lower case) and JSON `body`, and the ways to answer it."""

    def __init__(self, path: str, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self._writer = writer

    async def start(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        """The head of a response whose end is the end of the connection."""
        lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {content_type}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def event(self, data: object) -> None:
        """One server-sent event."""
        await self.raw(f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n".encode())

    async def delta(self, text: str, finish: str | None = None) -> None:
        """A piece of text."""
        await self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})

    def cut(self) -> None:
        """Drops the connection without a goodbye."""
        self._writer.transport.abort()


class ChatServer:
    """`calls` are the requests so far; `dropped` is set once a client has closed its connection before the answer's end."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.calls: list[Call] = []
        self.dropped = asyncio.Event()
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
            call = Call(head[0].split()[1], headers, body, writer)
            self.calls.append(call)
            answering = asyncio.ensure_future(self._reply(call))
            gone = asyncio.ensure_future(reader.read())
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.dropped.set()
                answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)
        finally:
            writer.close()


@asynccontextmanager
async def chat_server(reply: Reply, port: int = 0) -> AsyncIterator[ChatServer]:
    """Runs one; on a free port, if none is given."""
    chat = ChatServer(reply)
    server = await asyncio.start_server(chat.serve, "127.0.0.1", port)
    chat.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield chat


async def quote(call: Call) -> None:
    """A well-behaved answer in three pieces, with usage."""
    await call.start()
    await call.raw(b": a comment\n\n")
    await call.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]})
    for piece in ("Quartz is ", "a mineral. ", "[1]"):
        await call.delta(piece)
    await call.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await call.event({"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 7, "total_tokens": 28}})
    await call.event("[DONE]")


async def hang(call: Call) -> None:
    """One piece, then silence."""
    await call.start()
    await call.delta("Quartz ")
    await asyncio.Event().wait()


async def _main(port: int) -> None:
    async with chat_server(quote, port) as server:
        print(json.dumps(server.base_url), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
