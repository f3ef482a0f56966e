"""What a Qdrant server can be made to do about the bytes of deleted points (ADR 0020)."""

from __future__ import annotations

import asyncio

from qdrant_client import models

from ragstone.adapters.qdrant_server_connection import STRONG, Connection
from ragstone.adapters.qdrant_server_filters import equals, every
from ragstone.adapters.qdrant_server_schema import DENSE
from ragstone.domain.errors import Unavailable

_LOOK = 0.25  # seconds between two looks at whether the server is done
_QUIET = 3  # looks in a row that must find nothing to do
_PATIENCE = 3600.0  # seconds
_FILLER = 8 * 2**20  # bytes in one entry of the write-ahead log
_LOG = 40 * 2**20  # bytes that fill a segment of it


async def compact(connection: Connection, collection: str, on_disk: bool) -> None:
    """Has every segment written anew, by asking for its vectors to lie elsewhere and then where they were, and fills up the write-ahead log.

    Raises `Unavailable` when the server is not done in an hour, or reports an error.
    """
    for elsewhere in (not on_disk, on_disk):
        vectors = {DENSE: models.VectorParamsDiff(on_disk=elsewhere)}
        await connection.call(
            lambda client, seconds, vectors=vectors: client.update_collection(  # type: ignore[misc]
                collection, vectors_config=vectors, timeout=seconds
            )
        )
        await _rewritten(connection, collection)
    nobody = every(equals("seq_from", -1))
    for _ in range(_LOG // _FILLER):
        await connection.write(
            lambda client, seconds: client.set_payload(
                collection, {"filler": " " * _FILLER}, nobody, wait=True, ordering=STRONG, timeout=seconds
            )
        )


async def _rewritten(connection: Connection, collection: str) -> None:
    quiet = 0
    try:
        async with asyncio.timeout(_PATIENCE):
            while quiet < _QUIET:
                await asyncio.sleep(_LOOK)
                info = await connection.call(lambda client, _: client.get_collection(collection))
                if isinstance(info.optimizer_status, models.OptimizersStatusOneOf1):
                    raise Unavailable("index: the Qdrant server could not write the collection anew; its log says why.")
                quiet = quiet + 1 if info.status == models.CollectionStatus.GREEN else 0
    except TimeoutError:
        raise Unavailable("index: the Qdrant server still writes the collection anew; try again later.") from None
