"""Runs, kept where people compare them."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.tracking import Run


class ExperimentTracker(Protocol):
    """Contract:

    - `record` stores a run once: the same experiment and key again changes nothing, and a run whose recording was cut short is completed.
    - `runs`: those of an experiment that are whole, newest first (by `began_at`, then by key), at most `limit`; none of an unknown one.
    - `check` raises `Unavailable` while nothing can be recorded.
    - Raises `Unavailable`. Queries and ingestion never need it.
    """

    async def record(self, run: Run) -> None: ...

    async def runs(self, experiment: str, *, limit: int = 50) -> list[Run]: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...
