"""What a Qdrant server can be made to do about the bytes of deleted points (ADR 0020)."""

from __future__ import annotations

import asyncio

from qdrant_client import models

from ragstone.adapters.qdrant_server_connection import STRONG, Connection
from ragstone.adapters.qdrant_server_filters import equals, every
from ragstone.adapters.qdrant_server_schema import DENSE, FLUSH_INTERVAL
from ragstone.domain.errors import Unavailable

_LOOK = 0.25  # seconds between two looks at whether the server is done
_QUIET = 3  # looks in a row that must find nothing to do
_PATIENCE = 3600.0  # seconds
_FLUSH = 1  # seconds between two flushes of the server, which remove files that are not needed any more; it offers no way to ask for one
_FLUSHES = 3
_FILLER = 8 * 2**20  # bytes in one entry of the write-ahead log
_LOG = 3 * 32 * 2**20  # bytes that fill up the open part of it, and the closed one that is kept


async def compact(connection: Connection, collection: str, on_disk: bool) -> None:
    """Has every segment written anew, by asking for its vectors to lie elsewhere and then where they shall, and pushes old entries out of the log.

    Returns after a flush. Cut short and done again it finishes. Raises `Unavailable` when the server is not done in an hour, or reports an error.
    """

    async def configure(elsewhere: bool, flush: int) -> None:
        vectors = {DENSE: models.VectorParamsDiff(on_disk=elsewhere)}
        optimizers = models.OptimizersConfigDiff(flush_interval_sec=flush)
        await connection.call(
            lambda client, seconds: client.update_collection(
                collection, vectors_config=vectors, optimizers_config=optimizers, timeout=seconds
            )
        )

    async def fill() -> None:
        nobody = every(equals("seq_from", -1))
        await connection.write(
            lambda client, seconds: client.set_payload(
                collection, {"filler": " " * _FILLER}, nobody, wait=True, ordering=STRONG, timeout=seconds
            )
        )

    for elsewhere in (not on_disk, on_disk):
        await configure(elsewhere, _FLUSH)
        await _rewritten(connection, collection)
    for _ in range(_LOG // _FILLER):
        await fill()
    await asyncio.sleep(_FLUSHES * _FLUSH)
    await configure(on_disk, FLUSH_INTERVAL)


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
