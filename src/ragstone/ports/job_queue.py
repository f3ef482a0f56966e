"""Hints that a job waits. The catalog's job is the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

JobHandler = Callable[[str, str], Awaitable[None]]  # (collection name, job id)


class JobQueue(Protocol):
    """Contract:

    - `enqueue` may be called any number of times for a job; the handler is called at least once for each job enqueued while running.
    - Jobs of one collection are handled one at a time, in order of first enqueueing; collections run in parallel.
    - A handler that raises `Unavailable` is called again later with growing pauses; any other error is logged and the job is left to the sweeper.
    - `stop` waits up to `grace` seconds for running handlers, then cancels them.
    """

    async def start(self, handler: JobHandler) -> None: ...

    async def enqueue(self, collection: str, job_id: str) -> None: ...

    async def stop(self, grace: float = 10.0) -> None: ...
