"""Hints that a job waits. The catalog's job is the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ragstone.domain.errors import RagstoneError

JobHandler = Callable[[str, str], Awaitable[None]]  # (collection name, job id)
# (collection name, job id, tries, the last error; None where the worker never came back) -> whether that very job has ended
GiveUp = Callable[[str, str, int, RagstoneError | None], Awaitable[bool]]


class JobQueue(Protocol):
    """Contract:

    - `enqueue` may be called any number of times for a job; the handler is called at least once for each job enqueued while running.
    - Jobs of one collection are handled one at a time, in order of first enqueueing; collections run in parallel.
    - A handler that raises `Unavailable` is called again later with growing pauses; any other error is logged and the job is left to the sweeper.
    - After a bounded number of tries `give_up` is called instead. When it returns False, an older job stood in the way: the job begins
      anew. `Unavailable` from it: called again later.
    - `stop` waits up to `grace` seconds for running handlers, then cancels them.
    - `check` raises `Unavailable` while nothing can be enqueued.
    """

    async def start(self, handler: JobHandler, give_up: GiveUp) -> None: ...

    async def enqueue(self, collection: str, job_id: str) -> None: ...

    async def check(self) -> None: ...

    async def stop(self, grace: float = 10.0) -> None: ...
