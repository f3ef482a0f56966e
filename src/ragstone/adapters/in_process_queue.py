"""Job queue inside one process: a line per collection, each worked off by a task."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ragstone.domain.deadline import deadline
from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.ports.job_queue import GiveUp, JobHandler

_log = logging.getLogger(__name__)


class InProcessJobQueue:
    """Implements `JobQueue`. Jobs enqueued before `start` wait for it. Pauses are in seconds and double each time."""

    def __init__(self, *, tries: int = 5, first_pause: float = 0.2, longest_pause: float = 30.0) -> None:
        self._tries = tries
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._handler: tuple[JobHandler, GiveUp] | None = None
        self._stopping = asyncio.Event()
        self._waiting: dict[str, dict[str, None]] = {}  # collection -> ids of jobs, in order
        self._workers: dict[str, asyncio.Task[None]] = {}

    async def start(self, handler: JobHandler, give_up: GiveUp) -> None:
        self._handler = handler, give_up
        self._stopping.clear()
        for collection in self._waiting:
            self._work_off(collection, handler, give_up)

    async def enqueue(self, collection: str, job_id: str) -> None:
        self._waiting.setdefault(collection, {}).setdefault(job_id)
        if self._handler is not None:
            self._work_off(collection, *self._handler)

    async def check(self) -> None:
        """Nothing is between."""

    async def stop(self, grace: float = 10.0) -> None:
        self._handler = None
        self._stopping.set()
        workers = list(self._workers.values())
        if workers:
            _, late = await asyncio.wait(workers, timeout=grace)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _work_off(self, collection: str, handler: JobHandler, give_up: GiveUp) -> None:
        if collection not in self._workers:
            with deadline(None):  # of whoever enqueues
                self._workers[collection] = asyncio.create_task(self._work(collection, handler, give_up), name=f"jobs of {collection}")

    async def _work(self, collection: str, handler: JobHandler, give_up: GiveUp) -> None:
        try:
            waiting = self._waiting[collection]
            while waiting and not self._stopping.is_set():
                job_id = next(iter(waiting))
                del waiting[job_id]  # before the call: enqueued again meanwhile means called again
                await self._handle(handler, give_up, collection, job_id)
            if not waiting:
                del self._waiting[collection]
        finally:
            del self._workers[collection]

    async def _handle(self, handler: JobHandler, give_up: GiveUp, collection: str, job_id: str) -> None:
        tries, last = 0, RagstoneError("")
        while not self._stopping.is_set():
            pause = 0.0
            try:
                if tries < self._tries:
                    await handler(collection, job_id)
                    return
                if await give_up(collection, job_id, tries, last):
                    return
                tries = 0
            except Unavailable as error:
                tries, last = tries + 1, error
                pause = 0.0 if tries == self._tries else min(self._first_pause * 2 ** (tries - 1), self._longest_pause)
                _log.warning("job %s of %s: %s Trying again in %.1f s.", job_id, collection, error.message, pause)
            except Exception:  # the contract: any other error is logged, the job is left to the sweeper
                _log.exception("job %s of %s failed", job_id, collection)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
