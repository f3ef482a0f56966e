"""Whoever deletes from a collection's stores, mends or copies them takes turns: within a process, and among processes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.ports.catalog import Catalog

_TTL = 60.0  # seconds that the lock outlives a holder that was killed
_LOOK = 0.5  # seconds between two tries to get it


class Exclusive:
    """A turn a collection. `holder` names this process. Readers and writers need no turn."""

    def __init__(self, catalog: Catalog, holder: str, *, shared: bool, ttl: float = _TTL) -> None:
        self._catalog = catalog
        self._holder = holder
        self._shared = shared  # with other processes
        self._ttl = ttl
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, collection: str) -> AsyncIterator[None]:
        """Waits for it. Raises `Unavailable` when it is lost on the way, for the catalog did not answer in time; what was begun has to be done again."""
        async with self._turns[collection]:
            if not self._shared:
                yield
                return
            lock = f"collection:{collection}"
            while not await self._catalog.hold(lock, self._holder, self._ttl):  # noqa: ASYNC110 - others tell nothing
                await asyncio.sleep(_LOOK)
            try:
                async with self._kept(lock):
                    yield
            finally:
                await asyncio.shield(self._catalog.let_go(lock, self._holder))

    @asynccontextmanager
    async def _kept(self, lock: str) -> AsyncIterator[None]:
        """Renews it; when that fails, what runs inside is cancelled."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("turns are taken in tasks")
        keeper = asyncio.create_task(self._renew(lock, task), name=lock)
        try:
            yield
        except asyncio.CancelledError:
            if not keeper.done():
                raise
            task.uncancel()
            raise Unavailable("The turn of this collection was lost; try again.", field="catalog", retry_after=1.0) from None
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _renew(self, lock: str, worker: asyncio.Task[object]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ttl
        while True:
            await asyncio.sleep(self._ttl / 4)
            try:
                asked = loop.time()
                held = await self._catalog.hold(lock, self._holder, self._ttl)
                until = asked + self._ttl if held else loop.time()
            except RagstoneError:
                held = False
            if not held and loop.time() >= until - self._ttl / 4:
                worker.cancel()
                return
