"""Letters about jobs that were given up."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.dead_letters import DeadLetter


class DeadLetters(Protocol):
    """Contract (a letter is known by its job's id; ids rise with time):

    - `put` returns once the letter is durable; the same job's again replaces it.
    - `get` raises `NotFound`. `remove` of one that is not there is fine.
    - `page`: the latest jobs' first, of one collection or of all, those before the job `before`. `jobs`: the ids of all.
    """

    async def put(self, letter: DeadLetter) -> None: ...

    async def get(self, job_id: str) -> DeadLetter: ...

    async def page(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[DeadLetter]: ...

    async def remove(self, job_id: str) -> None: ...

    async def jobs(self) -> frozenset[str]: ...

    async def close(self) -> None: ...
