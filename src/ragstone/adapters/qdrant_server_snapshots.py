"""Snapshots of an index on a Qdrant server: made, listed, downloaded, restored, deleted. For backups.

A snapshot holds what the server that is asked has: with several servers, `ragstone doctor --repair` writes what another one had after a restore.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from uuid import uuid4

from ragstone.adapters.qdrant_server_collections import Collections
from ragstone.adapters.qdrant_server_connection import Connection
from ragstone.adapters.qdrant_server_http import checked, http
from ragstone.domain.errors import DataDirectoryError, InternalError

_PART = 2**20  # bytes


class Snapshots:
    """Those of the indexes of one server."""

    def __init__(self, connection: Connection, collections: Collections) -> None:
        self._connection = connection
        self._collections = collections

    async def create(self, index: str) -> str:
        """A new snapshot's name: the index as it is between two writes."""
        collection = await self._collections.target(index)
        async with http(self._connection) as client:
            answer = await client.post(f"/collections/{collection}/snapshots", params={"wait": "true"})
            return str((await checked(answer)).json()["result"]["name"])

    async def names(self, index: str) -> list[str]:
        """The snapshots that there are of the index."""
        collection = await self._collections.target(index)
        async with http(self._connection) as client:
            answer = await client.get(f"/collections/{collection}/snapshots")
            return sorted(str(each["name"]) for each in (await checked(answer)).json()["result"])

    async def delete(self, index: str, name: str) -> None:
        """Idempotent."""
        collection = await self._collections.target(index)
        async with http(self._connection) as client:
            answer = await client.delete(f"/collections/{collection}/snapshots/{name}", params={"wait": "true"})
            if answer.status_code != 404:
                await checked(answer)

    async def download(self, index: str, name: str) -> AsyncIterator[bytes]:
        """The bytes of a snapshot."""
        collection = await self._collections.target(index)
        async with http(self._connection) as client, client.stream("GET", f"/collections/{collection}/snapshots/{name}") as answer:
            await checked(answer)
            async for part in answer.aiter_bytes(_PART):
                yield part

    async def snapshot(self, index: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a new snapshot, which is deleted from the server when they have been read or are not wanted any more."""
        name = await self.create(index)
        try:
            async for part in self.download(index, name):
                yield part
        finally:
            await self.delete(index, name)

    async def restore(self, index: str, content: AsyncIterable[bytes]) -> None:
        """Makes the index what the snapshot holds, in one step; what bore the name is dropped. `DataDirectoryError` for what is no snapshot of an index.

        What it holds must be an index as this release makes them; else nothing is changed.
        """
        self._collections.alias(index)
        collection, boundary = await self._collections.unused(index), uuid4().hex
        try:
            async with http(self._connection) as client:
                answer = await client.post(
                    f"/collections/{collection}/snapshots/upload",
                    params={"wait": "true", "priority": "snapshot"},
                    content=_multipart(content, boundary),
                    headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
                )
                await checked(answer)
            await self._collections.adopt(index, collection)
        except InternalError as error:
            raise DataDirectoryError("What was given is no snapshot of an index; take another backup.", field="backup") from error
        finally:
            await self._collections.discard(collection)  # unless it is the index now


async def _multipart(content: AsyncIterable[bytes], boundary: str) -> AsyncIterator[bytes]:
    """A form with one file. `boundary` is a new one each time, so that no content can hold it on purpose."""
    yield f'--{boundary}\r\nContent-Disposition: form-data; name="snapshot"; filename="snapshot"\r\n\r\n'.encode()
    async for part in content:
        yield part
    yield f"\r\n--{boundary}--\r\n".encode()
