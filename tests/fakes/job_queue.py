"""A job queue of asyncio tasks, without pauses, that a test can wait for."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Unavailable
from ragstone.ports.job_queue import GiveUp, JobHandler

_log = logging.getLogger(__name__)


class InMemoryJobQueue:
    """Implements `JobQueue`. `settled` returns when every job enqueued so far was handled."""

    def __init__(self, tries: int = 5) -> None:
        self._tries = tries
        self._handler: tuple[JobHandler, GiveUp] | None = None
        self._early: list[tuple[str, str]] = []
        self._waiting: set[tuple[str, str]] = set()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, handler: JobHandler, give_up: GiveUp) -> None:
        self._handler = handler, give_up
        early, self._early = self._early, []
        for collection, job_id in early:
            await self.enqueue(collection, job_id)

    async def enqueue(self, collection: str, job_id: str) -> None:
        if self._handler is None:
            self._early.append((collection, job_id))
        elif (collection, job_id) not in self._waiting:
            self._waiting.add((collection, job_id))
            with deadline(None):  # of whoever enqueues
                task = asyncio.create_task(self._handle(*self._handler, collection, job_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self, grace: float = 10.0) -> None:
        self._handler = None
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        for task in set(self._tasks):
            task.cancel()
        await self.settled()

    async def check(self) -> None:
        """Nothing is between."""

    async def _handle(self, handler: JobHandler, give_up: GiveUp, collection: str, job_id: str) -> None:
        async with self._turns[collection]:
            self._waiting.discard((collection, job_id))
            tries, last = 0, None
            while self._handler is not None:
                try:
                    if tries < self._tries:
                        await handler(collection, job_id)
                        break
                    if await give_up(collection, job_id, tries, last):
                        break
                    tries = 0
                except Unavailable as error:
                    tries, last = tries + 1, error
                    await asyncio.sleep(0)
                except Exception:  # the contract: any other error is logged, the job is left to the sweeper
                    _log.exception("job %s of %s failed", job_id, collection)
                    break
