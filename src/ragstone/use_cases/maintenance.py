"""What follows a publish, off the critical path: readers see the new head, and the index is brought into its fastest form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import RagstoneError
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.exclusive import Exclusive
from ragstone.use_cases.snapshots import Snapshots

_log = logging.getLogger(__name__)


class Maintenance:
    """At most one optimisation an index runs at a time."""

    def __init__(self, index: VectorIndex, snapshots: Snapshots, exclusive: Exclusive) -> None:
        self._index = index
        self._snapshots = snapshots
        self._exclusive = exclusive
        self._running: dict[str, asyncio.Task[None]] = {}

    def published(self, collection: Collection, commit: Commit) -> None:
        """Told of each new head."""
        self._snapshots.published(collection, commit)
        for space in collection.spaces:
            name = collection.index_name(space.id)
            if name not in self._running:
                self.background(name, self._optimise(name))

    def background(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs what nobody waits for; what it raises is logged. `name` is not running already."""
        with deadline(None):
            task = asyncio.create_task(work, name=name)
        self._running[name] = task
        task.add_done_callback(partial(self._ended, name))

    def exclusive(self, collection: str) -> AbstractAsyncContextManager[None]:
        """Held by whoever deletes from a collection's stores, mends or copies them: they take turns. Readers and writers need it not."""
        return self._exclusive.turn(collection)

    async def idle(self) -> None:
        """Returns when nothing runs."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def stop(self) -> None:
        """Cancels what runs and waits for its end: an index is never closed under its optimiser."""
        for task in tuple(self._running.values()):
            task.cancel()
        await self.idle()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._running[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed: %s", name, error)

    async def _optimise(self, name: str) -> None:
        try:
            await self._index.optimise(name)
        except RagstoneError as error:  # search is right without it, only slower
            _log.warning("the index %s could not be optimised: %s", name, error.message)
