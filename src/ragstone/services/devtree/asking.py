"""Whether a process on this machine answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_WITHIN = 5.0  # seconds


def http(port: int, path: str, host: str = "127.0.0.1") -> Callable[[], Awaitable[bool]]:
    """Whether `path` is answered with a success."""

    async def ready() -> bool:
        try:
            async with asyncio.timeout(_WITHIN):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
                    return (await reader.readline()).split(b" ")[1:2] == [b"200"]
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return ready
