"""Runs the shards of bulk work."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.bulk import BulkRun


class BulkRunner(Protocol):
    """Contract:

    - `run(run)` has every shard of an ordered run worked off (`work_shard`), each by a program of its own, and returns once all have ended well.
    - A shard whose program dies or fails is started again, a bounded number of times; then `Unavailable` is raised, with the shard's number.
    - However it ends, also when it is cancelled, nothing that it started runs on.
    - A process that is killed leaves none either, or the next `run` of the same id goes on with what it left.
    - Safe to call for several runs at once. `close` releases what the runner holds; what runs then is cancelled before.
    """

    async def run(self, run: BulkRun) -> None: ...

    async def close(self) -> None: ...
