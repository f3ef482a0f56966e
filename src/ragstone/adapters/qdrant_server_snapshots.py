"""Snapshots of an index on a Qdrant server: made, listed, downloaded, restored, deleted. For backups.

A snapshot holds what the server that is asked has: with several servers, `ragstone doctor --repair` writes what another one had after a restore.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx

from ragstone.adapters.qdrant_server_collections import Collections
from ragstone.adapters.qdrant_server_connection import Connection
from ragstone.adapters.qdrant_server_errors import answered
from ragstone.domain.errors import DataDirectoryError, NotFound, Unavailable

_PART = 2**20  # bytes
_WITHIN = httpx.Timeout(30.0, read=3600.0, write=3600.0)  # seconds; the server unpacks a snapshot before it answers


class Snapshots:
    """Those of the indexes of one server. What it does takes as long as an index is large, so no deadline of a request counts."""

    def __init__(self, connection: Connection, collections: Collections) -> None:
        self._connection = connection
        self._collections = collections

    async def create(self, index: str) -> str:
        """A new snapshot's name: the index as it is between two writes."""
        collection = await self._collections.target(index)
        async with self._http() as http:
            answer = await http.post(f"/collections/{collection}/snapshots", params={"wait": "true"})
            return str(_checked(answer).json()["result"]["name"])

    async def names(self, index: str) -> list[str]:
        """The snapshots that there are of the index."""
        collection = await self._collections.target(index)
        async with self._http() as http:
            answer = await http.get(f"/collections/{collection}/snapshots")
            return sorted(str(each["name"]) for each in _checked(answer).json()["result"])

    async def delete(self, index: str, name: str) -> None:
        """Idempotent."""
        collection = await self._collections.target(index)
        async with self._http() as http:
            answer = await http.delete(f"/collections/{collection}/snapshots/{name}", params={"wait": "true"})
            if answer.status_code != 404:
                _checked(answer)

    async def download(self, index: str, name: str) -> AsyncIterator[bytes]:
        """The bytes of a snapshot."""
        collection = await self._collections.target(index)
        async with self._http() as http, http.stream("GET", f"/collections/{collection}/snapshots/{name}") as answer:
            if answer.is_error:
                await answer.aread()
            _checked(answer)
            async for part in answer.aiter_bytes(_PART):
                yield part

    async def snapshot(self, index: str) -> AsyncIterator[bytes]:
        """The bytes of a new snapshot, which is deleted from the server when they have been read or are not wanted any more."""
        name = await self.create(index)
        try:
            async for part in self.download(index, name):
                yield part
        finally:
            await self.delete(index, name)

    async def restore(self, index: str, content: AsyncIterable[bytes]) -> None:
        """Makes the index what the snapshot holds, in one step; what bore the name is dropped. `DataDirectoryError` for what is no snapshot of an index.

        The field indexes, the format and the vectors are checked when the index is next used, as always.
        """
        self._collections.alias(index)
        collection, boundary = await self._collections.unused(index), uuid4().hex
        try:
            async with self._http() as http:
                answer = await http.post(
                    f"/collections/{collection}/snapshots/upload",
                    params={"wait": "true", "priority": "snapshot"},
                    content=_multipart(content, boundary),
                    headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
                )
                if answer.status_code in (400, 422):
                    raise DataDirectoryError("The file is no snapshot of an index; take another backup.", field="backup")
                _checked(answer)
            await self._collections.adopt(index, collection)
        except BaseException:
            await self._collections.discard(collection)
            raise

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[httpx.AsyncClient]:
        server = self._connection.server
        headers = {"Authorization": f"Bearer {server.api_key()}"} if server.api_key else {}
        try:
            async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=_WITHIN, trust_env=False) as http:
                yield http
        except httpx.TransportError as error:
            raise Unavailable("index: the Qdrant server can't be reached; check index.url, and that it runs.", field="index") from error


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == 404:
        raise NotFound("There is no such snapshot or index.", field="index")
    if answer.is_error:
        raise answered(answer.status_code, answer.text)
    return answer


async def _multipart(content: AsyncIterable[bytes], boundary: str) -> AsyncIterator[bytes]:
    """A form with one file. `boundary` is a new one each time, so that no content can hold it on purpose."""
    yield f'--{boundary}\r\nContent-Disposition: form-data; name="snapshot"; filename="snapshot"\r\n\r\n'.encode()
    async for part in content:
        yield part
    yield f"\r\n--{boundary}--\r\n".encode()
