"""Hands every published commit on, once it is there: to a tracker, to those who subscribe to events. At least once, in order a collection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import NotFound, RagstoneError, Unavailable
from ragstone.ports.catalog import Catalog

_PERIOD = 2.0  # seconds between looks
_TTL = 30.0  # seconds that the lock outlives its holder
_PAGE = 100
_log = logging.getLogger(__name__)

Consume = Callable[[Collection, Commit], Awaitable[None]]


class CommitRelay:
    """Reads the commit table by a cursor of its own (`name`, a collection's uid), which moves when `consume` has returned.

    `name` is its lock, too: of all processes one relays at a time. What `consume` raises is logged, and the commit is handed on again at the next turn.
    """

    def __init__(self, catalog: Catalog, name: str, consume: Consume, holder: str, period: float = _PERIOD) -> None:
        self._catalog = catalog
        self._name = name
        self._consume = consume
        self._holder = holder
        self._period = period
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; `stop` ends it."""
        self._task = asyncio.create_task(self._relay_for_ever(), name=self._name)

    async def stop(self) -> None:
        """Ends it, and waits for what it is at."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            with contextlib.suppress(RagstoneError):  # it runs out by itself
                await self._catalog.let_go(self._name, self._holder)

    async def turn(self) -> int:
        """Hands on what is new, unless another process does; returns how many commits that were."""
        handed = 0
        for collection in await self._catalog.collections():
            try:
                handed += await self._of(collection)
            except NotFound:  # deleted meanwhile
                continue
            except Unavailable:
                raise  # nor will the others get through
            except RagstoneError as error:  # a damaged collection holds up no other one
                _log.warning("%s: commits of %s could not be handed on: %s", self._name, collection.name, error.message)
        return handed

    async def _of(self, collection: Collection) -> int:
        cursor, handed = f"{self._name}:{collection.uid}", 0
        done = await self._catalog.cursor(cursor)
        while page := await self._catalog.commits_since(collection.name, done, _PAGE):
            for commit in page:
                if not await self._catalog.hold(self._name, self._holder, _TTL):
                    return handed
                await self._consume(collection, commit)
                done, handed = commit.seq, handed + 1
                await self._catalog.move_cursor(cursor, done)
        return handed

    async def _relay_for_ever(self) -> None:
        while True:
            try:
                await self.turn()
            except Exception as error:  # whatever it was, the next turn may fare better; without turns nothing would ever be handed on
                _log.warning("%s: commits could not be handed on (%s); it is tried again in %.0f s", self._name, error, self._period)
            await asyncio.sleep(self._period)
