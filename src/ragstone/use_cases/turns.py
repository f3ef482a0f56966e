"""Writers of one collection within a process take turns, so that none has to be refused the other's lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """A turn a collection, first come, first served. The lease is what counts; this only spares those of one process the waiting for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, collection: str) -> AsyncIterator[None]:
        """Waits for it."""
        lock = self._locks.get(collection)
        if lock is None:
            lock = self._locks[collection] = asyncio.Lock()
        async with lock:
            yield
