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
        async with self._lock(collection):
            yield

    @asynccontextmanager
    async def filling(self, collection: str) -> AsyncIterator[None]:
        """Held by whoever fills a space while it writes, within its turn; and by whoever cleans up after such attempts, which are no job's."""
        async with self._lock(f"{collection} filling"):  # no collection's name holds a blank
            yield

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
