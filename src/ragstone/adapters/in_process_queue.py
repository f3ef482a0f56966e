"""Job queue inside one process: a line per collection, each worked off by a task."""

from __future__ import annotations

import asyncio
import logging

from ragstone.domain.errors import Unavailable
from ragstone.ports.job_queue import JobHandler

_log = logging.getLogger(__name__)


class InProcessJobQueue:
    """Implements `JobQueue`. Jobs enqueued before `start` wait for it. Pauses are in seconds and double each time."""

    def __init__(self, *, first_pause: float = 0.2, longest_pause: float = 30.0) -> None:
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._handler: JobHandler | None = None
        self._stopping = asyncio.Event()
        self._waiting: dict[str, dict[str, None]] = {}  # collection -> ids of jobs, in order
        self._workers: dict[str, asyncio.Task[None]] = {}

    async def start(self, handler: JobHandler) -> None:
        self._handler = handler
        self._stopping.clear()
        for collection in self._waiting:
            self._work_off(collection, handler)

    async def enqueue(self, collection: str, job_id: str) -> None:
        self._waiting.setdefault(collection, {}).setdefault(job_id)
        if self._handler is not None:
            self._work_off(collection, self._handler)

    async def stop(self, grace: float = 10.0) -> None:
        self._handler = None
        self._stopping.set()
        workers = list(self._workers.values())
        if workers:
            _, late = await asyncio.wait(workers, timeout=grace)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _work_off(self, collection: str, handler: JobHandler) -> None:
        if collection not in self._workers:
            self._workers[collection] = asyncio.create_task(self._work(collection, handler), name=f"jobs of {collection}")

    async def _work(self, collection: str, handler: JobHandler) -> None:
        try:
            waiting = self._waiting[collection]
            while waiting and not self._stopping.is_set():
                job_id = next(iter(waiting))
                del waiting[job_id]  # before the call: enqueued again meanwhile means called again
                await self._handle(handler, collection, job_id)
            if not waiting:
                del self._waiting[collection]
        finally:
            del self._workers[collection]

    async def _handle(self, handler: JobHandler, collection: str, job_id: str) -> None:
        pause = self._first_pause
        while not self._stopping.is_set():
            try:
                await handler(collection, job_id)
                break
            except Unavailable as error:
                _log.warning("job %s of %s: %s Trying again in %.1f s.", job_id, collection, error.message, pause)
            except Exception:  # the contract: any other error is logged, the job is left to the sweeper
                _log.exception("job %s of %s failed", job_id, collection)
                break
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                pause = min(pause * 2, self._longest_pause)
