"""What a Qdrant server does over HTTP alone: files of snapshots, and figures of its own that the client's models refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ragstone.adapters.qdrant_server_connection import Connection
from ragstone.adapters.qdrant_server_errors import answered
from ragstone.domain.errors import Unavailable

_WITHIN = httpx.Timeout(30.0, read=3600.0, write=3600.0)  # seconds; the server packs and unpacks snapshots before it answers


@asynccontextmanager
async def http(connection: Connection) -> AsyncIterator[httpx.AsyncClient]:
    """For calls that take as long as an index is large: no deadline of a request counts, and none is made twice."""
    server = connection.server
    headers = {"Authorization": f"Bearer {server.api_key()}"} if server.api_key else {}
    try:
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=_WITHIN, trust_env=False) as client:
            yield client
    except httpx.TransportError as error:
        raise Unavailable("index: the Qdrant server can't be reached; check index.url, and that it runs.", field="index") from error


async def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, unless it is an error."""
    if answer.is_error:
        raise answered(answer.status_code, (await answer.aread()).decode(errors="replace"))
    return answer


async def size(connection: Connection, collection: str) -> int:
    """Bytes of vectors and payloads in the shards of the server that answers, as it estimates them."""

    async def ask(seconds: int) -> list[dict[str, Any]]:
        async with http(connection) as client:
            answer = await client.get("/telemetry", params={"details_level": 3, "per_collection": "true", "timeout": seconds})
            collections: list[dict[str, Any]] = (await checked(answer)).json()["result"]["collections"].get("collections") or []
            return collections

    total = 0
    for each in await connection.call(lambda _, seconds: ask(seconds)):
        if each.get("id") == collection:
            local = [shard.get("local") or {} for shard in each.get("shards") or []]
            total = sum((shard.get(part) or 0) for shard in local for part in ("vectors_size_bytes", "payloads_size_bytes"))
    return total
