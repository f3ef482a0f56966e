"""Finds, on a running platform, what a lost message or an unexpected error left lying, without waiting for the next start."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ragstone.domain.errors import RagstoneError
from ragstone.ports.catalog import Catalog
from ragstone.ports.job_queue import JobQueue
from ragstone.use_cases.recovery import Recovery
from ragstone.use_cases.visibility import Visibility

_PERIOD = 30.0  # seconds
_LOCK = "janitor"
_log = logging.getLogger(__name__)


class Sweeper:
    """Every `period` seconds the oldest unfinished job of each collection is queued once more, and `Recovery.tidy` looks at the stores, `Visibility.sweep` at the index.

    A message too many is harmless: whoever gets it finds the job in work or ended. Of several processes one sweeps: who holds the lock `janitor`.
    """

    def __init__(
        self, catalog: Catalog, queue: JobQueue, recovery: Recovery, visibility: Visibility, holder: str, period: float = _PERIOD
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._recovery = recovery
        self._visibility = visibility
        self._holder = holder
        self._period = period
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; `stop` ends it."""
        self._task = asyncio.create_task(self._sweep_for_ever(), name="sweeper")

    async def stop(self) -> None:
        """Ends it, and waits for what it is at."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            with contextlib.suppress(RagstoneError):  # it runs out by itself
                await self._catalog.let_go(_LOCK, self._holder)

    async def sweep(self) -> None:
        """Looks once."""
        for collection in await self._catalog.collections():
            job = await self._catalog.next_job(collection.name)
            if job is not None:
                await self._queue.enqueue(collection.name, job.id)
        await self._recovery.tidy()
        await self._visibility.sweep()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            try:
                if await self._catalog.hold(_LOCK, self._holder, 3 * self._period):
                    await self.sweep()
            except Exception as error:  # whatever it was, the next turn may fare better; without turns lost jobs would wait for a restart
                _log.warning("sweeping failed (%s); it is tried again in %.0f s", error, self._period)
